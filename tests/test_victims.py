"""Verdicts on networks that have fooled evaluations: near the truth, or a check fails."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import advlab
from advlab.evaluation.checks import Outcome, postflight, preflight, vanished_gradients
from advlab.perturbation.goal import Goal
from advlab.perturbation.victim import GradientCount, Victim
from benchmarks import victims
from benchmarks.victims import Case

EPS = 0.1
CLOSE = 0.06
"""By how much a verdict of the quick suite may exceed the accuracy under the adaptive attack."""

FAILING = {
    "none": set(),
    "staircase input": {"zero gradients"},
    "input through bytes": {"missing gradients"},
    "x + 0.02 sin(500 x)": {"misleading gradients"},
    "logits × 100,000": set(),
    "10 · softmax": set(),
    "distillation": set(),
    "k-winners-take-all": {"smoothed gradients beat gradients"},
    "noise layer": {"random outputs"},
    "noise layer, --eot 20": set(),
    "thermometer encoding": {"missing gradients"},
}
"""By network, the checks that must fail."""

FOOLS_PGD = [
    "staircase input",
    "input through bytes",
    "x + 0.02 sin(500 x)",
    "logits × 100,000",
    "distillation",
    "thermometer encoding",
]
"""Networks that look robust under a textbook PGD."""


@pytest.fixture(scope="module")
def images() -> tuple[Tensor, Tensor]:
    return advlab.load_dataset("digits").test.tensors(50)


@pytest.fixture(scope="module")
def cases() -> dict[str, Case]:
    found = victims.cases(*advlab.load_dataset("digits").train.tensors())
    assert {case.name for case in found} == set(FAILING)
    return {case.name: case for case in found}


@pytest.mark.parametrize("name", FAILING)
def test_the_verdict_is_true_or_a_check_fails(
    name: str, cases: dict[str, Case], images: tuple[Tensor, Tensor]
) -> None:
    case = cases[name]
    if case.eot is not None:  # each gradient costs as many passes
        images = images[0][:15], images[1][:15]
    elif name != "k-winners-take-all":  # whose check compares how many images two attacks break
        images = images[0][:30], images[1][:30]
    verdict = victims.verdict(case, *images, EPS, "quick")
    assert verdict.clean_accuracy > 0.9
    assert set(verdict.checks_failed) >= FAILING[name]
    reached = victims.adaptive(case, *images, EPS, steps=10 if case.random else 40)
    assert verdict.checks_failed or verdict.robust_accuracy <= reached + CLOSE
    if name in FOOLS_PGD:
        assert victims.textbook_pgd(case, *images, EPS) > reached + 0.2


def test_the_adaptive_attack_judges_the_network_itself(
    cases: dict[str, Case], images: tuple[Tensor, Tensor]
) -> None:
    """What it differentiates predicts the same classes, but for the random network."""
    for case in cases.values():
        if not case.random:
            with torch.no_grad():
                assert torch.equal(
                    case.network(images[0]).argmax(1), case.adaptive(images[0]).argmax(1)
                ), case.name


class Waves(nn.Module):
    """x + amplitude · sin(frequency · x)."""

    def __init__(self, amplitude: float, frequency: float) -> None:
        super().__init__()
        self.amplitude, self.frequency = amplitude, frequency

    def forward(self, x: Tensor) -> Tensor:
        return x + self.amplitude * torch.sin(self.frequency * x)


@pytest.mark.parametrize(
    ("slope", "frequency", "fails"),
    [(0.0, 500, False), (0.2, 500, False), (5, 500, True), (10, 1000, True), (20, 5000, True)],
)
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.1), ("l2", 1.0)])
def test_waves_on_the_input_are_noticed_where_they_turn_the_gradient_round(
    slope: float,
    frequency: float,
    fails: bool,
    norm: str,
    eps: float,
    cases: dict[str, Case],
    images: tuple[Tensor, Tensor],
) -> None:
    network = nn.Sequential(Waves(slope / frequency, frequency), cases["none"].network).eval()
    test = advlab.load_dataset("digits").test.select(torch.arange(50))
    failed = preflight(Victim(network), test, norm, eps, 0)
    assert ("misleading gradients" in failed) == fails


def test_a_gradient_that_holds_within_eps_does_not_mislead(
    cases: dict[str, Case], images: tuple[Tensor, Tensor]
) -> None:
    """The wave of three grey levels is not felt within a fifth of one."""
    test = advlab.load_dataset("digits").test.select(torch.arange(50))
    failed = preflight(Victim(cases["x + 0.02 sin(500 x)"].network), test, "linf", 0.0008, 0)
    assert "misleading gradients" not in failed


class Terraces(nn.Module):
    """x, but around the two grey levels of the data in terraces, which fall in every other column
    where the slope at the data rises: the gradient is that of x at the data themselves and far from
    them, and zero elsewhere."""

    def forward(self, x: Tensor) -> Tensor:
        data = torch.where(x.detach() < 0.5, 0.25, 0.75)
        away = x - data
        terrace = (away / 0.04).round().detach() * 0.04 * (1 - 2 * (torch.arange(8) % 2))
        return torch.where((away.abs() < 0.015) | (away.abs() > 0.12), x, data + terrace)


def two_levels(classes: int = 5) -> tuple[Tensor, Tensor, nn.Module]:
    """Images of two grey levels, their classes, and a linear network that tells them apart."""
    random = torch.Generator().manual_seed(0)
    means = torch.rand(classes, 1, 8, 8, generator=random) < 0.5
    labels = torch.arange(60) % classes
    flipped = torch.rand(60, 1, 8, 8, generator=random) < 0.25
    images = torch.where(means[labels] ^ flipped, 0.75, 0.25)
    layer = nn.Linear(64, classes)
    with torch.no_grad():
        layer.weight.copy_((2.0 * means - 1).flatten(1))
        layer.bias.copy_(-layer.weight.sum(1) / 2)
    return images, labels, nn.Sequential(nn.Flatten(), layer).eval()


def test_a_gradient_that_vanishes_away_from_the_data_only_is_noticed() -> None:
    """The checks before the attacks see nothing, and of the gradients that attacks met on their way
    most are zero."""
    images, labels, plain = two_levels()
    hidden = nn.Sequential(Terraces(), plain).eval()
    settings: dict[str, Any] = {"eps": 0.1, "suite": "quick", "steps": 5, "queries": 5}
    sound = advlab.evaluate(plain, images, labels, **settings)
    assert sound.checks_failed == {}
    assert 0.05 < sound.robust_accuracy < sound.clean_accuracy - 0.2
    found = advlab.evaluate(hidden, images, labels, **settings)
    assert found.robust_accuracy > sound.robust_accuracy + 0.1, "the gradient must be hidden"
    assert list(found.checks_failed) == ["zero gradients"]
    share = re.search(r"(\d+) % of the", found.checks_failed["zero gradients"])
    assert share
    assert int(share[1]) > 50


def test_gradients_of_zero_do_not_matter_where_every_image_is_broken() -> None:
    count = GradientCount(total=1000, missing=100, zero=300)
    assert "40 % of the 1,000" in vanished_gradients(count, 5, 100)["zero gradients"]
    assert vanished_gradients(count, 1, 100) == {}
    assert vanished_gradients(GradientCount(total=1000, zero=100), 50, 100) == {}
    assert vanished_gradients(GradientCount(), 50, 100) == {}


def test_a_smoothed_gradient_is_that_of_the_neighbours_at_the_loss_of_the_image() -> None:
    """Against finite differences in float64: the loss is linearised at the image's own logits."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(9, 7), nn.Tanh(), nn.Linear(7, 4)).double()
    images, labels = torch.rand(3, 1, 3, 3).double(), torch.tensor([0, 1, 3])
    shifts, drawn = [0.3, -0.2], [0]

    def nearby(x: Tensor) -> Tensor:
        drawn[0] += 1
        return x + shifts[drawn[0] % 2]

    victim, goal = Victim(network.eval()), Goal(labels)
    with victim.smoothed(2, nearby):
        gradient, logits = victim.gradient(images, goal, "ce")
    assert torch.equal(logits, victim.logits(images))
    leaf = logits.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(goal.loss(leaf, "ce").sum(), leaf)
    step = 1e-6
    for pixel in range(9):
        moved = torch.zeros(1, 1, 3, 3).double()
        moved[0, 0, pixel // 3, pixel % 3] = step
        rises = [
            (slope * (victim.logits(images + s + moved) - victim.logits(images + s - moved))).sum(1)
            for s in shifts
        ]
        expected = torch.stack(rises).mean(0) / (2 * step)
        assert torch.allclose(gradient[:, 0, pixel // 3, pixel % 3], expected, atol=1e-8)
    plain, _ = victim.gradient(images, goal, "ce")
    assert not torch.allclose(plain, gradient, atol=1e-3), "smoothing ends with its block"


def test_smoothed_gradients_are_doubted_where_they_break_what_the_others_left() -> None:
    before, smoothed = Outcome("PGD", "white", 100, 50), "smoothed gradients beat gradients"
    found = postflight([before, Outcome("PGD-smoothed", "white", 50, 8, smoothed=True)], 100)
    assert "broke 8 of the 50" in found[smoothed]
    for broken in (0, 1, 2):
        outcome = Outcome("PGD-smoothed", "white", 50, broken, smoothed=True)
        assert postflight([before, outcome], 100) == {}
