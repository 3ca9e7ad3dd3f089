"""``--dataset torchvision:NAME``: parts, sizes, names, and a download from a server on this
machine."""

from __future__ import annotations

import gzip
import hashlib
import struct
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets

from advlab.cli.main import main
from advlab.config.options.run import DataOptions
from advlab.data.load_images import load
from advlab.errors import EnvironmentFailure, UsageError


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *given: object) -> None:
        """Say nothing."""


def options(name: str, place: Path, **more: int) -> DataOptions:
    return DataOptions(dataset=f"torchvision:{name}", data_dir=str(place / "data"), **more)


def test_a_set_is_downloaded_and_read_as_torchvision_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = tmp_path / "served"
    served.mkdir()
    random = np.random.default_rng(0)
    resources = []
    for name, count in (("train", 40), ("t10k", 10)):
        images = random.integers(0, 256, (count, 28, 28), dtype=np.uint8).tobytes()
        labels = bytes(number % 10 for number in range(count))
        for file, content in (
            (f"{name}-images-idx3-ubyte.gz", struct.pack(">4i", 2051, count, 28, 28) + images),
            (f"{name}-labels-idx1-ubyte.gz", struct.pack(">2i", 2049, count) + labels),
        ):
            packed = gzip.compress(content, mtime=0)
            (served / file).write_bytes(packed)
            resources.append((file, hashlib.md5(packed).hexdigest()))
    monkeypatch.delenv("ADVLAB_OFFLINE", raising=False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(served)))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_port}/"
        monkeypatch.setattr(datasets.KMNIST, "mirrors", [address])
        monkeypatch.setattr(datasets.KMNIST, "resources", resources)
        data = load(options("KMNIST", tmp_path))
    finally:
        server.shutdown()
        server.server_close()
    assert (len(data.train), len(data.val), len(data.test)) == (30, 10, 10)
    assert data.classes[:2] == ("o", "ki")
    reference = datasets.KMNIST(str(tmp_path / "data"), train=False)
    assert torch.equal(data.test.pixels[:, 0], reference.data)
    assert torch.equal(data.test.labels, reference.targets)
    monkeypatch.setenv("ADVLAB_OFFLINE", "1")  # it is there now
    assert load(options("KMNIST", tmp_path)).sha256() == data.sha256()


def test_images_that_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        datasets.FakeData.__init__, "__defaults__", (60, (3, 12, 16), 3, None, None, 0)
    )
    data = load(options("FakeData", tmp_path))
    assert (len(data.train), len(data.val), len(data.test)) == (48, 6, 6)
    assert (data.shape, data.classes) == ((3, 12, 16), ("0", "1", "2"))
    assert load(options("FakeData", tmp_path, image_size=8)).shape == (3, 8, 8)


def test_images_of_several_sizes_are_scaled(tmp_path: Path) -> None:
    root = tmp_path / "data" / "eurosat" / "2750"
    for number, name in enumerate(("Forest", "River")):
        (root / name).mkdir(parents=True)
        for side in range(20, 32):
            colour = (200 * number, 0, 0)
            Image.new("RGB", (side, 20), colour).save(root / name / f"{side}.png")
    data = load(options("EuroSAT", tmp_path))
    assert all(one.pixels.is_contiguous() for one in (data.train, data.val, data.test))
    assert (data.shape, data.classes) == ((3, 64, 64), ("Forest", "River"))
    wanted = (200 * data.test.labels)[:, None, None].expand(-1, 64, 64)
    assert torch.equal(data.test.pixels[:, 0].long(), wanted)


def test_what_is_no_set_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match="did you mean 'EuroSAT'"):
        load(options("Eurosat", tmp_path))
    monkeypatch.setenv("ADVLAB_OFFLINE", "1")
    with pytest.raises(EnvironmentFailure, match=r"GTSRB is not in .* and ADVLAB_OFFLINE is set"):
        load(options("GTSRB", tmp_path))
    line = ["train", "mlp", "--dataset", "torchvision:KMNIST", "--data-dir", str(tmp_path / "no")]
    assert main([*line, "--out", str(tmp_path)]) == 1
    assert "\n" not in capsys.readouterr().err.strip()
