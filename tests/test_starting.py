"""Trainings that start from given weights: of a checkpoint, of a library, of the user's code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torchvision import models

from advlab import load_model
from advlab.cli.main import main
from advlab.errors import UsageError
from advlab.models import mlp
from advlab.networks import checkpoint, referenced
from advlab.networks import code as made_by_code

SMALL = "--dataset digits --train-size 60 --batch-size 30 --precision fp32"
CODE = """
import torch
from torch import nn

FLAG.touch()


def make():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
        nn.Linear(676, OUTPUTS),
    )
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(referenced, "_trusted", set())
    return tmp_path


def train(line: str) -> int:
    return main(["train", *f"{line} {SMALL}".split()])


def state_of(name: str) -> dict[str, Tensor]:
    return load_file(Path("samples/train") / name / checkpoint.FILE)


def metrics(name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(Path("samples/train", name, "metrics.json").read_text())
    return read


def code(outputs: int = 10) -> Path:
    """The user's code; returns the file that appears once the code has run."""
    flag = Path("code-has-run").absolute()
    text = CODE.replace("OUTPUTS", str(outputs)).replace(
        "FLAG", f"__import__('pathlib').Path({str(flag)!r})"
    )
    Path("mine.py").write_text(text)
    return flag


def test_a_training_goes_on_from_the_weights_of_a_run() -> None:
    assert train("mlp --width 16 --epochs 3 --name base") == 0
    standing_still = "--epochs 1 --layers last --optimizer sgd --lr 1e-12"
    assert train(f"samples/train/base {standing_still} --name again") == 0
    assert train(f"mlp --weights samples/train/base {standing_still} --name weights") == 0
    base = state_of("base")
    for name in ("again", "weights"):
        for key, value in state_of(name).items():
            torch.testing.assert_close(value, base[key], rtol=0, atol=1e-7)
        assert metrics(name)["test_accuracy"] == metrics("base")["test_accuracy"]
    assert metrics("again")["component"] == "mlp"
    for name in ("again", "weights"):  # its configuration says what the network really is
        assert "width: 16" in Path("samples/train", name, "config.yaml").read_text()


def test_only_the_last_layer_changes_where_only_it_is_trained() -> None:
    assert train("cnn --channels 4 --epochs 1 --name base") == 0
    assert train("samples/train/base --layers last --lr 0.01 --epochs 1 --name last") == 0
    base, last = state_of("base"), state_of("last")
    changed = {key for key in base if not torch.equal(base[key], last[key])}
    last_layer = max(int(key.split(".")[1]) for key in base if key.count(".") == 2)
    assert changed == {f"1.{last_layer}.weight", f"1.{last_layer}.bias"}


def test_what_is_typed_is_not_replaced_by_what_the_checkpoint_holds() -> None:
    assert train("mlp --width 16 --epochs 1 --name base") == 0
    usual = mlp.Options().width
    assert usual != 16
    assert train(f"mlp --weights samples/train/base --width {usual} --epochs 1") == 2


def test_the_line_says_how_many_parameters_are_trained(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert train("mlp --width 16 --epochs 1 --name base") == 0
    assert train("samples/train/base --layers last --epochs 1 --name last") == 0
    every = metrics("base")["parameters"]
    assert metrics("last")["parameters"] == every
    assert f"mlp: 170 of {every:,} parameters, " in capsys.readouterr().out  # 16 × 10 and 10


def test_a_new_last_layer_is_said_by_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    code(12)
    for command in ("memorize", "poison"):
        assert main([command, "mine.py:make", *f"{SMALL} --epochs 1 --seeds 1".split()]) == 0
        assert capsys.readouterr().out.count("its last layer told 12 classes apart") == 1


def test_a_checkpoint_of_own_code_says_its_preprocessing_itself() -> None:
    code()
    assert train("mine.py:make --epochs 1 --name mine") == 0
    named = "attack fgsm --model mine.py:make --weights samples/train/mine --limit 4 --eps 0.1"
    assert main([*named.split(), "--mean", "0.5"]) == 2
    referenced._trusted.clear()
    words = 'give load_model\\("mine.py:make", weights="samples/train/mine"\\)$'
    with pytest.raises(UsageError, match=words):
        load_model("samples/train/mine")


@pytest.mark.parametrize(
    "line",
    [
        "attack fgsm --model samples/train/a --limit 4 --eps 0.1",
        "attack fgsm --model mlp --dataset digits --surrogate samples/train/a --limit 4 --eps 0.1",
        "inspect predict --model samples/train/a --image 3",
        "train samples/train/a --epochs 1",
    ],
)
def test_the_network_of_an_unfinished_training_is_taken_with_a_warning(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("mlp --width 8 --epochs 1 --name a") == 0
    assert train("mlp --width 9 --epochs 1 --name b") == 0
    warning = "samples/train/a: this run is not finished"
    assert main(f"{line} --name one".split()) == 0
    assert warning not in capsys.readouterr().out
    Path("samples/train/a/metrics.json").unlink()
    assert main(f"{line} --name two".split()) == 0
    assert capsys.readouterr().out.count(warning) == 1


def test_a_trained_network_of_own_code_is_the_surrogate_of_another_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code()
    for seed, name in enumerate(("one", "two")):
        assert train(f"mine.py:make --epochs 1 --seed {seed} --name {name}") == 0
    referenced._trusted.clear()
    line = "attack fgsm --dataset digits --limit 4 --eps 0.1 --surrogate samples/train/two"
    assert main([*line.split(), "--model", "mlp"]) == 2
    refusal = capsys.readouterr().err.strip()
    assert refusal.startswith(
        "advlab: --surrogate: samples/train/two/model.safetensors: its network"
    )
    assert refusal.endswith("it goes beside a network of the same code, --model mine.py:make")
    for weights in ([], ["--weights", "samples/train/one"]):
        referenced._trusted.clear()
        assert main([*line.split(), "--model", "mine.py:make", *weights]) == 0


def test_own_code_with_the_weights_of_a_run_is_shown_a_photo(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The data that it was trained on go with images by number, not with a photo."""
    code()
    assert train("mine.py:make --epochs 1 --name mine") == 0
    photo = (np.random.default_rng(0).random((28, 28)) * 255).astype(np.uint8)
    Image.fromarray(photo).save("photo.png")
    named = "attack fgsm --model mine.py:make --weights samples/train/mine --eps 0.1 --image"
    assert main(f"{named} photo.png".split()) == 0
    assert "photo: photo.png" in capsys.readouterr().out
    assert main(f"{named} 3".split()) == 0
    assert "1 image of digits" in capsys.readouterr().out


def test_a_library_network_gets_a_new_last_layer_for_other_classes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    torch.manual_seed(0)
    network = models.squeezenet1_1(num_classes=3)
    torch.save(network.state_dict(), "three.pth")
    line = "torchvision:squeezenet1_1 --weights three.pth --layers last --epochs 1 --resize 32"
    assert train(f"{line} --name squeeze") == 0
    printed = capsys.readouterr().out
    assert "its last layer told 3 classes apart; a new one with random weights for 10" in printed
    trained = state_of("squeeze")
    for key, value in network.state_dict().items():
        (found,) = (tensor for name, tensor in trained.items() if name.endswith(f"network.{key}"))
        assert torch.equal(found, value) == (not key.startswith("classifier.1")), key
    again, metadata = checkpoint.load(Path("samples/train/squeeze"))
    assert metadata.model == "torchvision:squeezenet1_1"
    assert again(torch.rand(2, 1, 28, 28)).shape == (2, 10)
    line = "evaluate quick --attacks FGSM --model samples/train/squeeze --limit 4 --eps 0.1"
    assert main(line.split()) == 0


def test_code_runs_only_where_the_line_names_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flag = code()
    assert train("mine.py:make --epochs 1 --name mine") == 0
    assert metrics("mine")["model"] == "mine.py:make"
    flag.unlink()
    monkeypatch.setattr(referenced, "_trusted", set())
    look = "attack fgsm --limit 4 --dataset digits --eps 0.1"
    assert main([*look.split(), "--model", "samples/train/mine"]) == 2
    assert train("samples/train/mine --epochs 1") == 2
    assert main(["defend", "pgd", "--model", "samples/train/mine", "--dataset", "digits"]) == 2
    for command, key in (("train", "model"), ("defend", "model")):
        Path("run.yaml").write_text(f"command: {command}\n{key}: mine.py:make\ndataset: digits\n")
        component = ["pgd"] if command == "defend" else []
        assert main([command, *component, "--config", "run.yaml"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 5
    assert all("code" in line for line in errors)
    assert errors[0].endswith("type --model mine.py:make --weights samples/train/mine")
    assert not flag.exists()
    named = [*look.split(), "--model", "mine.py:make", "--weights", "samples/train/mine"]
    assert main([*named, "--name", "named"]) == 0
    assert flag.exists()
    attacked = json.loads(Path("samples/attack/named/metrics.json").read_text())
    assert attacked["network"]["sha256"] == metrics("mine")["checkpoint_sha256"]


def test_changed_code_is_another_run(capsys: pytest.CaptureFixture[str]) -> None:
    code(10)
    assert train("mine.py:make --epochs 1 --name mine") == 0
    code(12)
    assert train("mine.py:make --epochs 1 --name mine") == 2
    assert "samples/train/mine holds another run (network code" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "samples/train/none --epochs 1",
            "neither a model nor a checkpoint of a classifier of images",
        ),
        ("mine.py --epochs 1", "add the function that makes the network, as in mine.py:FUNCTION"),
        ("cnn --weights samples/train/base", "holds mlp, and cnn is trained here"),
        (
            "mlp --weights other.pth",
            "looks like one of torch.save; a state dict goes with",
        ),
        ("mlp --weights nowhere.safetensors", "no file at nowhere.safetensors"),
        ("samples/train/base --width 32", "does not hold weights of mlp"),
        ("mine.py:make --weights other.pth", "does not hold weights of mine.py:make"),
        ("torchvision:resnet81", "advlab: torchvision:resnet81: torchvision has no classifier"),
        ("bow --weights samples/train/base", "goes with networks that take images"),
        ("bow --layers last", "goes with networks that take images"),
        ("mine.py:fails", "has no function 'fails'"),
    ],
)
def test_what_cannot_be_started_from_is_refused_in_a_line(
    line: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code()
    torch.save({"weight": torch.zeros(3)}, "other.pth")
    assert train("mlp --width 16 --epochs 1 --name base") == 0
    capsys.readouterr()
    texts = line.startswith("bow")
    assert main(["train", *line.split(), *([] if texts else SMALL.split())]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert words in error
    assert len(list(Path("samples/train").iterdir())) == 1


def test_weights_for_other_images_are_refused_by_their_shapes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert train("mlp --width 16 --epochs 1 --name base") == 0
    pixels = np.zeros((60, 3, 12, 12), dtype=np.uint8)
    np.savez("colour.npz", images=pixels, labels=np.arange(60) % 10)
    capsys.readouterr()
    assert (
        main(["train", "samples/train/base", "--dataset", "npz:colour.npz", "--epochs", "1"]) == 2
    )
    assert capsys.readouterr().err.splitlines()[-1] == (
        "advlab: --weights: samples/train/base does not hold weights of mlp: they are for images "
        "of 1 × 28 × 28, and these are 3 × 12 × 12"
    )


@pytest.mark.parametrize(
    "line",
    ["defend pgd --model {} --dataset digits", "train mlp --weights {} --width 4096 " + SMALL],
)
def test_sizes_that_a_checkpoint_claims_are_compared_with_its_tensors(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Otherwise a file of some kilobytes asks for as many gigabytes as it likes."""
    assert train("mlp --width 8 --epochs 1 --name small") == 0
    file = Path("samples/train/small") / checkpoint.FILE
    with safe_open(file, framework="pt") as content:
        metadata = {
            key: value.replace('"width":8', '"width":4096')
            for key, value in content.metadata().items()
        }
    assert metadata["advlab"].count('"width":4096') == 1
    save_file(load_file(file), "huge.safetensors", metadata)
    assert main(line.format("huge.safetensors").split()) == 2
    refusal = capsys.readouterr().err
    assert "its weights do not fit the mlp that it names" in refusal
    assert "8 × 784 in the file, and 4096 × 784 in that network" in refusal


@pytest.mark.parametrize(
    "line",
    [
        "train mine.py:make mlp --epochs 1",
        "memorize mine.py:make mlp --epochs 1 --seeds 1",
        "defend pgd fast --model mlp --epochs 1 --seeds 1",
        "poison mine.py:make mlp --epochs 1 --seeds 1",
    ],
)
def test_weights_of_another_network_are_refused_before_the_first_run(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code()
    torch.save({"weight": torch.zeros(3)}, "other.pth")
    assert main([*line.split(), "--weights", "other.pth", *SMALL.split()]) == 2
    printed = capsys.readouterr()
    assert "other.pth" in printed.err
    assert "is not a checkpoint of advlab" in printed.err
    assert printed.out == ""
    assert not Path("samples").exists()


def test_defend_takes_the_undefended_network_that_was_trained_before() -> None:
    assert main(f"train mlp --width 16 --epochs 1 {SMALL}".split()) == 0
    line = f"defend pgd --model mlp --width 16 --epochs 1 --steps 1 --limit 4 {SMALL}"
    assert main(line.split()) == 0
    assert len(list(Path("samples/train").iterdir())) == 1


def test_a_defence_starts_from_a_run() -> None:
    assert train("mlp --width 16 --epochs 1 --name base") == 0
    line = f"defend pgd --model samples/train/base --epochs 1 --lr 1e-12 --steps 1 {SMALL}"
    assert main([*line.split(), "--optimizer", "sgd", "--layers", "last", "--name", "pgd"]) == 0
    defended = load_file("samples/defend/pgd/model.safetensors")
    for key, value in state_of("base").items():
        torch.testing.assert_close(defended[key], value, rtol=0, atol=1e-7)


BACKWARDS = """
import torch
from torch import nn


class Backwards(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(10, classes)
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.ReLU())

    def forward(self, x):
        return self.head(self.body(x))


def make():
    return Backwards()


def three():
    return Backwards(3)
"""
QUICK = "--dataset digits --epochs 1 --train-size 40 --threads 1"


def test_the_last_layer_is_the_one_called_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody's head may be defined before the body, with as many outputs."""
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(BACKWARDS)
    assert main(f"train net.py:make --layers last --name a {QUICK}".split()) == 0
    before = made_by_code.load("net.py:make", "--model").state_dict()
    after = load_file("samples/train/a/model.safetensors")
    changed = {
        name
        for name, value in before.items()
        if not torch.equal(value, next(v for key, v in after.items() if key.endswith(name)))
    }
    assert changed == {"head.weight", "head.bias"}
    assert main(f"train net.py:three --name b {QUICK}".split()) == 0, "its head is replaced"
    line = f"contrast --encoder net.py:make --name c --batch-size 20 --no-supervised {QUICK}"
    assert main(line.split()) == 0
    shapes = {
        key: tuple(v.shape)
        for key, v in load_file("samples/contrast/c/encoder.safetensors").items()
    }
    assert (10, 784) in shapes.values()
    assert not any("head.weight" in key and key.startswith("encoder") for key in shapes)


@pytest.mark.parametrize(
    "line",
    [
        "train samples/train/a --epochs 1",
        "defend fast --model samples/train/a --epochs 1",
        "poison mlp --weights samples/train/a --epochs 1 --seeds 1",
    ],
)
def test_a_run_goes_on_with_the_data_of_its_training(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    draw = np.random.default_rng(0)
    images, labels = draw.integers(0, 256, (100, 6, 6), dtype=np.uint8), np.arange(100) % 2
    np.savez("some.npz", images=images, labels=labels)
    given = "--dataset npz:some.npz --split-seed 3 --epochs 1 --width 8 --name a"
    assert main(["train", "mlp", *given.split()]) == 0
    capsys.readouterr()
    assert main([*line.split(), "--print-config"]) == 0
    printed = capsys.readouterr().out
    assert "dataset: npz:some.npz" in printed
    assert "split_seed: 3" in printed
    assert main(line.split()) == 0
    assert main([*line.split(), "--dataset", "npz:some.npz"]) == 2  # split by seed 0
    assert "it was trained with --split-seed 3" in capsys.readouterr().err


def test_the_same_classes_in_another_order_keep_their_rows_of_the_last_layer(
    capsys: pytest.CaptureFixture[str],
) -> None:
    draw = np.random.default_rng(0)
    images, labels = draw.integers(0, 60, (90, 6, 6), dtype=np.uint8), np.arange(90) % 3
    for label in range(3):
        images[labels == label, 2 * label : 2 * label + 2] += 150
    given, other = ("two", "zero", "one"), ("zero", "one", "two")
    moved = np.array([other.index(name) for name in given])[labels]
    for name, numbers, classes in (("given", labels, given), ("other", moved, other)):
        parts = {"train": slice(0, 60), "val": slice(60, 75), "test": slice(75, 90)}
        arrays: dict[str, Any] = {f"x_{part}": images[rows] for part, rows in parts.items()}
        arrays |= {f"y_{part}": numbers[rows] for part, rows in parts.items()}
        np.savez(f"{name}.npz", classes=np.array(classes), **arrays)
    line = "train {} --width 16 --batch-size 24 --precision fp32 --dataset npz:{}.npz --name {}"
    assert main([*line.format("mlp", "given", "a").split(), "--epochs", "10"]) == 0
    capsys.readouterr()
    little = ["--epochs", "1", "--lr", "1e-9"]
    assert main([*line.format("samples/train/a", "other", "b").split(), *little]) == 0
    assert "numbers the classes in another order" in capsys.readouterr().out
    assert metrics("a")["test_accuracy"] > 0.9
    assert metrics("b")["test_accuracy"] > 0.9
    before, after = state_of("a"), state_of("b")
    last = [name for name in before if name.endswith("weight")][-1]
    rows = [given.index(name) for name in other]
    assert torch.allclose(after[last], before[last][rows], atol=1e-4)


def test_logits_that_the_last_layer_does_not_give_alone_are_not_reordered() -> None:
    draw = np.random.default_rng(0)
    images, labels = draw.integers(0, 256, (60, 6, 6), dtype=np.uint8), np.arange(60) % 2
    for name, classes in (("given", ["a", "b"]), ("other", ["b", "a"])):
        np.savez(f"{name}.npz", images=images, labels=labels, classes=np.array(classes))
    Path("scaled.py").write_text(
        "import torch\nfrom torch import nn\n\n\n"
        "class Scaled(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.body = nn.Sequential(nn.Flatten(), nn.Linear(36, 2))\n"
        "        self.scale = nn.Parameter(torch.tensor([1.0, 5.0]))\n\n"
        "    def forward(self, x):\n"
        "        return self.scale * self.body(x)\n\n\n"
        "def make():\n    return Scaled()\n"
    )
    line = "train scaled.py:make --epochs 1 --batch-size 20 --dataset npz:{}.npz --name {}"
    assert main(line.format("given", "a").split()) == 0
    weights = ["--weights", "samples/train/a"]
    assert main([*line.format("other", "b").split(), *weights]) == 2


@pytest.mark.parametrize("line", ["train mlp --hue .2", "defend augment --grey .5 --model mlp"])
def test_changes_of_colour_are_refused_for_grey_images(
    line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = f"--dataset digits --epochs 1 --out {tmp_path}"
    assert main([*line.split(), *small.split()]) == 2
    assert "goes with images in colour; these have one channel" in capsys.readouterr().err


def test_a_result_says_what_the_training_started_from(
    tmp_path: Path, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = runs / "train" / "small"
    line = f"train {start} --dataset digits --epochs 1 --train-size 50 --out {tmp_path} --name on"
    assert main(line.split()) == 0
    assert f"weights to start from | {start}" in " ".join(capsys.readouterr().out.split())
    assert json.loads((tmp_path / "train/on/metrics.json").read_text())["weights"] == str(start)
    assert main(["list", "--out", str(tmp_path)]) == 0
    assert f", from the weights of {start}" in capsys.readouterr().out
