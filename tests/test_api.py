"""advlab as a library: the figures of the command line, without files."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import advlab
from advlab import AttackResult
from advlab.api.keywords import in_keywords
from advlab.cli.main import main
from advlab.config.options.run import DataOptions
from advlab.data import load_images
from advlab.data.image_set import ImageSet
from advlab.errors import AdvlabError, UsageError
from advlab.runs.machine import Machine

CPU: dict[str, Any] = {"device": "cpu", "precision": "fp32"}
LINE = ["--device", "cpu", "--precision", "fp32", "--limit", "40"]


@pytest.fixture(scope="module")
def model(runs: Path) -> nn.Module:
    return advlab.load_model(runs / "train" / "small")


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    return advlab.load_dataset("digits").test.tensors(40)


def test_importing_it_loads_nothing_large_and_names_everything() -> None:
    code = (
        "import sys, advlab; names = dir(advlab); "
        "assert not {'torch', 'numpy', 'pydantic'} & set(sys.modules); "
        "assert set(advlab.__all__) <= set(names); "
        "assert all(getattr(advlab, name) for name in advlab.__all__); "
        "assert 'torch' in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match="no attribute 'atack'"):
        _ = advlab.atack


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("fgsm", {"eps": 0.1}),
        ("pgd", {"eps": 1.5, "norm": "l2", "steps": 5}),
        ("square", {"eps": 0.1, "queries": 30}),
    ],
)
def test_an_attack_gives_the_bits_of_the_command_line(
    name: str,
    options: dict[str, Any],
    model: nn.Module,
    digits: tuple[Tensor, Tensor],
    runs: Path,
    tmp_path: Path,
) -> None:
    x, y = digits
    result = advlab.attack(model, x, y, name, **options, **CPU)
    flags = [word for key, value in options.items() for word in (f"--{key}", str(value))]
    checkpoint = ["--checkpoint", str(runs / "train" / "small")]
    assert main(["attack", name, *checkpoint, *flags, *LINE, "--out", str(tmp_path)]) == 0
    (file,) = tmp_path.glob("attack/*/images-eps*.safetensors")
    saved = load_file(file)
    index = saved["index"]
    assert torch.equal(result.images[index], saved["perturbed"])
    metrics = json.loads((file.parent / "metrics.json").read_text())
    assert result.robust_accuracy == metrics["robust_accuracy"]
    assert result.clean_accuracy == metrics["clean_accuracy"]
    assert torch.equal(result.success, result.predictions != digits[1])


def test_an_evaluation_gives_the_figures_of_the_command_line(
    model: nn.Module, digits: tuple[Tensor, Tensor], runs: Path, tmp_path: Path
) -> None:
    result = advlab.evaluate(model, *digits, eps=0.1, suite="quick", steps=5, queries=20, **CPU)
    line = ["evaluate", "quick", "--checkpoint", str(runs / "train" / "small"), "--eps", "0.1"]
    assert main([*line, "--steps", "5", "--queries", "20", *LINE, "--out", str(tmp_path)]) == 0
    (file,) = tmp_path.glob("evaluate/*/metrics.json")
    metrics = json.loads(file.read_text())
    assert result.robust_accuracy == metrics["robust_accuracy"]
    assert [(row.attack, row.attacked, row.broken) for row in result.attacks] == [
        (row["attack"], row["attacked"], row["broken"]) for row in metrics["attacks"]
    ]
    assert result.checks_failed == metrics["checks_failed"]
    with torch.no_grad():
        right = model(result.images).argmax(1) == digits[1]
    assert float(right.double().mean()) == result.robust_accuracy


def test_images_may_be_floats_between_the_grey_levels(
    model: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    between = (digits[0] + 0.001).clamp(0, 1)
    result = advlab.attack(model, between, digits[1], "fgsm", eps=0.01, **CPU)
    assert float((result.images - between).abs().max()) <= 0.01 + 1e-6
    given = (digits[0] * 255).round().to(torch.uint8)
    bytes_in = advlab.attack(model, given, digits[1], "fgsm", eps=0.1, **CPU)
    floats_in = advlab.attack(model, *digits, "fgsm", eps=0.1, **CPU)
    assert torch.equal(bytes_in.images, floats_in.images)


def test_eps_may_be_a_fraction_in_text(model: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    as_text = advlab.attack(model, *digits, "fgsm", eps="8/255", **CPU)
    as_number = advlab.attack(model, *digits, "fgsm", eps=8 / 255, **CPU)
    assert torch.equal(as_text.images, as_number.images)
    row = {"suite": "quick", "steps": 2, "queries": 2, **CPU}
    suites = [advlab.evaluate(model, *digits, eps=eps, **row) for eps in ("8/255", 8 / 255)]
    assert suites[0].robust_accuracy == suites[1].robust_accuracy
    with pytest.raises(UsageError, match="must be a number, not 'much'"):
        advlab.attack(model, *digits, "fgsm", eps="much", **CPU)


def test_minimum_norm_attacks_have_the_norms_and_median_of_the_command_line(
    model: nn.Module, digits: tuple[Tensor, Tensor], runs: Path, tmp_path: Path
) -> None:
    eps = advlab.attack(model, *digits, "ddn", eps=100, steps=20, **CPU).median_norm
    assert eps is not None, "the radius beyond which every second image is"
    result = advlab.attack(model, *digits, "ddn", eps=eps, steps=20, **CPU)
    line = f"attack ddn --checkpoint {runs / 'train' / 'small'} --eps {eps!r} --steps 20"
    assert main([*line.split(), *LINE, "--out", str(tmp_path)]) == 0
    (file,) = tmp_path.glob("attack/*/metrics.json")
    assert result.median_norm == json.loads(file.read_text())["smallest"]["median"]
    assert result.norms is not None
    sizes = (result.images.double() - digits[0].double()).flatten(1).norm(dim=1)
    assert torch.equal(result.norms.isfinite(), result.success)
    assert torch.allclose(result.norms[result.success], sizes[result.success])
    assert not bool(result.success.all()), "some images are farther away than ε"
    ascent = advlab.attack(model, *digits, "fgsm", eps=0.1, **CPU)
    assert (ascent.norms, ascent.median_norm) == (None, None)


def test_results_are_written_in_one_line(model: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    x, y = digits
    found = advlab.attack(model, x, y, "deepfool", eps=0.0, **CPU)
    assert repr(found) == (
        f"AttackResult(40 images, clean_accuracy={found.clean_accuracy:.4g}, "
        f"robust_accuracy={found.robust_accuracy:.4g}, median_norm=None)"
    )
    few: dict[str, Any] = {"sigma": 0.1, "samples": 10, "select": 5}
    assert repr(advlab.certify(model, x, y, **few, **CPU)).startswith(
        "CertificationResult(40 images, accuracy="
    )
    row: dict[str, Any] = {"suite": "quick", "steps": 1, "queries": 1}
    verdict = advlab.evaluate(model, x, y, eps=0.1, **row, **CPU)
    assert repr(verdict) == (
        f"EvaluationResult(40 images, clean_accuracy={verdict.clean_accuracy:.4g}, "
        f"robust_accuracy={verdict.robust_accuracy:.4g}, "
        f"checks_failed={list(verdict.checks_failed)})"
    )


def test_refusals_of_load_model_name_no_flag() -> None:
    with pytest.raises(UsageError, match=r"^load_model: no checkpoint at .*nope$"):
        advlab.load_model("nope")


def test_towards_a_class_and_from_another_model(
    model: nn.Module, digits: tuple[Tensor, Tensor], runs: Path
) -> None:
    targets = (digits[1] + 1) % 10
    aimed = advlab.attack(model, *digits, "pgd", eps=0.3, targets=targets, steps=20, **CPU)
    assert torch.equal(aimed.success, aimed.predictions == targets)
    assert float(aimed.success.double().mean()) > 0.5
    other = advlab.load_model(runs / "train" / "other")
    moved = advlab.attack(model, *digits, "pgd", eps=0.1, surrogate=other, steps=5, **CPU)
    direct = advlab.attack(model, *digits, "pgd", eps=0.1, steps=5, **CPU)
    assert direct.robust_accuracy < moved.robust_accuracy


def test_what_cannot_be_is_refused_in_a_line(
    model: nn.Module, digits: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    x, y = digits
    with pytest.raises(UsageError, match=r"unknown attack 'pdg' \(did you mean 'pgd'\?\)"):
        advlab.attack(model, x, y, "pdg", eps=0.1)
    with pytest.raises(UsageError, match=r"pgd: no option 'step' \(did you mean 'steps'\?\)"):
        advlab.attack(model, x, y, "pgd", eps=0.1, step=3)
    with pytest.raises(UsageError, match="fgsm: no option 'epsilon'; the radius is 'eps'"):
        advlab.attack(model, x, y, "fgsm", epsilon=0.1)
    with pytest.raises(UsageError, match="quick: no option 'epsilon'; the radius is 'eps'"):
        advlab.evaluate(model, x, y, suite="quick", epsilon=0.1)
    with pytest.raises(UsageError, match="fgsm: 'eps' is missing"):
        advlab.attack(model, x, y, "fgsm")
    with pytest.raises(UsageError, match="pgd: steps: must be at least 1, not 0"):
        advlab.attack(model, x, y, "pgd", eps=0.1, steps=0)
    with pytest.raises(ValueError, match=r"images: some values are not in \[0, 1\]"):
        advlab.attack(model, x * 255, y, "fgsm", eps=0.1)
    with pytest.raises(ValueError, match=r"labels: torch\.int64 of shape"):
        advlab.attack(model, x, y[:3], "fgsm", eps=0.1)
    with pytest.raises(ValueError, match="training mode"):
        advlab.attack(nn.Sequential(nn.Flatten(), nn.Dropout()).train(), x, y, "fgsm", eps=0.1)
    with pytest.raises(UsageError, match="no checkpoint at"):
        advlab.load_model(tmp_path / "nothing")
    with pytest.raises(UsageError, match=r"did you mean 'digits'"):
        advlab.load_dataset("digit")


@pytest.mark.parametrize("model", [None, "samples/train/mine", lambda images: images])
def test_what_is_no_model_is_refused(model: Any, digits: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(TypeError, match=r"must be a torch\.nn\.Module, not"):
        advlab.attack(model, *digits, "fgsm", eps=0.1)
    with pytest.raises(TypeError, match=r"must be a torch\.nn\.Module, not"):
        advlab.evaluate(model, *digits, eps=0.1)


@pytest.mark.parametrize(
    ("name", "given", "precision"),
    [
        ("fab", {}, "fp32"),
        ("fab", {"precision": "auto"}, "auto"),
        ("stadv", {}, "fp32"),
        ("pgd", {}, "auto"),
        ("pgd", {"precision": "bf16"}, "bf16"),
    ],
)
def test_an_attack_has_the_precision_that_it_has_on_the_command_line(
    name: str,
    given: dict[str, Any],
    precision: str,
    model: nn.Module,
    digits: tuple[Tensor, Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def machine(device: str, precision: str) -> Machine:
        asked.append(precision)
        return Machine(torch.device("cpu"), "fp32")

    monkeypatch.setattr("advlab.api.inputs.machine_of", machine)
    images, labels = (one[:2] for one in digits)
    eps = None if name == "stadv" else 0.1
    advlab.attack(model, images, labels, name, eps=eps, steps=1, **given)
    assert asked[-1] == precision


@pytest.mark.parametrize("given", [{"precision": "fp64"}, {"device": "gpu"}])
def test_what_is_no_machine_is_refused(
    given: dict[str, Any], model: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    (option,) = given
    with pytest.raises(UsageError, match=f"machine: {option}: must be"):
        advlab.attack(model, *digits, "fgsm", eps=0.1, **given)
    with pytest.raises(UsageError, match=f"machine: {option}: must be"):
        advlab.certify(model, *digits, sigma=0.1, **given)


def test_a_target_must_not_be_the_label(model: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    targets = (digits[1] + 1) % 10
    targets[7] = digits[1][7]
    with pytest.raises(ValueError, match=f"image 7 is its own label {int(targets[7])}"):
        advlab.attack(model, *digits, "fgsm", eps=0.1, targets=targets)


class Turned(nn.Module):
    """Right where the first pixel is black, wrong else; the other pixels lead to the target."""

    def forward(self, x: Tensor) -> Tensor:
        first, others = x[:, 0, 0, 0], x[:, 0, 0, 1]
        return torch.stack([0.5 - first, 0 * first, others - 2], dim=1)


def test_an_attack_towards_a_target_makes_no_image_robust() -> None:
    """The image is misclassified as given, and correct where the attack moves it."""
    images, labels = torch.full((1, 1, 1, 2), 0.6), torch.tensor([0])
    result = advlab.attack(
        Turned().eval(), images, labels, "noise", eps=0.5, targets=labels + 2, seed=2, **CPU
    )
    assert result.clean_accuracy == 0
    assert int(result.predictions) == 0, "the comparison must be able to fail"
    assert result.robust_accuracy == 0


def test_bytes_that_are_almost_black_are_pointed_out(model: nn.Module) -> None:
    images = torch.full((2, 1, 28, 28), 16, dtype=torch.uint8)
    with pytest.warns(UserWarning, match="almost black: the largest of their values"):
        advlab.attack(model, images, torch.tensor([0, 1]), "fgsm", eps=0.1, **CPU)


def test_gradients_are_taken_where_the_caller_takes_none(
    model: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    usual = advlab.attack(model, *digits, "pgd", eps=0.1, steps=3, **CPU)
    with torch.no_grad():
        without = advlab.attack(model, *digits, "pgd", eps=0.1, steps=3, **CPU)
    with torch.inference_mode():
        images = digits[0].clone()
        made_there = copy.deepcopy(model)
        inferring = advlab.attack(made_there, images, digits[1], "pgd", eps=0.1, steps=3, **CPU)
    for result in (without, inferring):
        assert torch.equal(result.images, usual.images)


class Undefined(nn.Module):
    """A linear network with logits of NaN for images whose first pixel is above ``most``."""

    def __init__(self, most: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.most = nn.Linear(784, 10), most

    def forward(self, x: Tensor) -> Tensor:
        logits = self.layer(x.flatten(1))
        return torch.where(x[:, 0, 0, :1] > self.most, torch.nan, logits)


def test_outputs_that_are_not_finite_are_seen_on_every_image() -> None:
    images = torch.rand((20, 1, 28, 28), generator=torch.Generator().manual_seed(0))
    images[:, 0, 0, 0] = 0
    network = Undefined(0.5).eval()
    labels = network(images).argmax(1)
    quick: dict[str, Any] = {"eps": 0.01, "suite": "quick", "steps": 2, "queries": 5, **CPU}
    assert (
        "non-finite outputs" not in advlab.evaluate(network, images, labels, **quick).checks_failed
    )
    images[15:, 0, 0, 0] = 1
    failed = advlab.evaluate(network, images, labels, **quick).checks_failed
    assert failed["non-finite outputs"] == "5 of 20 images get outputs that are not finite"


def test_outputs_that_are_not_finite_under_attack_are_seen() -> None:
    images = torch.full((6, 1, 28, 28), 0.4)
    network = Undefined(0.4001).eval()
    labels = network(images).argmax(1)
    verdict = advlab.evaluate(
        network, images, labels, eps=0.001, suite="quick", steps=2, queries=5, **CPU
    )
    assert verdict.robust_accuracy < 1
    assert "under attack, and count as broken" in verdict.checks_failed["non-finite outputs"]


def test_a_line_of_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert advlab.run(f"list --out {tmp_path}") == 0
    assert "no finished runs" in capsys.readouterr().out
    assert advlab.run(["nothing"]) == 2


def test_networks_that_give_no_gradient_are_counted(digits: tuple[Tensor, Tensor]) -> None:
    class Rounds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.net((x.detach() * 15).round() / 15)
            return logits

    result = advlab.attack(Rounds().eval(), *digits, "pgd", eps=0.1, steps=3, **CPU)
    assert result.unusable_gradients > 0
    verdict = advlab.evaluate(Rounds().eval(), *digits, eps=0.1, suite="quick", queries=5, **CPU)
    assert "missing gradients" in verdict.checks_failed


def test_certificates_are_those_of_the_algorithm(digits: tuple[Tensor, Tensor]) -> None:
    """A linear network of two classes: the smoothed class and its radius are known exactly."""

    class Halves(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            z = x.flatten(1)[:, 0] - 0.5
            return torch.stack([-z, z], dim=1) * 3

    x = torch.full((3, 1, 4, 4), 0.5)
    x[0, 0, 0, 0], x[1, 0, 0, 0] = 0.9, 0.1
    labels = torch.tensor([1, 0, 1])
    found = advlab.certify(
        Halves().eval(), x, labels, sigma=0.25, samples=20_000, alpha=0.001, **CPU
    )
    assert found.predictions.tolist() == [1, 0, -1]  # the third lies on the boundary
    assert found.radii[:2].tolist() == pytest.approx([0.4, 0.4], abs=0.03)
    assert bool((found.radii[:2] < 0.4).all())  # a lower bound
    assert found.accuracy == pytest.approx(2 / 3)
    assert found.certified_accuracy(labels, 0.3) == pytest.approx(2 / 3)
    assert found.certified_accuracy(labels, 0.5) == 0
    with pytest.raises(UsageError, match="certify: no option 'sample'"):
        advlab.certify(Halves().eval(), x, labels, sigma=0.25, sample=5)


def test_models_are_loaded_as_the_command_line_names_them(
    tmp_path: Path, digits: tuple[Tensor, Tensor], runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "mine.py"
    source.write_text(
        "import torch\n\n\ndef make():\n    torch.manual_seed(0)\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))\n"
    )
    plain = advlab.load_model(f"{source}:make")
    shifted = advlab.load_model(f"{source}:make", mean=[0.5], std=[0.25])
    torch.testing.assert_close(shifted(digits[0]), plain((digits[0] - 0.5) / 0.25))
    monkeypatch.chdir(runs / "train")
    assert torch.equal(
        advlab.load_model("small")(digits[0]), advlab.load_model(runs / "train/small")(digits[0])
    )
    with pytest.raises(UsageError, match="load_model: mean: goes with"):
        advlab.load_model(runs / "train" / "small", mean=[0.5])


def test_a_network_that_bf16_does_not_suit_gets_gradients_in_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class HoldsAConstant(nn.Module):
        """A constant of its own in float32, which a network in bf16 cannot multiply."""

        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(16, 3)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.linear(x.flatten(1)) @ torch.eye(3)
            return logits

    fast = Machine(torch.device("cpu"), "bf16")
    monkeypatch.setattr("advlab.api.inputs.machine_of", lambda device, precision: fast)
    images, labels = torch.rand(12, 1, 4, 4), torch.zeros(12, dtype=torch.int64)
    network = HoldsAConstant().eval()
    found = advlab.attack(network, images, labels, "pgd", eps=0.1)
    exact = Machine(torch.device("cpu"), "fp32")
    monkeypatch.setattr("advlab.api.inputs.machine_of", lambda device, precision: exact)
    assert torch.equal(found.images, advlab.attack(network, images, labels, "pgd", eps=0.1).images)
    assert advlab.evaluate(network, images, labels, eps=0.1, suite="quick", steps=2, queries=2)


@pytest.mark.parametrize("label", [-1, 3])
def test_labels_that_the_model_does_not_have_are_refused(label: int) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval()
    images, labels = torch.rand(2, 1, 4, 4), torch.tensor([0, label])
    with pytest.raises(ValueError, match=f"labels: {label} is no class"):
        advlab.attack(network, images, labels, "fgsm", eps=0.1)
    with pytest.raises(ValueError, match=f"labels: {label} is no class"):
        advlab.evaluate(network, images, labels, eps=0.1, suite="quick")
    with pytest.raises(ValueError, match=f"labels: {label} is no class"):
        advlab.certify(network, images, labels, sigma=0.1, samples=10)
    with pytest.raises(ValueError, match=f"targets: {label} is no class"):
        advlab.attack(network, images, labels.clamp(0, 2), "fgsm", eps=0.1, targets=labels)


# --- options and values that would be taken for something else ------------------------------------
def small() -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval()
    images = torch.rand(6, 1, 4, 4)
    return network, images, network(images).argmax(1)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("target", "2", "give 'targets', a class for each image"),
        ("limit", 3, "give the images that are meant"),
        ("mean", [0.5], "give load_model the option"),
        ("seeds", 3, r"advlab\.run takes it"),
        ("dataset", "mnist", "from Python there is nothing that it would say"),
    ],
)
def test_an_option_of_the_command_line_is_refused_where_it_would_do_nothing(
    option: str, value: object, words: str
) -> None:
    network, images, labels = small()
    given: dict[str, Any] = {option: value}
    with pytest.raises(UsageError, match=f"'{option}' is an option of the command line; {words}"):
        advlab.attack(network, images, labels, "pgd", eps=0.1, **given)
    if option != "target":
        with pytest.raises(UsageError, match=f"'{option}' is an option of the command line"):
            advlab.evaluate(network, images, labels, eps=0.1, suite="quick", **given)
    with pytest.raises(UsageError, match=f"certify: no option '{option}'"):
        advlab.certify(network, images, labels, sigma=0.1, **given)


def test_certified_accuracy_takes_one_integer_for_each_image() -> None:
    network, images, labels = small()
    result = advlab.certify(network, images, labels, sigma=0.1, samples=50)
    right = result.certified_accuracy(labels, 0.0)
    assert result.certified_accuracy(labels.tolist(), 0.0) == right  # type: ignore[arg-type]
    for wrong in (labels[:, None], labels[:1], labels.double() + 0.4):
        with pytest.raises(ValueError, match="they must be 6 integers"):
            result.certified_accuracy(wrong, 0.0)
    for radius in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="at least 0"):
            result.certified_accuracy(labels, radius)


def test_what_cannot_be_meant_is_refused() -> None:
    network, images, labels = small()
    with pytest.raises(ValueError, match=r"targets: torch\.float32"):
        advlab.attack(network, images, labels, "fgsm", eps=0.1, targets=(labels + 1) % 3 + 0.4)
    with pytest.raises(ValueError, match="images: a dense tensor"):
        advlab.attack(network, images.to_sparse(), labels, "fgsm", eps=0.1)
    other = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).eval()
    with pytest.raises(ValueError, match="surrogate: tells 2 classes apart, and the model 3"):
        advlab.attack(network, images, labels, "fgsm", eps=0.1, surrogate=other)


@pytest.mark.parametrize("name", [None, 3, b"pgd", ["pgd"]])
def test_a_name_that_is_no_text_is_refused(name: Any) -> None:
    network, images, labels = small()
    with pytest.raises(UsageError, match=r"unknown attack .*; there are: apgd, "):
        advlab.attack(network, images, labels, name, eps=0.1)
    with pytest.raises(
        UsageError, match=r"unknown suite .*; there are: autoattack, quick, standard$"
    ):
        advlab.evaluate(network, images, labels, eps=0.1, suite=name)
    with pytest.raises(UsageError, match="name: must be a text or a path, not"):
        advlab.load_model(name)
    with pytest.raises(UsageError, match="data_dir: must be a text or a path, not"):
        advlab.load_dataset("digits", data_dir=name)


@pytest.mark.parametrize("line", [None, 3, b"list", ["list", 3], [None], "list 'digits"])
def test_what_is_no_line_is_refused(line: Any) -> None:
    with pytest.raises(UsageError, match=r"^run: "):
        advlab.run(line)


@pytest.fixture(scope="module")
def digits_set() -> ImageSet:
    return advlab.load_dataset("digits")


@pytest.mark.parametrize("count", ["3", 1.5, True, [3]])
def test_a_number_of_images_is_a_whole_number(count: Any, digits_set: ImageSet) -> None:
    with pytest.raises(UsageError, match="the number of images must be a whole number"):
        digits_set.test.tensors(count)
    assert len(digits_set.test.tensors(np.int64(3))[0]) == 3  # type: ignore[arg-type]


def test_a_seed_of_certificates_is_that_of_the_command_line() -> None:
    network, images, labels = small()
    given: dict[str, Any] = {"sigma": 0.3, "samples": 40, "select": 10, **CPU}
    for seed in (-1, 2**31, 2**65, 1.5, None, "one", True):
        with pytest.raises(UsageError, match="certify: seed: must be"):
            advlab.certify(network, images, labels, seed=seed, **given)  # type: ignore[arg-type]
    found = [advlab.certify(network, images, labels, seed=seed, **given) for seed in (3, 4)]
    same = advlab.certify(network, images, labels, seed=np.int64(3), **given)  # type: ignore[arg-type]
    assert torch.equal(same.radii, found[0].radii)
    assert not torch.equal(same.radii, found[1].radii)


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (torch.zeros(2, 1, 4, 4, dtype=torch.complex64), [0, 1], r"images: torch\.complex64"),
        (None, [0, 1], "images: no tensor can be made of this NoneType"),
        (np.zeros((2, 1, 4, 4), dtype=object), [0, 1], "images: no tensor .* ndarray"),
        (torch.zeros(2, 1, 4, 4), ["a", "b"], "labels: no tensor can be made of this list"),
    ],
)
def test_what_is_no_tensor_of_real_numbers_is_refused(images: Any, labels: Any, words: str) -> None:
    network = small()[0]
    for function, given in (
        (advlab.attack, {"name": "fgsm", "eps": 0.1}),
        (advlab.evaluate, {"eps": 0.1}),
        (advlab.certify, {"sigma": 0.1}),
        (advlab.verify, {"eps": 0.1}),
    ):
        with pytest.raises(ValueError, match=words):
            function(network, images, labels, **given)


class Crowded(nn.Module):
    """Has memory for one image."""

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > 1:
            raise torch.OutOfMemoryError("full")
        return x.flatten(1)[:, :3]


class Several(nn.Module):
    """Returns two tensors that may be the logits."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"a": x.flatten(1)[:, :3], "b": x.flatten(1)[:, 1:4]}


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x, y: advlab.attack(small()[0], x, y, "fgsm", eps=1.5), "eps 1.5: an L∞ radius"),
        (lambda x, y: advlab.evaluate(small()[0], x, y, eps=1.5), "eps 1.5: an L∞ radius"),
        (
            lambda x, y: advlab.verify(small()[0], x, y, eps=0.1, device="cuda:99"),
            "device cuda:99: torch sees",
        ),
        (
            lambda x, y: advlab.attack(Crowded().eval(), x, y, "fgsm", eps=0.1),
            "smaller batches may do: batch_size N",
        ),
        (
            lambda x, y: advlab.attack(nn.Linear(7, 3).eval(), x, y, "fgsm", eps=0.1),
            r"mat1 and mat2 shapes cannot be multiplied .* images of 1 × 4 × 4$",
        ),
        (
            lambda x, y: advlab.attack(Several().eval(), x, y, "fgsm", eps=0.1),
            "name them with output=$",
        ),
        (lambda x, y: advlab.load_dataset("digits", image_size=64), "^image_size: the images of"),
        (
            lambda x, y: advlab.load_model("torchvision:resnet18", weights="none.pt"),
            "weights: no file at none.pt",
        ),
    ],
)
def test_refusals_name_keywords_and_no_flags(call: Callable[..., object], words: str) -> None:
    with pytest.raises(AdvlabError, match=words) as refused:
        call(*small()[1:])
    assert "--" not in str(refused.value)


def test_failed_checks_name_keywords_and_lines_stay_as_they_are() -> None:
    check = "--precision bf16 was asked for; 'advlab data get x --overwrite' is a line"
    result = AttackResult(torch.rand(1), torch.ones(1), torch.ones(1), 1.0, 1.0)
    failed = replace(result, checks_failed={"precision": check})
    reworded = in_keywords()(lambda: failed)()
    assert reworded.checks_failed["precision"] == check.removeprefix("--")


# --- a part of a suite ----------------------------------------------------------------------------
def of_suite(attacks: object, suite: str = "quick", **options: Any) -> list[str]:
    network, images, labels = small()
    given: dict[str, Any] = {"steps": 2, "queries": 3, **options}
    result = advlab.evaluate(
        network, images, labels, eps=0.1, suite=suite, attacks=attacks, **given, **CPU
    )
    return [row.attack for row in result.attacks]


def test_only_the_named_attacks_of_a_suite_run() -> None:
    assert of_suite(["square", "FGSM"]) == ["FGSM", "Square"]
    assert len(of_suite(None)) > 2


@pytest.mark.parametrize(
    ("attacks", "suite", "norm", "words"),
    [
        (["nonsense"], "quick", "linf", "quick: attacks nonsense: not in the quick suite"),
        (["sqare"], "quick", "linf", r"did you mean 'Square'\?"),
        (["FAB"], "quick", "linf", "not in the quick suite"),
        ([], "quick", "linf", "attacks: needs at least one value"),
        (["APGD-T-3"], "quick", "linf", "attacks APGD-T-3: needs 4 classes"),
        (["FGSM", "transfer"], "standard", "linf", "attacks transfer: needs a second network"),
        (["HopSkipJump"], "standard", "l1", "attacks HopSkipJump: has no l1 form"),
    ],
)
def test_what_a_suite_does_not_have_or_cannot_run_is_refused(
    attacks: list[str], suite: str, norm: str, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        of_suite(attacks, suite, norm=norm)


# --- verify ---------------------------------------------------------------------------------------
def linear_model() -> nn.Sequential:
    """Two classes whose logits differ by twice the sum of the pixels less 8."""
    layer = nn.Linear(16, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[-1.0] * 16, [1.0] * 16]))
        layer.bias.copy_(torch.tensor([8.0, -8.0]))
    return nn.Sequential(nn.Flatten(), layer).eval()


def test_an_image_is_verified_within_its_distance_from_the_boundary() -> None:
    """Of a linear model the bounds are exact: the margin over the L1 norm of the weights."""
    images = torch.stack([torch.full((1, 4, 4), value) for value in (0.6, 0.8, 0.4, 0.6)])
    labels = torch.tensor([1, 1, 0, 0])  # the last one is misclassified
    for eps, expected in (
        (0.0, [True, True, True, False]),
        (0.09, [True, True, True, False]),
        (0.11, [False, True, False, False]),
        (0.31, [False, False, False, False]),
    ):
        result = advlab.verify(linear_model(), images, labels, eps=eps, device="cpu")
        assert result.verified.tolist() == expected
        assert result.verified_accuracy == sum(expected) / 4
    assert repr(result) == "VerificationResult(4 images, verified_accuracy=0)"


def test_what_cannot_be_verified() -> None:
    images, labels = torch.rand(2, 1, 4, 4), torch.tensor([0, 1])
    for eps in (-0.1, 1.5, float("nan"), "one", True, None, [0.1], 10**400):
        with pytest.raises(ValueError, match=r"eps: .* it must be a number from 0 to 1"):
            advlab.verify(linear_model(), images, labels, eps=eps)  # type: ignore[arg-type]
    for form in (0.125, "0.125", "1/8", np.float32(0.125), np.float64(0.125), torch.tensor(0.125)):
        found = advlab.verify(linear_model(), images, labels, eps=form)  # type: ignore[arg-type]
        assert torch.equal(
            found.verified,
            advlab.verify(linear_model(), images, labels, eps=0.125).verified,
        )
    hooked = linear_model()
    hooked[0].register_forward_hook(lambda module, inputs, output: output * 0)
    with pytest.raises(UsageError, match="the layer Flatten with a hook"):
        advlab.verify(hooked, images, labels, eps=0.1)
    damaged = linear_model()
    with torch.no_grad():
        next(damaged.parameters()).view(-1)[0] = float("nan")
    with pytest.raises(UsageError, match="outputs are NaN or infinite"):
        advlab.verify(damaged, images, labels, eps=0.1)
    with pytest.raises(UsageError, match="the layer Softsign"):
        advlab.verify(nn.Sequential(linear_model(), nn.Softsign()).eval(), images, labels, eps=0.1)
    with pytest.raises(ValueError, match="training mode"):
        advlab.verify(linear_model().train(), images, labels, eps=0.1)


def test_images_that_a_loaded_network_was_trained_on_are_seen(model: nn.Module) -> None:
    data = load_images.load(DataOptions(dataset="digits"))
    for part, seen in ((data.train, True), (data.test, False)):
        images, labels = part.inputs(slice(0, 40)), part.labels[:40]
        quick = {"suite": "quick", "attacks": ["noise"], **CPU}
        failed = [
            advlab.attack(model, images, labels, "fgsm", eps=0.1, **CPU).checks_failed,
            advlab.evaluate(model, images, labels, eps=0.1, **quick).checks_failed,
            advlab.certify(model, images, labels, sigma=0.2, samples=20, alpha=0.1).checks_failed,
        ]
        assert [("trained on the images" in checks) for checks in failed] == [seen] * 3
        blurred = (images + 0.3 / 255).clamp(0, 1)
        again = advlab.attack(model, blurred, labels, "fgsm", eps=0.1, **CPU)
        assert "trained on the images" not in again.checks_failed


def test_a_model_is_no_surrogate_of_itself(model: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(ValueError, match="surrogate: is the model itself"):
        advlab.attack(model, *digits, "fgsm", eps=0.1, surrogate=model, **CPU)
