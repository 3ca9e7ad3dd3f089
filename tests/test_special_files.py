"""Named pipes, sockets and devices where a file is expected: one line, and never a wait for a
writer that never comes."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from advlab.cli.main import main

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")


@pytest.fixture(autouse=True)
def _no_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A read that waits for a writer fails after twenty seconds instead of stopping the tests."""

    def stop(*_: object) -> None:
        raise AssertionError("a read of a special file hangs")

    monkeypatch.chdir(tmp_path)
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 20)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def _images(root: Path) -> None:
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (8, 8), (number, 0, 0)).save(root / name / f"{number}.png")


def _texts(root: Path) -> None:
    for name in ("neg", "pos"):
        (root / name).mkdir(parents=True)
        for number in range(4):
            (root / name / f"{number}.txt").write_text(f"{name} {number}")


# The place of the special file, and the line that reads it.
LINES = [
    ("images/cat/x.png", "data show folder:images"),
    ("images/cat/x", "train mlp --dataset folder:images"),
    ("images/x.png", "train mlp --dataset folder:images"),
    ("texts/pos/x.txt", "train bow --dataset folder:texts"),
    ("t.csv", "train bow --dataset csv:t.csv"),
    ("both/train.csv", "train bow --dataset csv:both"),
    ("glove.txt", "train gru --dataset ten_reviews --vectors glove.txt"),
    ("run.yaml", "train mlp --config run.yaml"),
    ("model.safetensors", "attack fgsm --checkpoint model.safetensors"),
    ("samples/train/a/model.safetensors", "attack fgsm --checkpoint samples/train/a"),
    ("generator.safetensors", "gan sample --generator generator.safetensors"),
    ("photo.png", "inspect predict --model torchvision:resnet18 --image photo.png"),
]


@pytest.mark.parametrize(("place", "line"), LINES, ids=[place for place, _ in LINES])
def test_a_named_pipe_is_one_line(
    place: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _images(Path("images"))
    _texts(Path("texts"))
    Path(place).parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(place)
    assert main(line.split()) == 2
    error = capsys.readouterr().err
    assert f"{place}: is a named pipe; only plain files are read" in error
    assert error.count("\n") == 1


def test_a_result_that_is_a_named_pipe_is_listed_as_such(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("samples/train/a").mkdir(parents=True)
    os.mkfifo("samples/train/a/metrics.json")
    assert main(["list", "--format", "csv"]) == 0
    assert "is a named pipe; only plain files are read" in capsys.readouterr().out


def test_a_link_to_a_device_and_a_socket(capsys: pytest.CaptureFixture[str]) -> None:
    _images(Path("images"))
    Path("images/cat/x.png").symlink_to(os.devnull)
    assert main(["data", "show", "folder:images"]) == 2
    assert "images/cat/x.png: is a device" in capsys.readouterr().err
    Path("images/cat/x.png").unlink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("images/dog/x.png")
        assert main(["data", "show", "folder:images"]) == 2
    assert "images/dog/x.png: is a socket" in capsys.readouterr().err


def test_a_link_to_a_plain_file_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    _images(Path("images"))
    shutil.move("images/cat/0.png", "elsewhere.png")
    Path("images/cat/0.png").symlink_to(Path("elsewhere.png").resolve())
    assert main(["data", "show", "folder:images"]) == 0, capsys.readouterr().err
