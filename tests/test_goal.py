"""What an attack climbs, and when it is there."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from advlab.perturbation.goal import Goal, Loss

NAN = float("nan")


@pytest.fixture
def logits() -> Tensor:
    return torch.randn(50, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3


@pytest.fixture
def classes() -> Tensor:
    return torch.randint(0, 7, (50,), generator=torch.Generator().manual_seed(1))


def test_the_loss_rises_with_cross_entropy_and_has_its_direction(
    logits: Tensor, classes: Tensor
) -> None:
    """u with cross-entropy = log(1 + exp(u)): checked by value, and by gradient up to a positive
    factor per image."""
    logits.requires_grad_(True)
    climbed = Goal(classes).loss(logits, "ce")
    entropy = functional.cross_entropy(logits, classes, reduction="none")
    assert torch.allclose(functional.softplus(climbed), entropy, rtol=1e-10)
    ours, theirs = (
        torch.autograd.grad(value.sum(), logits, retain_graph=True)[0]
        for value in (climbed, entropy)
    )
    factor = (ours * theirs).sum(1) / (theirs * theirs).sum(1)
    assert (factor > 0).all()
    assert torch.allclose(ours, factor[:, None] * theirs, rtol=1e-8, atol=1e-12)
    assert torch.equal(Goal(classes, targeted=True).loss(logits, "ce"), -climbed)


def test_the_margin_is_the_naive_one(logits: Tensor, classes: Tensor) -> None:
    for row, cls, value in zip(logits, classes, Goal(classes).loss(logits, "margin"), strict=True):
        others = [float(row[other]) for other in range(7) if other != cls]
        assert float(value) == pytest.approx(max(others) - float(row[cls]))
    assert torch.equal(
        Goal(classes, targeted=True).loss(logits, "margin"), -Goal(classes).loss(logits, "margin")
    )


@pytest.mark.parametrize("kind", ["ce", "margin"])
@pytest.mark.parametrize("sure", [10.0, 100.0, 1e4])
def test_the_gradient_does_not_vanish_however_sure_the_network_is(kind: str, sure: float) -> None:
    logits = torch.tensor([[sure, 0.0, -1.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(Goal(torch.tensor([0])).loss(logits, kind).sum(), logits)  # type: ignore[arg-type]
    assert gradient[0, 0] == pytest.approx(-1)
    assert gradient[0, 1:].sum() == pytest.approx(1)


def test_a_tie_counts_against_the_network_when_fleeing_and_against_the_attack_when_seeking() -> (
    None
):
    logits = torch.tensor(
        [[1.0, 1.0, 0.0], [2.0, 1.0, 0.0], [0.0, 1.0, 0.0], [NAN, 1.0, 0.0], [1.0, NAN, 0.0]]
    )
    zero = torch.zeros(5, dtype=torch.int64)
    assert Goal(zero).reached(logits).tolist() == [True, False, True, True, True]
    assert Goal(zero, targeted=True).reached(logits).tolist() == [False, True, False, False, False]


def test_the_climbed_cross_entropy_is_the_naive_log_odds(logits: Tensor, classes: Tensor) -> None:
    """log((1 - p) / p) with p the class's probability, in plain Python."""
    for row, cls, value in zip(
        logits.tolist(), classes.tolist(), Goal(classes).loss(logits, "ce"), strict=True
    ):
        powers = [math.exp(entry) for entry in row]
        p = powers[cls] / sum(powers)
        assert float(value) == pytest.approx(math.log((1 - p) / p), rel=1e-9)


@pytest.mark.parametrize("kind", ["ce", "margin"])
@pytest.mark.parametrize("targeted", [False, True])
def test_the_gradient_with_respect_to_the_logits_is_that_of_finite_differences(
    kind: Loss, targeted: bool, logits: Tensor, classes: Tensor
) -> None:
    goal = Goal(classes, targeted)
    (gradient,) = torch.autograd.grad(goal.loss(logits.requires_grad_(True), kind).sum(), logits)
    for entry in range(7):
        shift = torch.zeros(7, dtype=torch.float64)
        shift[entry] = 1e-6
        with torch.no_grad():
            slope = (goal.loss(logits + shift, kind) - goal.loss(logits - shift, kind)) / 2e-6
        assert torch.allclose(gradient[:, entry], slope, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("kind", ["ce", "margin"])
def test_the_margins_sign_says_who_won(kind: Loss, logits: Tensor, classes: Tensor) -> None:
    """The margin is positive exactly where the goal is reached; log-odds are only where it is
    reached by most of the mass."""
    for targeted in (False, True):
        goal = Goal(classes, targeted)
        loss, reached = goal.loss(logits, kind), goal.reached(logits)
        assert bool(reached.any())
        assert not bool(reached.all())
        if kind == "margin":
            assert torch.equal(loss > 0, reached)
        elif targeted:
            assert reached[loss > 0].all()
        else:
            assert (loss[~reached] > -math.inf).all()
            assert reached[loss > math.log(6)].all(), (
                "six rivals cannot share more than that and all stay below"
            )


def test_towards_a_class_and_away_from_it_exclude_each_other_and_only_ties_and_nan_are_neither(
    classes: Tensor,
) -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randint(-1, 2, (50, 7), generator=generator).double()  # full of ties
    logits[::5, 2] = NAN
    flees, seeks = Goal(classes).reached(logits), Goal(classes, targeted=True).reached(logits)
    assert not (flees & seeks).any()
    for row, cls, fled, sought in zip(
        logits.tolist(), classes.tolist(), flees.tolist(), seeks.tolist(), strict=True
    ):
        wins = all(
            row[cls] > other for i, other in enumerate(row) if i != cls
        )  # false wherever NaN is met
        assert sought == wins
        assert fled == (not wins)


@pytest.mark.parametrize(
    "logits",
    [[NAN, NAN, NAN], [math.inf, math.inf, 0.0], [NAN, 5.0, 0.0], [5.0, 0.0, NAN], [-math.inf] * 3],
)
def test_what_is_no_answer_is_neither_robust_nor_a_target_reached(logits: list[float]) -> None:
    row = torch.tensor([logits])
    for cls in range(3):
        if (
            logits[cls] == max(logits)
            and logits.count(logits[cls]) == 1
            and not any(math.isnan(entry) for entry in logits)
        ):
            continue
        assert Goal(torch.tensor([cls])).reached(row).item()
        assert not Goal(torch.tensor([cls]), targeted=True).reached(row).item()


def test_a_selection_keeps_the_classes_and_the_kind_of_goal(classes: Tensor) -> None:
    index = torch.tensor([4, 4, 0, 31])
    for targeted in (False, True):
        chosen = Goal(classes, targeted).select(index)
        assert chosen.targeted == targeted
        assert chosen.classes.tolist() == [int(classes[i]) for i in index]


@pytest.mark.parametrize("kind", ["ce", "margin"])
def test_two_classes_have_one_rival_and_both_losses_agree(kind: Loss) -> None:
    logits = torch.tensor([[3.0, 1.0], [0.25, 0.5]], dtype=torch.float64)
    assert Goal(torch.tensor([0, 0])).loss(logits, kind).tolist() == pytest.approx([-2.0, 0.25])
    assert Goal(torch.tensor([0, 0]), targeted=True).loss(logits, kind).tolist() == pytest.approx(
        [2.0, -0.25]
    )
