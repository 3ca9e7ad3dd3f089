"""Networks whose figures must not be believed, in every command that gives one."""

from __future__ import annotations

import functools
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import advlab
from advlab.cli.main import main
from advlab.data.image_set import Images
from advlab.errors import UsageError
from advlab.evaluation.checks import preflight
from advlab.experiments.attack.figures import is_right, prediction, predictions_by_class
from advlab.perturbation.goal import Goal
from advlab.perturbation.shared import gradient_of
from advlab.perturbation.victim import GradientCount, Victim

CODE = '''
import torch
from torch import nn


def plain():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))


class Rounding(nn.Module):
    """Its gradient is zero everywhere, and not missing."""

    def __init__(self):
        super().__init__()
        self.net = plain()

    def forward(self, x):
        return self.net(torch.floor(x * 8 + 0.5) / 8 + 0 * x)


class NoNumber(nn.Module):
    """NaN for images that are not the darkest."""

    def __init__(self, least=0.11):
        super().__init__()
        self.net, self.least = plain(), least

    def forward(self, x):
        z = self.net(x)
        bright = (x.mean((1, 2, 3)) > self.least)[:, None]
        return torch.where(bright, torch.full_like(z, float("nan")), z)


class Counting(nn.Module):
    """Every seventh answer is another one."""

    def __init__(self):
        super().__init__()
        self.net, self.calls = plain(), 0

    def forward(self, x):
        self.calls += 1
        return self.net(x).flip(1) if self.calls % 7 == 0 else self.net(x)


def rounding():
    return Rounding().eval()


def no_number():
    return NoNumber().eval()


def no_number_when_attacked():
    return NoNumber(0.5).eval()


def counting():
    return Counting().eval()


class Centred(nn.Module):
    """It subtracts the mean of the batch."""

    def __init__(self):
        super().__init__()
        self.net = plain()

    def forward(self, x):
        return self.net(x - x.mean(0))


def centred():
    return Centred().eval()


class Capacity(nn.Module):
    """It answers the first five images of a batch, and has no capacity for the others."""

    def __init__(self):
        super().__init__()
        self.net = plain()

    def forward(self, x):
        place = torch.arange(len(x))[:, None]
        return torch.where(place < 5, self.net(x), 9 * torch.eye(10)[0])


def capacity():
    return Capacity().eval()


def always_four():
    net = plain()
    with torch.no_grad():
        net[1].weight.zero_()
        net[1].bias.copy_(torch.eye(10)[4])
    return net.eval()


class Root(nn.Module):
    """The gradient of a root is infinite at black pixels, and NaN behind the square."""

    def __init__(self):
        super().__init__()
        self.net = plain()

    def forward(self, x):
        return self.net(torch.sqrt(x) ** 2)


class Detached(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = plain()

    @torch.no_grad()
    def forward(self, x):
        return self.net(x)


class Unused(nn.Module):
    """Its last convolution runs, and nothing depends on it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.net = nn.Conv2d(1, 1, 3, padding=1), plain()
        self.aside = nn.Conv2d(1, 2, 3)

    def forward(self, x):
        self.aside(x)
        return self.net(self.first(x))


class Noisy(Unused):
    def forward(self, x):
        return super().forward(x + 0.2 * torch.randn_like(x))


def noisy():
    return Noisy().eval()


def root():
    return Root().eval()


def detached():
    return Detached().eval()


def unused():
    return Unused().eval()


def double():
    net = plain().double()
    torch.set_default_dtype(torch.float64)
    return net
'''


def plain(classes: int = 3) -> nn.Sequential:
    """A network of 8 × 8 pixels with random weights."""
    torch.manual_seed(0)
    layers = [nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, classes)]
    return nn.Sequential(*layers).eval()


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(CODE)
    return tmp_path


def figures(line: str) -> dict[str, Any]:
    """The result of an attack on some digits."""
    words = [*line.split(), "--dataset", "digits", "--limit", "20", "--name", "x", "--overwrite"]
    assert main(words) == 0
    folder = Path("samples") / ("evaluate" if words[0] == "evaluate" else "attack")
    result: dict[str, Any] = json.loads((folder / "x" / "metrics.json").read_text())
    return result


SMALL = {
    "patch": "--steps 4 --train-size 30 --target 3",
    "stadv": "--steps 3 --search-steps 1",
    "universal": "--steps 4 --train-size 30 --eps 0.01",
    "pgd": "--steps 3 --eps 0.01",
}


@pytest.mark.parametrize("attack", SMALL)
def test_gradients_that_vanish_fail_a_check(
    attack: str, code: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = figures(f"attack {attack} {SMALL[attack]} --model nets.py:rounding")
    assert "zero gradients" in result["checks_failed"]
    assert "CHECK FAILED: zero gradients" in capsys.readouterr().out
    assert main(["list"]) == 0
    assert "NOT TO BE BELIEVED (zero gradients)" in capsys.readouterr().out


@pytest.mark.parametrize("attack", ["patch", "stadv", "spatial --angles 1 --shifts 1"])
def test_outputs_that_are_no_numbers_fail_a_check(attack: str, code: Path) -> None:
    small = SMALL.get(attack, "")
    result = figures(f"attack {attack} {small} --model nets.py:no_number")
    assert "non-finite outputs" in result["checks_failed"]


def test_a_network_that_counts_its_calls_is_named(code: Path) -> None:
    result = figures("attack pgd --steps 2 --model nets.py:counting")
    assert "changing outputs" in result["checks_failed"]
    result = figures("evaluate quick --model nets.py:counting --steps 2 --queries 5 --eps 0.1")
    assert "changing outputs" in result["checks_failed"]
    assert "random outputs" not in result["checks_failed"], "--eot would not help"


@pytest.mark.parametrize(
    "line",
    [
        "attack pgd --steps 2",
        "attack spatial --angles 1 --shifts 1",
        "evaluate corruptions --corruptions brightness --severities 1",
        "evaluate certification --samples 20 --select 5",
        "evaluate quick --steps 2 --queries 5 --eps 0.1",
    ],
)
@pytest.mark.parametrize("network", ["centred", "capacity"])
def test_a_network_that_looks_at_the_whole_batch_is_named(
    line: str, network: str, code: Path
) -> None:
    result = figures(f"{line} --model nets.py:{network}")
    assert "batch-dependent outputs" in result["checks_failed"]


class Cut(nn.Module):
    """A linear network that cuts the gradient of two of three columns, or of none."""

    def __init__(self, cut: bool) -> None:
        super().__init__()
        self.net, self.cut = nn.Sequential(nn.Flatten(), nn.Linear(36, 4)), cut

    def forward(self, x: Tensor) -> Tensor:
        known = (torch.arange(6) % 3 == 0).to(x) if self.cut else torch.ones(6)
        return self.net(x * known + x.detach() * (1 - known))  # type: ignore[no-any-return]


@pytest.mark.parametrize("cut", [False, True])
def test_pixels_whose_gradient_is_cut_off_are_found(cut: bool) -> None:
    torch.manual_seed(0)
    network, images = Cut(cut).eval(), torch.rand(20, 1, 6, 6)
    labels = network(images).argmax(1)
    found = advlab.evaluate(
        network, images, labels, suite="quick", eps=0.02, steps=2, queries=5, device="cpu"
    )
    assert ("cut gradients" in found.checks_failed) == cut
    if cut:
        assert "67 % of the pixel values have no gradient" in found.checks_failed["cut gradients"]


@pytest.mark.parametrize("count", [3, 20])
def test_pixels_that_share_the_maximum_of_a_window_are_not_cut_off(count: int) -> None:
    """Of an even border each window hands its gradient to one pixel, always the same one."""
    torch.manual_seed(0)
    layers = (nn.MaxPool2d(3), nn.Flatten(), nn.Linear(16, 4))
    network, images = nn.Sequential(*layers).eval(), torch.zeros(count, 1, 12, 12)
    images[:, :, 3:9, 3:9] = torch.rand(count, 1, 6, 6)
    labels = network(images).argmax(1)
    found = preflight(Victim(network), Images(images, labels), "linf", 0.1, 0)
    assert "cut gradients" not in found


def test_frozen_torchscript_is_attacked_as_any_other_network() -> None:
    torch.manual_seed(0)
    network, images = nn.Sequential(nn.Flatten(), nn.Linear(16, 4)).eval(), torch.rand(8, 1, 4, 4)
    labels = network(images).argmax(1)
    with warnings.catch_warnings():  # torch deprecates it, and people have such files
        warnings.simplefilter("ignore")
        frozen = torch.jit.freeze(torch.jit.trace(network, images))
    figures = [
        advlab.attack(one, images, labels, "pgd", eps=0.2, steps=3, device="cpu").robust_accuracy
        for one in (network, frozen)
    ]
    assert figures[0] == figures[1] < 1


def test_labels_of_another_order_are_doubted_by_an_attack() -> None:
    """A network that is right everywhere, and labels that are shifted by one class."""
    torch.manual_seed(0)
    network, images = nn.Sequential(nn.Flatten(), nn.Linear(16, 4)).eval(), torch.rand(60, 1, 4, 4)
    labels = network(images).argmax(1)
    shifted = advlab.attack(network, images, (labels + 1) % 4, "fgsm", eps=0.01, device="cpu")
    assert "below chance" in shifted.checks_failed
    found = advlab.attack(network, images, labels, "fgsm", eps=0.01, device="cpu")
    assert found.checks_failed == {}


def test_saliency_without_numbers_is_doubted(
    code: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "inspect saliency --dataset digits --image 3 --samples 2 --steps 2 --name x --overwrite"
    assert main(f"{line} --model nets.py:root".split()) == 0
    assert "CHECK FAILED: non-finite gradients: " in capsys.readouterr().out
    assert main(["list"]) == 0
    assert "NOT TO BE BELIEVED (non-finite gradients)" in capsys.readouterr().out
    assert main(f"{line} --model nets.py:plain".split()) == 0
    assert "CHECK FAILED" not in capsys.readouterr().out


@pytest.mark.parametrize("view", ["predict", "filters --layer first", "saliency --eps 0"])
def test_a_look_at_a_network_that_changes_is_doubted(
    view: str, code: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = "--samples 2" if "saliency" in view else ""
    line = f"inspect {view} --dataset digits --image 3 --name x {samples} --model nets.py:noisy"
    for _ in range(2):  # the second time from what is stored
        assert main(line.split()) == 0
        assert "CHECK FAILED: random outputs" in capsys.readouterr().out


def test_saliency_without_gradients_is_refused_and_unused_layers_are_passed_over(
    code: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "inspect saliency --dataset digits --image 3 --samples 2 --steps 2 --eps 0"
    assert main(f"{line} --model nets.py:detached".split()) == 2
    assert "the network has no gradient with respect to its images" in capsys.readouterr().err
    assert main(f"{line} --model nets.py:unused --name unused".split()) == 0
    result = json.loads(Path("samples/inspect/unused/metrics.json").read_text())
    assert result["layer"] == "first"
    assert main(f"{line} --model nets.py:unused --layer aside".split()) == 2
    assert "--layer: the class does not depend on this layer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("network", "check"),
    [
        ("root", "non-finite gradients"),
        ("detached", "missing gradients"),
        ("rounding", "zero gradients"),
    ],
)
def test_detection_of_a_network_without_gradients_is_doubted(
    network: str, check: str, code: Path
) -> None:
    line = "evaluate detection --attacks FGSM --steps 2 --restarts 1 --detector squeezing"
    assert check in figures(f"{line} --model nets.py:{network}")["checks_failed"]


def test_few_right_ones_may_be_chance(code: Path) -> None:
    """None of 20 images is of the class that is always predicted, which one in eight who guess
    would come to; of all test images, too few are for a guess."""
    line = "evaluate quick --steps 2 --queries 5 --eps 0.1 --model nets.py:always_four"
    result = figures(line)
    assert result["clean_accuracy"] == 0
    assert "below chance" not in result["checks_failed"]


@pytest.mark.parametrize("attack", ["ddn --norm l2", "apgd --norm l1 --eps 5", "pgd"])
def test_the_file_of_a_network_may_set_another_default_type(attack: str, code: Path) -> None:
    """The network computes in float64; whatever advlab computes is in float32 as ever."""
    result = figures(f"attack {attack} --steps 5 --model nets.py:double --precision fp32")
    assert torch.get_default_dtype() == torch.float32
    single = figures(f"attack {attack} --steps 5 --model nets.py:plain --precision fp32")
    assert result["robust_accuracy"] == pytest.approx(single["robust_accuracy"], abs=0.06)


@pytest.mark.parametrize(
    ("dtype", "device", "autocast"),
    [
        (torch.float64, "cpu", False),
        (torch.bfloat16, "cpu", False),
        (torch.float32, "meta", False),
        (torch.float32, "cpu", True),
    ],
)
def test_what_the_caller_has_set_changes_no_figure(
    dtype: torch.dtype, device: str, autocast: bool, request: pytest.FixtureRequest
) -> None:
    network, images = plain(), torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = network(images).argmax(1)

    def measured() -> list[Tensor]:
        attack = functools.partial(advlab.attack, network, images, labels, eps=0.1, device="cpu")
        return [
            attack("ddn", norm="l2").images,
            attack("apgd", norm="l1", steps=5).images,
            advlab.certify(network, images, labels, sigma=0.25, samples=50, device="cpu").radii,
        ]

    usual = measured()
    request.addfinalizer(lambda: torch.set_default_dtype(torch.float32))
    request.addfinalizer(lambda: torch.set_default_device(None))
    torch.set_default_dtype(dtype)
    torch.set_default_device(None if device == "cpu" else device)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        disturbed = measured()
    assert torch.get_default_dtype() == dtype
    for one, other in zip(usual, disturbed, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


def test_corruptions_of_a_network_without_numbers(
    code: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "evaluate corruptions --corruptions brightness translate --severities 1"
    result = figures(f"{line} --model nets.py:no_number --reference nets.py:rounding")
    assert list(result["checks_failed"]) == ["non-finite outputs"]
    assert "CHECK FAILED: non-finite outputs" in capsys.readouterr().out
    result = figures(f"{line} --model nets.py:rounding --reference nets.py:no_number")
    assert list(result["checks_failed"]) == ["non-finite outputs of the reference"]


def test_a_reference_of_other_code_is_another_run(
    code: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "evaluate corruptions --corruptions brightness --severities 1 --dataset digits --name x"
    line += " --limit 20 --model nets.py:rounding --reference other.py:plain"
    Path("other.py").write_text(CODE)
    assert main(line.split()) == 0
    other = CODE.replace("return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))", "return Flip()")
    other += """

class Flip(nn.Module):
    def __init__(self):
        super().__init__()
        self.flatten, self.linear = nn.Flatten(), nn.Linear(784, 10)

    def forward(self, x):
        return self.linear(self.flatten(x)).flip(1)
"""
    Path("other.py").write_text(other)
    assert main(line.split()) == 2
    message = capsys.readouterr().err
    assert "reference code" in message
    assert "network code" not in message


@pytest.fixture
def photo(code: Path) -> str:
    pixels = np.random.default_rng(0).integers(0, 90, (28, 28), dtype=np.uint8)
    Image.fromarray(pixels).save("photo.png")
    return "--image photo.png --dataset auto"


def photo_figures(line: str) -> dict[str, Any]:
    assert main([*line.split(), "--name", "x", "--overwrite"]) == 0
    result: dict[str, Any] = json.loads(Path("samples/attack/x/metrics.json").read_text())
    return result


def test_a_photo_of_a_network_without_gradients(
    photo: str, capsys: pytest.CaptureFixture[str]
) -> None:
    result = photo_figures(f"attack pgd --steps 3 --eps 0.01 {photo} --model nets.py:rounding")
    assert not result["points"][0]["success_before_rounding"]
    assert "zero gradients" in result["checks_failed"]
    assert "CHECK FAILED: zero gradients" in capsys.readouterr().out
    result = photo_figures(f"attack pgd --steps 3 --eps 0.01 {photo} --model nets.py:plain")
    assert result["checks_failed"] == {}


def test_a_photo_whose_attacked_version_gets_no_numbers(
    photo: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"attack noise --eps 1 {photo} --model nets.py:no_number_when_attacked"
    assert main(line.split()) == 2
    assert "answers to the attacked image are not finite" in capsys.readouterr().err


def test_a_photo_too_small_for_structural_similarity(code: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (8, 8), dtype=np.uint8)
    Image.fromarray(pixels).save("photo.png")
    Path("small.py").write_text(CODE.replace("784", "64"))
    result = photo_figures("attack fgsm --eps 0.1 --image photo.png --model small.py:plain")
    assert result["points"][0]["ssim"] is None


def test_images_that_a_clipped_loss_leaves_out_are_no_fault_of_the_network() -> None:
    """The more images a perturbation for all of them fools, the more count no longer."""
    network = plain(3)
    images = torch.rand(30, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    labels = (network(images).argmax(1) + 1) % 3  # all are fooled as they are
    victim = Victim(network)
    gradient_of(victim, images, torch.zeros(1, 1, 8, 8), Goal(labels), clip=0.01)
    assert victim.gradients == GradientCount()
    gradient_of(victim, images, torch.zeros(1, 1, 8, 8), Goal(labels), clip=1000)
    assert victim.gradients == GradientCount(total=30)


def test_successful_perturbations_for_all_images_are_believed(code: Path) -> None:
    result = figures("attack universal --steps 20 --train-size 60 --eps 0.5 --model nets.py:plain")
    assert result["checks_failed"] == {}


def replaced_forward() -> nn.Module:
    network = plain()
    own: Callable[[Tensor], Tensor] = network.forward
    setattr(network, "forward", lambda x: own(1 - x))  # noqa: B010 - as users do
    return network


def replaced_last() -> nn.Module:
    network, last = plain(), nn.Linear(16, 3)
    own = last.forward
    setattr(last, "forward", lambda x: -own(x))  # noqa: B010
    network[3] = last
    return network


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (replaced_forward, "Sequential with a forward of its own"),
        (replaced_last, "Linear with a forward of its own"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 1)), "two classes or more, not (20, 1)"),
        (
            lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ELU(-1.0), nn.Linear(8, 3)),
            "ELU with a negative alpha",
        ),
        (
            lambda: nn.Sequential(nn.BatchNorm2d(1, track_running_stats=False), *plain()),
            "BatchNorm2d with statistics of the batch",
        ),
        (
            lambda: nn.Sequential(nn.AvgPool2d(1, divisor_override=-1), *plain()),
            "AvgPool2d with a negative divisor",
        ),
    ],
)
def test_what_is_verified_is_true(make: Callable[[], nn.Module], words: str) -> None:
    images = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    labels = torch.zeros(20, dtype=torch.int64)
    with pytest.raises(UsageError) as refused:
        advlab.verify(make().eval(), images, labels, eps=0.001)
    assert words in str(refused.value)


def test_a_hook_of_all_modules_is_no_layer_with_bounds() -> None:
    images = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    labels = plain()(images).argmax(1)
    assert advlab.verify(plain(), images, labels, eps=1e-4).verified_accuracy > 0
    hook = nn.modules.module.register_module_forward_hook(lambda *_: None)
    try:
        with pytest.raises(UsageError, match="a hook of all modules"):
            advlab.verify(plain(), images, labels, eps=1e-4)
    finally:
        hook.remove()


class Answers(nn.Module):
    """The same logits for all images."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        return torch.full((len(x), 3), self.value) + 0 * x.flatten(1)[:, :3]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
def test_no_numbers_and_ties_are_no_votes(value: float) -> None:
    images, labels = torch.rand(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64)
    certified = advlab.certify(Answers(value).eval(), images, labels, sigma=0.25, samples=50)
    assert certified.accuracy == 0
    assert certified.predictions.tolist() == [-1] * 4
    assert certified.radii.tolist() == [0.0] * 4


def test_votes_are_counted_in_float32_unless_less_is_asked_for() -> None:
    """Behind an offset of 300 that is taken off again, bf16 leaves nothing of an image of digits,
    and a certificate is of the network itself."""
    first = nn.Conv2d(1, 1, 1)
    second = nn.Conv2d(1, 1, 1)
    with torch.no_grad():
        for layer, bias in ((first, 300.0), (second, -300.0)):
            layer.weight.fill_(1)
            layer.bias.fill_(bias)  # type: ignore[union-attr]
    network = nn.Sequential(first, second, *plain(10)).eval()
    images = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    labels = network(images).argmax(1)
    auto = advlab.certify(network, images, labels, sigma=0.05, samples=50)
    exact = advlab.certify(network, images, labels, sigma=0.05, samples=50, precision="fp32")
    assert torch.equal(auto.radii, exact.radii)


def test_no_class_is_drawn_or_given_where_there_is_no_number(code: Path) -> None:
    """A NaN is no prediction of class 0, in pictures, in the file of images and from Python."""
    logits = torch.tensor([[float("nan"), 0.0, 1.0], [0.0, 2.0, 1.0], [0.0, 0.0, -1.0]])
    labels = torch.tensor([0, 1, 0])
    counts, words = predictions_by_class(labels, logits, 3)
    assert counts.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert words == " · left out: 1 image whose outputs are not finite"
    assert prediction(logits[0], ["a", "b", "c"]) == "no class (not finite)"
    assert not is_right(logits[0], 0)
    assert is_right(logits[1], 1)
    assert not is_right(logits[2], 0), "a tie counts as wrong"
    images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    labels = torch.zeros(4, dtype=torch.int64)
    attacked = advlab.attack(Answers(float("nan")).eval(), images, labels, "noise", eps=0.1)
    assert attacked.predictions.tolist() == [-1] * 4


def test_a_certificate_of_a_network_that_counts_its_calls_is_void() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.calls = plain(), 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            logits: Tensor = self.net(x)
            return logits.flip(1) if self.calls % 7 == 0 else logits

    images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    labels = torch.zeros(4, dtype=torch.int64)
    certified = advlab.certify(Counting().eval(), images, labels, sigma=0.25, samples=50)
    assert list(certified.checks_failed) == ["changing outputs"]
    certified = advlab.certify(plain(), images, labels, sigma=0.25, samples=50)
    assert certified.checks_failed == {}


def test_detection_is_checked_as_attacks_are(
    code: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "evaluate detection --steps 2 --restarts 1 --model nets.py:"
    result = figures(f"{line}counting")
    assert "changing outputs" in result["checks_failed"]
    assert main([*f"{line}no_number".split(), "--dataset", "digits", "--limit", "20"]) == 2
    assert "no threshold can be set" in capsys.readouterr().err
