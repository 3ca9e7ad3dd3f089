"""``advlab data`` and ``advlab data get``: the table, the download, the refusals."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from advlab.cli.main import main
from advlab.config.options.run import DataCommandOptions, DataOptions
from advlab.data import catalogue, load_images, raw_texts
from advlab.data.catalogue import RemoteFile
from advlab.data.images import mnist
from advlab.errors import EnvironmentFailure, UsageError
from advlab.experiments.data import run as data_run


def given(data_dir: str, overwrite: bool = False, **more: str) -> DataCommandOptions:
    """What the command line would give."""
    return DataCommandOptions(data_dir=data_dir, timeout=2.0, overwrite=overwrite, **more)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a small MNIST, gzipped, which MNIST's module then takes for its source."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    source = tmp_path / "served"
    source.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(source)))
    files = []
    for original in mnist.INFO.files:
        count = 60 if original.name.startswith("train") else 10
        labels = (np.arange(count) % 10).astype(np.uint8)
        pixels = np.zeros((count, 28, 28), np.uint8)
        array = labels if "labels" in original.name else pixels
        content = gzip.compress(
            struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()
        )
        (source / original.name).write_bytes(content)
        url = f"http://127.0.0.1:{server.server_address[1]}/{original.name}"
        files.append(
            RemoteFile(
                original.name, (url,), len(content), hashlib.md5(content).hexdigest(), "gzip"
            )
        )
    monkeypatch.setattr(mnist, "INFO", dataclasses.replace(mnist.INFO, files=tuple(files)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield source
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_table_has_a_line_for_every_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert data_run.main("list", [], given(str(tmp_path))) == 0
    out = capsys.readouterr().out
    lines = {line.split()[0]: line for line in out.splitlines() if line}
    everything = {
        name: catalogue.dataset_module(name).INFO for name in catalogue.dataset_names()
    } | {name: raw_texts.dataset_module(name).INFO for name in raw_texts.dataset_names()}
    for name, info in everything.items():
        assert info.licence in lines[name]
        assert info.source in lines[name]
        assert lines[name].split()[1] == ("no" if info.files or name == "stacked_mnist" else "yes")
    assert "folder:PATH" in out


def test_the_table_can_show_one_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data_run.main("list", ["svhn"], given(str(tmp_path)))
    out = capsys.readouterr().out
    assert "svhn" in out
    assert "mnist" not in out


def test_the_table_leaves_torch_out(tmp_path: Path) -> None:
    code = (
        "import sys; from advlab.experiments.data import run; from advlab.config.options.run "
        "import DataCommandOptions; "
        f"run.main('list', [], DataCommandOptions(data_dir={str(tmp_path)!r})); print('torch' in "
        "sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[-1] == "False"


def test_get_downloads_unpacks_and_shows(
    served: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "data"
    assert data_run.main("get", ["mnist"], given(str(root))) == 0
    assert "mnist is in" in capsys.readouterr().out
    assert len(load_images.load(DataOptions(dataset="mnist", data_dir=str(root))).test) == 10
    data_run.main("list", [], given(str(root)))
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("mnist"))
    assert line.split()[1] == "yes"
    assert "55 kB" in line


def test_get_leaves_what_is_there_unless_told(
    served: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "data"
    data_run.main("get", ["mnist"], given(str(root)))
    labels = root / "MNIST/raw/t10k-labels-idx1-ubyte"
    labels.write_bytes(b"corrupt")
    data_run.main("get", ["mnist"], given(str(root)))
    assert "already" in capsys.readouterr().out
    assert labels.read_bytes() == b"corrupt"
    data_run.main("get", ["mnist"], given(str(root), overwrite=True))
    assert labels.stat().st_size == 18


def test_get_of_a_set_that_needs_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert data_run.main("get", ["digits"], given(str(tmp_path))) == 0
    assert "needs no download" in capsys.readouterr().out


def test_a_failure_is_one_line_and_the_others_are_tried(
    served: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (served / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(
        EnvironmentFailure, match=r"t10k-labels-idx1-ubyte\.gz cannot be downloaded: .*404"
    ) as caught:
        data_run.main("get", ["mnist", "digits"], given(str(tmp_path / "data")))
    assert "\n" not in str(caught.value)
    assert "digits needs no download" in capsys.readouterr().out


@pytest.mark.parametrize("action", ["list", "get"])
def test_an_unknown_set_is_guessed(action: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'mnist'"):
        data_run.main(action, ["mnits"], given(str(tmp_path)))


def test_get_of_nothing_and_an_unknown_action(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="names of data sets"):
        data_run.main("get", [], given(str(tmp_path)))
    with pytest.raises(UsageError, match="did you mean 'get'"):
        data_run.main("gte", ["mnist"], given(str(tmp_path)))


def test_auto_and_a_strict_name_download_first(
    served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADVLAB_OFFLINE", "0")
    for dataset in ("auto", "mnist"):
        options = DataOptions(dataset=dataset, data_dir=str(tmp_path / dataset))
        images = load_images.load(options)
        assert (images.name, images.fallback_reason) == ("mnist", "")


def test_a_strict_name_that_cannot_be_had(
    served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADVLAB_OFFLINE", "0")
    (served / "train-images-idx3-ubyte.gz").unlink()
    with pytest.raises(
        EnvironmentFailure,
        match=r"mnist is not in .*'advlab data get mnist' downloads it .*HTTP 404",
    ):
        load_images.load(DataOptions(dataset="mnist", data_dir=str(tmp_path / "data")))
    assert not (tmp_path / "data").exists()


@pytest.mark.painted
@pytest.mark.parametrize("name", ["digits", "reviews"])
def test_show_counts_and_draws_a_set(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "show", name, "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    folder = tmp_path / "data" / name
    counts = json.loads((folder / "counts.json").read_text())
    size = 1797 if name == "digits" else 2400
    assert sum(sum(counts[split]) for split in ("training", "validation", "test")) == size
    for label, of_it in enumerate(counts["classes"]):
        row = next(
            line
            for line in out.splitlines()
            if line.startswith(("|", "| ")) and line.split("|")[1].strip() == of_it
        )
        assert row.split("|")[2].strip() == f"{counts['training'][label]:,}"
    with Image.open(folder / "classes.png") as image:
        assert len(np.unique(np.asarray(image.convert("L")))) > 20
    assert (folder / ("samples.md" if name == "reviews" else "samples.png")).stat().st_size > 300


def test_show_takes_folders_and_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind in ("red", "blue"):
        (tmp_path / "photos" / kind).mkdir(parents=True)
        for number in range(12):
            Image.new("RGB", (20, 30), kind).save(tmp_path / "photos" / kind / f"{number}.png")
    assert (
        main(
            [
                "data",
                "show",
                f"folder:{tmp_path / 'photos'}",
                "--image-size",
                "16",
                "--out",
                str(tmp_path / "out"),
            ]
        )
        == 0
    )
    assert "colour images of 16 × 16" in capsys.readouterr().out
    assert (tmp_path / "out/data/photos/samples.png").is_file()
    (tmp_path / "some.csv").write_text(
        "text,label\n" + "".join(f"number {n} of many,{'ab'[n % 2]}\n" for n in range(60))
    )
    assert (
        main(["data", "show", f"csv:{tmp_path / 'some.csv'}", "--out", str(tmp_path / "out")]) == 0
    )
    assert "| a " in (tmp_path / "out/data/some.csv/samples.md").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "data show: names of data sets"),
        (["folder:nowhere"], "no such folder"),
        (["digit"], "did you mean 'digits'"),
    ],
)
def test_show_of_what_is_not_there(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "show", *words]) == 2
    assert message in capsys.readouterr().err
