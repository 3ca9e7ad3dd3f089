"""Whatever ``--model`` names: every command with every kind of network and of data."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from photos import pixels
from PIL import Image
from safetensors.torch import save as to_bytes
from torch import Tensor, nn
from torchvision import models
from zoo import zoo_of

import advlab
from advlab.attacks import fgsm
from advlab.cli.main import main
from advlab.config.options.run import TargetOptions
from advlab.errors import UsageError
from advlab.experiments.target_images import with_images
from advlab.experiments.target_model import named, usable_machine, weak_precision_of
from advlab.logs import collected
from advlab.networks import checkpoint
from advlab.networks.class_names import ClassNames
from advlab.runs.machine import Machine

DOCS = Path(__file__).parents[1] / "docs"
CLASSES = ("red", "green", "blue")
TORCHVISION = "squeezenet1_1"  # 3 MB, and takes small images
TIMM = "test_resnet"  # 0.5 million parameters


class Small(nn.Module):
    """The user's network: it takes images of any size and of one or three channels."""

    classes = 3

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(1, 8, 3, 2)
        self.last = nn.Linear(8, self.classes)

    def forward(self, x: Tensor) -> Tensor:
        features = self.conv(x.mean(1, keepdim=True)).relu().mean((2, 3))
        logits: Tensor = self.last(features)
        return logits


SOURCE = '''
import torch
from torch import nn


class Small(nn.Module):
    classes = 3

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(1, 8, 3, 2)
        self.last = nn.Linear(8, self.classes)

    def forward(self, x):
        return self.last(self.conv(x.mean(1, keepdim=True)).relu().mean((2, 3)))


class Ten(Small):
    classes = 10


class Constants(Ten):
    """Holds a constant that does not change its type with the network."""

    def forward(self, x):
        return nn.functional.linear(super().forward(x), torch.eye(10))
'''


class Ten(Small):
    classes = 10


class Sine(nn.Module):
    """Amplifies differences, so that rounding decides where the gradient points."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(4 * x)


def photo_folder(root: Path, names: tuple[str, ...] = CLASSES, count: int = 4) -> Path:
    for number, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for seed in range(count):
            image = Image.fromarray(pixels(number % 4, seed, 40, 48))
            image.save(root / name / f"{seed}.png")
    return root


def program(network: nn.Module, path: Path, channels: int) -> None:
    """A program for images of any number and size."""
    sizes = {
        0: torch.export.Dim("batch"),
        2: torch.export.Dim("height", min=8, max=512),
        3: torch.export.Dim("width", min=8, max=512),
    }
    example = torch.rand(2, channels, 32, 36)
    exported = torch.export.export(network.eval(), (example,), dynamic_shapes=(sizes,))
    torch.export.save(exported, path)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, networks and weights, by the names that ``KINDS`` uses."""
    root = tmp_path_factory.mktemp("place")
    photo_folder(root / "photos")
    Image.fromarray(pixels(0, 50, 60, 72)).save(root / "photo.png")
    (root / "given_net.py").write_text(SOURCE)
    torch.manual_seed(1)
    for classes in (3, 10):
        state = models.get_model(TORCHVISION, num_classes=classes).state_dict()
        torch.save(state, root / f"torchvision{classes}.pth")
    program(Small(), root / "program3.pt2", 3)
    program(Ten(), root / "program10.pt2", 1)
    common = f"--epochs 1 --out {root}/samples --device cpu --precision fp32"
    folder = f"--dataset folder:{root}/photos --image-size 32 --batch-size 8"
    assert main(f"train mlp --dataset digits --name digits {common}".split()) == 0
    assert main(f"train mlp {folder} --name folder {common}".split()) == 0
    for name, data in (("digits2", "--dataset digits"), ("folder2", folder)):
        line = f"train mlp {data} --width 8 --seed 1 --name {name} {common}"
        assert main(line.split()) == 0
    return root


def kinds(place: Path, classes: int) -> dict[str, list[str]]:
    """The options that name each kind of network, for 10 classes of digits or 3 of the folder."""
    run = place / "samples/train" / {10: "digits", 3: "folder"}[classes]
    small = ["--resize", "32", "--crop", "32"]
    function = {10: "Ten", 3: "Small"}[classes]
    return {
        "component": ["--model", "mlp"],
        "run": ["--model", str(run)],
        "checkpoint": ["--model", str(run / checkpoint.FILE)],
        "torchvision": [
            *("--model", f"torchvision:{TORCHVISION}", *small),
            *("--weights", str(place / f"torchvision{classes}.pth")),
        ],
        "timm": [
            *("--model", f"timm:{TIMM}", *small),
            *("--weights", str(place / f"timm{classes}.pth")),
        ],
        "robustbench": [
            *("--model", f"robustbench:Small{classes}"),
            *("--weights", str(place / f"robustbench{classes}.pt")),
        ],
        "file": ["--model", f"{place}/given_net.py:{function}"],
        "module": ["--model", f"given_net:{function}"],
        "program": ["--model", str(place / f"program{classes}.pt2")],
        "ensemble": ["--model", f"ensemble:{run},{run}2"],
    }


def weights_of_extras(kind: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights for both data sets of the network that the kind names. RobustBench's networks are
    large; two small ones stand among them."""
    if kind == "timm":
        timm = pytest.importorskip("timm")
        for classes in (3, 10):
            state = timm.create_model(TIMM, num_classes=classes).state_dict()
            torch.save(state, place / f"timm{classes}.pth")
    if kind == "robustbench":
        zoo = zoo_of("robustbench:NAME", monkeypatch)
        for classes, network in ((3, Small), (10, Ten)):
            monkeypatch.setitem(zoo, f"Small{classes}", {"model": network, "gdrive_id": ""})
            torch.save(network().state_dict(), place / f"robustbench{classes}.pt")


LABELS = {
    "`cnn`, `mlp`, …": "component",
    "`samples/train/NAME`": "run",
    "`FILE.safetensors`": "checkpoint",
    "`torchvision:NAME`": "torchvision",
    "`timm:NAME`": "timm",
    "`robustbench:NAME`": "robustbench",
    "`FILE.py:FUNCTION`": "file",
    "`package.module:FUNCTION`": "module",
    "`FILE.pt2`": "program",
    "`ensemble:RUN,RUN`": "ensemble",
}


def documented(columns: int) -> dict[str, list[bool]]:
    """The table of the documentation with that many cells in a row: what they say, by kind of
    network."""
    text = (DOCS / "own-network-and-data.md").read_text(encoding="utf-8")
    row = rf"^\| (`[^|]*) \|((?: (?:yes|no)(?: ¹)? \|){{{columns}}})$"
    return {
        LABELS[label]: [cell == "yes" for cell in re.findall(r"yes|no", cells)]
        for label, cells in re.findall(row, text, flags=re.MULTILINE)
    }


CELLS = [
    ("attack fgsm --eps 0.05 --limit 2", "digits"),
    ("attack fgsm --eps 0.05 --limit 2", "folder"),
    ("attack fgsm --eps 0.05", "photo"),
    ("evaluate quick --attacks FGSM --eps 0.05 --limit 2 --steps 2 --queries 2", "digits"),
    ("evaluate quick --attacks FGSM --eps 0.05 --limit 2 --steps 2 --queries 2", "folder"),
    ("inspect predict", "digits"),
    ("inspect predict", "folder"),
    ("inspect predict", "photo"),
]


@pytest.mark.parametrize("kind", kinds(Path(), 3))
def test_every_cell_of_the_documented_table(
    kind: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights_of_extras(kind, place, monkeypatch)
    monkeypatch.syspath_prepend(str(place))
    data = {
        "digits": ["--dataset", "digits"],
        "folder": ["--dataset", f"folder:{place}/photos", "--image-size", "32"],
        "photo": ["--image", str(place / "photo.png")],
    }
    found = []
    for number, (line, images) in enumerate(CELLS):
        network = kinds(place, 10 if images == "digits" else 3)[kind]
        given = list(data[images])
        if kind == "component" and images == "photo":
            given += data["folder"]
        if kind in ("component", "run", "checkpoint"):
            given += ["--out", str(place / "samples"), "--name", f"{kind}{number}"]
        else:
            given += ["--out", str(tmp_path)]
        status = main([*line.split(), *network, *given, "--device", "cpu"])
        assert status in (0, 2), (line, images)
        found.append(status == 0)
    assert found == documented(len(CELLS))[kind], kind


def few_images(file: Path) -> None:
    """Sixty images of digits' size and number of classes."""
    images = np.random.default_rng(0).integers(0, 256, (60, 28, 28), dtype=np.uint8)
    np.savez(file, images=images, labels=np.arange(60) % 10)


@pytest.mark.parametrize("kind", kinds(Path(), 3))
def test_every_cell_of_the_documented_table_of_trainings(
    kind: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few images stand for digits, on which nothing here depends."""
    weights_of_extras(kind, place, monkeypatch)
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.chdir(tmp_path)
    few_images(Path("grey.npz"))
    # The weights of libraries tell three classes apart: their last layer is a new one.
    library = kind in ("torchvision", "timm", "robustbench")
    _, name, *rest = kinds(place, 3 if library else 10)[kind]
    given = [*rest[rest.index("--weights") :], "--resize", "32"] if library else []
    small = "--dataset npz:grey.npz --train-size 30 --epochs 1 --batch-size 15 --device cpu"
    trains, defends, _, _ = documented(4)[kind]
    for number, (words, wanted) in enumerate(
        [
            (["train", name], trains),
            (["memorize", name, "--seeds", "1"], trains),
            (["poison", name, "--seeds", "1"], trains),
            (["defend", "pgd", "--model", name, "--steps", "1", "--limit", "4"], defends),
        ]
    ):
        status = main([*words, *given, *small.split(), "--out", str(number)])
        assert status == (0 if wanted else 2), words


@pytest.mark.parametrize("kind", kinds(Path(), 3))
def test_every_cell_of_the_documented_table_of_encoders(
    kind: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few images of ten classes in one channel stand for digits, whose evaluation takes longer."""
    weights_of_extras(kind, place, monkeypatch)
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.setattr("advlab.metrics.probe._ITERATIONS", 5)
    monkeypatch.setattr("advlab.contrastive.baselines._SETTLING", 2)
    monkeypatch.setattr("advlab.experiments.contrast.run.draw", lambda *given: None)
    few_images(tmp_path / "grey.npz")
    data = {10: f"npz:{tmp_path}/grey.npz", 3: f"folder:{place}/photos --image-size 32"}
    small = "--batch-size 5 --epochs 1 --no-supervised --projection 8 4 --device cpu"
    found = []
    for classes in (10, 3):
        _, name, *rest = kinds(place, classes)[kind]
        weights = rest[rest.index("--weights") :] if rest else []
        line = ["contrast", "--encoder", name, *weights, "--dataset", *data[classes].split()]
        status = main([*line, *small.split(), "--out", str(tmp_path), "--name", str(classes)])
        found.append(status == 0)
        if found[-1]:
            result = json.loads((tmp_path / f"contrast/{classes}/metrics.json").read_text())
            fresh = kind == "component"
            assert (result["weights"] is None) == fresh
            assert result["width"] is None
    assert found == documented(4)[kind][2:], kind


def test_a_run_of_own_code_makes_no_transferred_images_unasked(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its code is run where the command line names it, and a folder of results names nothing."""
    small = f"--dataset digits --epochs 1 --train-size 50 --device cpu --out {tmp_path}"
    assert main(["train", f"{place}/given_net.py:Ten", *small.split(), "--name", "code"]) == 0
    assert main(["train", "mlp", *small.split(), "--name", "mlp"]) == 0
    line = f"evaluate standard --model {tmp_path}/train/mlp --attacks noise transfer --limit 4"
    out = ["--device", "cpu", "--out", str(tmp_path)]
    assert main([*line.split(), *out]) == 0
    alone = ["--attacks", "transfer", "--eps", "0.05", "0.1", "--name", "nothing"]
    words = line.split()
    assert main([*words[: words.index("--attacks")], *alone, "--limit", "2", *out]) == 2
    assert "no attack can run: transfer: no other finished training" in capsys.readouterr().err
    assert main(["train", "separable", *small.split(), "--name", "other"]) == 0
    assert main([*line.split(), *out, "--name", "two"]) == 0
    attacks = [
        {row["attack"]: row["attacked"] for row in json.loads(file.read_text())["attacks"]}
        for file in sorted(tmp_path.glob("evaluate/*/metrics.json"))
    ]
    assert sorted("transfer" in names for names in attacks) == [False, True]


# --- the same figures, however it is named --------------------------------------------------------
def result(root: Path, command: str) -> dict[str, Any]:
    (file,) = root.glob(f"{command}/*/metrics.json")
    metrics: dict[str, Any] = json.loads(file.read_text())
    return metrics


@pytest.fixture
def figures(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def of(*words: str, command: str = "attack pgd --eps 0.1 --limit 40") -> dict[str, Any]:
        out = tmp_path / str(len(list(tmp_path.iterdir())))
        assert main([*command.split(), *words, "--out", str(out), "--device", "cpu"]) == 0
        return result(out, command.split()[0])

    return of


def test_a_run_is_named_by_model_as_by_checkpoint(
    runs: Path, figures: Callable[..., dict[str, Any]]
) -> None:
    small = str(runs / "train" / "small")
    by_model, by_checkpoint = figures("--model", small), figures("--checkpoint", small)
    assert by_model["points"][0]["robust_accuracy"] == by_checkpoint["points"][0]["robust_accuracy"]
    assert by_model["network"] == by_checkpoint["network"]


def test_a_file_a_module_and_factory_are_the_same_network(
    place: Path, figures: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(place))
    data = ("--dataset", "digits", "--precision", "fp32")
    found = [
        figures("--model", f"{place}/given_net.py:Ten", *data),
        figures("--model", "given_net:Ten", *data),
        figures("--factory", "given_net:Ten", *data),
        figures("--model", str(place / "program10.pt2"), *data),
    ]
    assert len({one["network"]["sha256"] for one in found}) == 1
    assert len({one["clean_accuracy"] for one in found}) == 1
    assert len({one["points"][0]["robust_accuracy"] for one in found}) == 1


STUBBORN = """import sys
from torch import nn

class Stays(nn.Sequential):
    def eval(self):
        return self

class Switches(nn.Sequential):
    def forward(self, x):
        self[1].train()
        return super().forward(x)

def stays():
    return Stays(nn.Flatten(), nn.BatchNorm1d(784), nn.Linear(784, 10))

def switches():
    return Switches(nn.Flatten(), nn.BatchNorm1d(784), nn.Linear(784, 10))

def leaves():
    sys.exit(3)
"""


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("stays", "its module 'network' is in training mode after eval()"),
        ("switches", "its module 'network.1' is in training mode after eval() and a forward pass"),
        ("leaves", "calling it raises SystemExit: 3"),
    ],
)
def test_what_no_attack_can_use_is_refused(
    function: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    line = f"evaluate quick --dataset digits --limit 5 --out {tmp_path} --model "
    assert main([*line.split(), f"{tmp_path}/stubborn.py:{function}"]) == 2
    assert words in capsys.readouterr().err


def test_a_function_makes_the_same_network_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("drawn_net.py").write_text(
        "import random\nimport numpy as np\nfrom torch import nn\n\n"
        "def make():\n"
        "    network = nn.Linear(4, 3)\n"
        "    network.bias.data[0] = random.random() + np.random.rand()\n"
        "    return network\n"
    )
    before = torch.get_rng_state()
    first, second = (named(TargetOptions(model="drawn_net.py:make")) for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.record.sha256 == second.record.sha256
    assert torch.equal(torch.get_rng_state(), before)


def test_the_folder_that_code_is_named_from_makes_no_other_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "from torch import nn\n\ndef make():\n"
    code += "    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))\n"
    (tmp_path / "below").mkdir()
    (tmp_path / "flat_net.py").write_text(code)
    line = f"attack noise --dataset digits --image 0 --eps 0 --out {tmp_path}/s --name a --model"
    monkeypatch.chdir(tmp_path)
    assert main([*line.split(), "flat_net.py:make"]) == 0
    monkeypatch.chdir("below")
    capsys.readouterr()
    assert main([*line.split(), "../flat_net.py:make"]) == 0
    assert "is finished already" in capsys.readouterr().out
    Path("flat_net.py").write_text(code.replace("(784, 10)", "(784, 10, bias=False)"))
    assert main([*line.split(), "flat_net.py:make"]) == 2
    assert "holds another run (network" in capsys.readouterr().err


def test_a_network_that_does_not_run_in_bf16_gets_gradients_in_fp32(
    place: Path,
) -> None:
    options = fgsm.Options(model=f"{place}/given_net.py:Constants", dataset="digits")
    target, data = with_images(options, named(options), torch.device("cpu"))
    assert target is not None
    fast = Machine(torch.device("cpu"), "bf16")
    with collected() as lines:
        assert usable_machine(target, data, fast, "auto").precision == "fp32"
    assert "gradients in fp32: the network does not run in bf16" in lines[0]
    assert usable_machine(target, data, fast, "bf16") is fast
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(1, 8, 3)]
    for _ in range(60):
        layers += [nn.Conv2d(8, 8, 1), Sine()]
    deep = nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(10)).eval()
    chaotic = replace(target, network=deep)
    chaotic.network(data.test.inputs(slice(0, 1)))
    with collected() as lines:
        assert usable_machine(chaotic, data, fast, "auto").precision == "fp32"
    assert "gradients in bf16 point elsewhere than in fp32" in lines[-1]
    # Who asks for it gets it, and a check that says what it is worth.
    assert usable_machine(chaotic, data, fast, "bf16") is fast
    (doubt,) = weak_precision_of(chaotic, data, fast, "bf16").items()
    assert doubt[0] == "weak precision"
    assert doubt[1].startswith("--precision bf16 was asked for, and gradients in bf16 point")
    assert weak_precision_of(chaotic, data, fast, "auto") == {}
    pixels, labels = data.test.inputs(slice(0, 20)), data.test.labels[:20]
    attacked = advlab.attack(deep, pixels, labels, "fgsm", eps=0.1, precision="bf16")
    # From Python it goes by the name of the argument.
    words = doubt[1].replace("--precision", "precision")
    assert attacked.checks_failed.items() >= {("weak precision", words)}
    plain = advlab.attack(deep, pixels, labels, "fgsm", eps=0.1, precision="fp32")
    assert "weak precision" not in plain.checks_failed
    own = replace(target, network=Ten().eval())
    assert usable_machine(own, data, fast, "auto") is fast
    assert weak_precision_of(own, data, fast, "bf16") == {}


def test_surrogates_are_named_in_the_same_ways(
    place: Path, runs: Path, figures: Callable[..., dict[str, Any]]
) -> None:
    metrics = figures(
        "--model", str(runs / "train" / "small"), "--surrogate", f"{place}/given_net.py:Ten"
    )
    assert metrics["surrogate"]["model"] == "given_net.py:Ten"


# --- classes --------------------------------------------------------------------------------------
SYNSETS = [f"n{number:08d}" for number in range(1000)]


@pytest.mark.parametrize(
    ("known", "asked", "numbers"),
    [
        (ClassNames(("a", "b", "c")), ("c", "a"), [2, 0]),
        (ClassNames(("giant panda", "lesser panda")), ("Lesser_Panda",), [1]),
        (ClassNames(("a", "b"), ("n00000001", "n00000002")), ("n00000002", "n00000001"), [1, 0]),
        (ClassNames(("a", "b")), ("a", "d"), None),
        (ClassNames(("crane", "crane", "b")), ("crane", "b"), None),
        (ClassNames(tuple(map(str, range(1000)))), tuple(SYNSETS), list(range(1000))),
        (ClassNames(tuple(map(str, range(1000)))), tuple(SYNSETS[::-1]), list(range(999, -1, -1))),
        (ClassNames(tuple(map(str, range(1000)))), tuple(SYNSETS[:10]), None),
    ],
)
def test_classes_are_matched_by_synset_or_name(
    known: ClassNames, asked: tuple[str, ...], numbers: list[int] | None
) -> None:
    assert known.numbers_of(asked) == numbers


def test_a_part_of_the_classes_in_another_order_gets_the_networks_numbers(
    place: Path, tmp_path: Path, figures: Callable[..., dict[str, Any]]
) -> None:
    """The accuracy is that on the same photos under the numbers that the network knows."""
    photo_folder(tmp_path / "two" / "two", ("blue", "red"))
    (tmp_path / "names.txt").write_text("\n".join(CLASSES))
    network = Small().eval()
    own = ("--model", f"{place}/given_net.py:Small", "--classes", str(tmp_path / "names.txt"))
    data = ("--dataset", f"folder:{tmp_path}/two/two", "--image-size", "32")
    metrics = figures(*own, *data, command="attack noise --eps 0 --precision fp32")
    stored = np.asarray([CLASSES.index(name) for name in ("blue", "red")])
    from advlab.api import load_dataset

    images, labels = load_dataset(f"folder:{tmp_path}/two/two", image_size=32).test.tensors()
    with torch.no_grad():
        right = network(images).argmax(1) == torch.from_numpy(stored)[labels]
    assert metrics["clean_accuracy"] == float(right.double().mean())
    assert metrics["classes"] == 3


def test_python_has_the_data_set_of_a_network_as_the_command_has_it(
    place: Path, tmp_path: Path, figures: Callable[..., dict[str, Any]]
) -> None:
    """All images of the folder, of the size and under the numbers that the network knows."""
    photo_folder(tmp_path / "two" / "two", ("blue", "red"), count=5)
    name, names = f"folder:{tmp_path}/two/two", tmp_path / "names.txt"
    names.write_text("\n".join(CLASSES))
    network = kinds(place, 3)["torchvision"]
    data_options = ("--dataset", name, "--classes", str(names))
    metrics = figures(*network, *data_options, command="attack noise --eps 0 --precision fp32")

    library, weights = f"torchvision:{TORCHVISION}", str(place / "torchvision3.pth")
    model = advlab.load_model(library, weights=weights, resize=32, crop=32)
    data = advlab.load_dataset(name, model=model, classes=names)
    assert len(data.train) == 0
    assert sorted(data.test.labels.tolist()) == [0] * 5 + [2] * 5  # the folder's own: 1 and 0
    assert tuple(data.test.pixels.shape) == (10, 3, 32, 32)
    images, labels = data.test.tensors()
    result = advlab.attack(model, images, labels, "noise", eps=0, precision="fp32")
    assert result.clean_accuracy == metrics["clean_accuracy"]
    assert len(images) == metrics["images"]
    assert len(advlab.load_dataset(name, model=model, classes=names, limit=3).test) == 3


def test_python_has_by_default_the_data_that_a_network_was_trained_on(place: Path) -> None:
    model = advlab.load_model(str(place / "samples/train/folder"))
    data = advlab.load_dataset(model=model)
    assert data.name == f"folder:{place}/photos"
    assert len(data.train) > 0
    assert torch.equal(data.test.pixels, advlab.load_dataset(data.name, image_size=32).test.pixels)


def test_python_gives_grey_images_in_colour_to_a_network_of_colour(place: Path) -> None:
    weights = str(place / "torchvision10.pth")
    model = advlab.load_model(f"torchvision:{TORCHVISION}", weights=weights, resize=32, crop=32)
    grey = advlab.load_dataset("digits")
    data = advlab.load_dataset("digits", model=model)
    assert tuple(data.test.pixels.shape[1:]) == (3, 28, 28)
    assert torch.equal(data.test.pixels[:, 2:], grey.test.pixels)
    images, labels = data.test.tensors(4)
    assert len(advlab.attack(model, images, labels, "fgsm", eps=0.1).images) == 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "auto"}, "name: is missing; on which data torchvision:"),
        ({"name": "digits"}, "its network tells 3 classes apart, and digits has 10"),
        ({"name": "digits", "model": nn.Flatten()}, "model: is no network from load_model"),
        ({"name": "digits", "model": None, "limit": 3}, "limit: goes with model"),
        ({"name": "digits", "model": None, "classes": "a"}, "classes: goes with model"),
    ],
)
def test_python_refuses_data_that_do_not_fit_a_network(
    place: Path, options: dict[str, Any], words: str
) -> None:
    weights = str(place / "torchvision3.pth")
    model = advlab.load_model(f"torchvision:{TORCHVISION}", weights=weights, resize=32, crop=32)
    with pytest.raises(UsageError, match=words):
        advlab.load_dataset(**{"model": model, **options})


def test_images_of_another_size_are_refused_with_the_option_that_scales_them(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, data = place / "samples/train/folder", f"folder:{place}/photos"
    assert main(f"attack fgsm --model {run} --dataset {data}".split()) == 2
    refusal = capsys.readouterr().err
    assert "takes images of 3 × 32 × 32 in 3 classes" in refusal
    assert refusal.endswith("; --image-size 32 reads them at that size\n")
    with pytest.raises(UsageError, match=r"; image_size 32 reads them at that size$"):
        advlab.load_dataset(data, model=advlab.load_model(run))
    assert main(f"attack fgsm --model {run} --dataset digits".split()) == 2
    assert "at that size" not in capsys.readouterr().err  # grey, and of one size


def test_classes_of_other_names_are_taken_by_number_with_a_note(
    place: Path,
    tmp_path: Path,
    figures: Callable[..., dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    fruit = photo_folder(tmp_path / "data" / "fruit", ("apple", "fig", "pear"))
    model = ("--model", str(place / "samples/train/folder"))
    line = "attack noise --eps 0 --precision fp32"
    figures(*model, "--dataset", f"folder:{fruit}", "--image-size", "32", command=line)
    assert "other names, such as 'blue' for 'apple'" in capsys.readouterr().out
    figures(*model, "--dataset", f"folder:{place}/photos", "--image-size", "32", command=line)
    assert "other names" not in capsys.readouterr().out


def test_the_order_in_which_outputs_are_taken_is_said(
    tmp_path: Path,
    figures: Callable[..., dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    names = tuple(str(number) for number in range(11))  # as texts: 0, 1, 10, 2, ...
    photos = photo_folder(tmp_path / "data" / "numbers", names)
    (tmp_path / "eleven.py").write_text(
        "from torch import nn\n\ndef make():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 11))\n"
    )
    line = "attack noise --eps 0 --precision fp32"
    data = ("--dataset", f"folder:{photos}", "--image-size", "32")
    figures("--model", "eleven.py:make", *data, command=line)
    said = capsys.readouterr().out
    assert "in the order of the class names, 0 as '0', 1 as '1', 2 as '10', 10 as '9'" in said
    (tmp_path / "names.txt").write_text("\n".join(names))
    figures("--model", "eleven.py:make", *data, "--classes", "names.txt", command=line)
    assert "in the order of the class names" not in capsys.readouterr().out


def test_classes_that_count_as_one(
    place: Path, figures: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    source = tmp_path / "odd.py"
    source.write_text(
        "import torch\n\n\nclass Odd(torch.nn.Module):\n"
        "    def forward(self, x):\n        return (x.mean((1, 2, 3)) - 0.15) * 20\n"
    )
    metrics = figures(
        *("--model", f"{source}:Odd", "--dataset", "digits", "--precision", "fp32"),
        *("--classes", "0,2,4,6,8/1,3,5,7,9"),
        command="evaluate quick --attacks FGSM --eps 0 0.05 --limit 50",
    )
    from advlab.api import load_dataset

    images, labels = load_dataset("digits").test.tensors(50)
    right = (images.mean((1, 2, 3)) > 0.15).long() == labels % 2
    assert metrics["clean_accuracy"] == float(right.double().mean())
    assert metrics["classes"] == 2


# --- refusals -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "--model given_net.py:Small --dataset digits",
            "'advlab train given_net.py:Small --dataset digits' trains it on them",
        ),
        ("--model given_net.py:Nothing --dataset digits", "has no function 'Nothing'"),
        ("--model nowhere.py:Small --dataset digits", "no file at nowhere.py"),
        ("--model given_net.py --dataset digits", "add the function that makes the network"),
        ("--model samples/train/digits --dataset csv:texts.csv", "images are taken here"),
        ("--model samples/train/digits --image nowhere.jpg", "there is no such file"),
        ("--model nowhere.pt2 --dataset digits", "no file at nowhere.pt2"),
        ("--model photo.png --dataset digits", "is not a checkpoint of advlab"),
        ("--model samples/train/nothing", "--model: no checkpoint at samples/train/nothing"),
        ("--model mpl --dataset digits", "did you mean 'mlp'?"),
        ("--model timm:resnet81 --dataset digits", "did you mean"),
        ("--model torchvision:resnet81 --dataset digits", "did you mean 'resnet18'?"),
        ("--model mlp --mean 0.5 --dataset digits", "--mean: goes with --model torchvision:NAME"),
        ("--model mlp --output logits --dataset digits", "--output: goes with"),
        ("--model samples/train/digits --crop 8", "--crop: goes with"),
        (
            "--model given_net.py:Ten --checkpoint samples/train/digits --dataset digits",
            "--checkpoint and --model each name a network",
        ),
        (
            "--model given_net.py:Ten --weights torchvision3.pth --dataset digits",
            "does not hold",
        ),
        ("--model given_net.py:Ten --output logits --dataset digits", ""),
        ("--model given_net.py:Ten --dataset digits --classes 0,1/2,3", "4, a class of digits"),
        ("--model given_net.py:Ten --dataset digits --classes 0,1/1,2", "1 is named twice"),
        ("--model given_net.py:Ten --dataset digits --std 0", "--std"),
    ],
)
def test_what_cannot_be_taken_is_refused_in_a_line(
    line: str,
    words: str,
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if "timm" in line:
        pytest.importorskip("timm")
    monkeypatch.chdir(place)
    capsys.readouterr()
    status = main(["attack", "fgsm", *line.split(), "--out", str(tmp_path), "--limit", "4"])
    if not words:  # a tensor is a tensor, whatever --output says of dictionaries
        assert status == 0
        return
    assert status == 2
    (refusal,) = capsys.readouterr().err.splitlines()
    assert words in refusal
    assert not list(tmp_path.iterdir())


def test_a_weights_file_of_timm_must_have_the_networks_names(
    tmp_path: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    timm = pytest.importorskip("timm")
    state = timm.create_model(TIMM).state_dict()
    renamed = tmp_path / "renamed.pth"
    torch.save({f"body_{name}": value for name, value in state.items()}, renamed)
    line = ["inspect", "predict", "--model", f"timm:{TIMM}", "--weights", str(renamed)]
    assert main([*line, "--image", str(place / "photo.png"), "--out", str(tmp_path)]) == 2
    (refusal,) = capsys.readouterr().err.splitlines()
    assert "does not hold weights of timm's test_resnet" in refusal
    assert "are missing" in refusal


def test_weights_of_timm_are_downloaded_from_the_hub(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Served on localhost as the hub serves them."""
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    network = timm.create_model(TIMM)
    content = to_bytes(network.state_dict())
    hub = ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, content))
    Thread(target=hub.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{hub.server_address[1]}"
    # What its library makes of HF_ENDPOINT and HF_HOME when it is imported.
    for name, value in {
        "ENDPOINT": address,
        "HUGGINGFACE_CO_URL_TEMPLATE": address + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(tmp_path / "hub"),
    }.items():
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("ADVLAB_OFFLINE", "0")
    line = f"inspect predict --model timm:{TIMM} --image {place}/photo.png --out {tmp_path}/s"
    try:
        assert main(line.split()) == 0
    finally:
        hub.shutdown()
        hub.server_close()
    assert list((tmp_path / "hub").rglob("*.safetensors")), "they come from the hub"
    metrics = result(tmp_path / "s", "inspect")
    assert metrics["network"]["sha256"] == checkpoint.sha256_of(network)
    assert metrics["classes"] == 1000
    assert metrics["predictions"][0]["name"] != "class 0"


class Hub(BaseHTTPRequestHandler):
    """The few answers of the Hugging Face Hub that a download needs."""

    def __init__(self, content: bytes, *arguments: Any) -> None:
        self.content = content
        super().__init__(*arguments)

    def do_HEAD(self) -> None:
        found = self.path.endswith("/resolve/main/model.safetensors")
        self.send_response(200 if found else 404)
        if found:
            self.send_header("ETag", f'"{hashlib.sha256(self.content).hexdigest()}"')
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        if self.path.endswith("/resolve/main/model.safetensors"):
            self.wfile.write(self.content)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


def test_a_missing_timm_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: Path
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    line = ["inspect", "predict", "--model", f"timm:{TIMM}", "--image", str(place / "photo.png")]
    assert main([*line, "--weights", str(place / "torchvision3.pth")]) == 1
    assert "pip install 'advlab[timm]'" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["model: given_net:Ten", "surrogate: given_net.py:Ten"])
def test_code_in_a_file_is_refused(
    text: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    Path("run.yaml").write_text(f"command: attack\nattack: fgsm\ndataset: digits\n{text}\n")
    assert main(["--config", "run.yaml"]) == 2
    assert "is taken from the command line only" in capsys.readouterr().err


# --- networks that cannot be attacked -------------------------------------------------------------
ODD = """
import threading
from torch import nn

def lazy():
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(10))

def locked():
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    network.lock = threading.Lock()
    return network
"""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lazy", "belongs to a lazy layer that has no weights yet"),
        ("locked", "its network cannot be copied, which attacks need"),
    ],
)
def test_a_network_that_no_attack_can_take_is_refused_in_a_line(
    name: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "odd.py").write_text(ODD)
    line = f"attack fgsm --model {tmp_path}/odd.py:{name} --dataset digits --limit 4 --device cpu"
    assert main([*line.split(), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()
