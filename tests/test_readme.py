"""Every command that the README shows, in its order, on a small budget."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from advlab.cli.main import main
from advlab.config.commands import DataOptions
from advlab.datasets import _load
from advlab.models import cnn, mlp

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINES = [line for block in re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL) for line in block.splitlines() if line.strip()]
SMALLER = {
    "defend": ["--limit", "30", "--train-size", "150", "--channels", "4"],
    "defend augment": ["--seeds", "2"],
    "defend smooth": ["--certify", "3", "--samples", "20"],
    "gan --zdim": ["--width", "2", "--epochs", "1", "--samples", "60", "--look-samples", "60", "--train-size", "200"],
    "gan latent": ["--count", "40"],
    "memorize": ["--epochs", "2", "--train-size", "40", "--width", "16"],
    "memorize --share": ["--seeds", "1"],
    "contrast": ["--epochs", "1", "--width", "2", "--train-size", "200", "--batch-size", "100", "--no-supervised"],
    "poison": ["--seeds", "1", "--epochs", "1"],
    "poison --entity": ["--dose", "1"],
    "poison cnn": ["--train-size", "200", "--channels", "4"],
    "poison --detect": ["--dose", "1"],
    "scratch --lr": ["--epochs", "1"],
    "train cnn": ["--channels", "4"],
    "train mlp": ["--epochs", "1"],
    "train nbow": ["--epochs", "1", "--train-size", "100"],
    "evaluate": ["--limit", "20", "--steps", "3", "--queries", "10"],
    "evaluate --checkpoint": ["--decisions", "40"],
}
WATCHED = ("defend pgd", "defend trades", "defend adversarial")
SETS_UP = [line for line in LINES if line.startswith("python3 -m venv")]


def test_the_readme_shows_two_commands_that_set_up_and_a_page_of_others() -> None:
    assert [line.split(" && ")[2] for line in SETS_UP] == ["pip install -e .", "pip install -e '.[dev]'"]
    assert SETS_UP[1].endswith(" && pytest")
    assert len(LINES) >= 15


def test_every_file_that_the_readme_links_to_is_there() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert links
    for link in links:
        assert (ROOT / link).exists(), link


def test_every_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """In one folder, one after the other, as a reader would type them; networks and sets are small so that it is quick."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADVLAB_OFFLINE", "1")
    Path("configs").symlink_to(ROOT / "configs")
    for kind in (cnn.Options, mlp.Options):
        monkeypatch.setattr(kind, "usual_epochs", 1)
        monkeypatch.setattr(kind, "least_steps", 1)
    for name in ("_MOST", "_MOST_EACH"):  # images drawn of a generator that has not learnt to make every class
        monkeypatch.setattr(f"advlab.gan.sample.{name}", 30)
    monkeypatch.setattr("advlab.datasets._download.fetch_set", lambda name, info, data_dir, *_: _small_mnist(data_dir))
    done = set()
    for line in LINES:
        for command in line.split(" && "):
            words = shlex.split(command.removeprefix('eval "$(').removesuffix(')"'))
            if words[0] != "advlab" or command in done or command == "advlab demo":  # which has a test of its own
                continue
            done.add(command)
            if "mnist-four.yaml" in command:
                words += ["--seeds", "1", "--epochs", "1"]
            words += SMALLER.get(words[1], []) + SMALLER.get(" ".join(words[1:3]), [])
            if " ".join(words[1:3]) in WATCHED:
                words += ["--check-images", "40"]
            assert main(words[1:]) == 0, command
            assert capsys.readouterr().out, command
    assert len(done) >= 15
    assert len(list(Path("samples").glob("*/*/metrics.json"))) >= 14


def _small_mnist(data_dir: Path) -> None:
    """A few of scikit-learn's digits in MNIST's own files, for the lines that need MNIST by name."""
    images = _load.load(DataOptions(dataset="digits"))
    folder = data_dir / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for part, split, count in (("train", images.train, 240), ("t10k", images.test, 60)):
        pixels = split.pixels[:count, 0].numpy()
        labels = split.labels[:count].numpy().astype(np.uint8)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(_idx(pixels))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(_idx(labels))


def _idx(array: NDArray[np.uint8]) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return head + array.tobytes()
