"""FGSM, PGD and Lp beside an independent implementation on the same trained network, and beside closed forms on linear ones."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from foolbox.attacks.basic_iterative_method import LinfBasicIterativeAttack
from foolbox.attacks.projected_gradient_descent import L2ProjectedGradientDescentAttack, LinfProjectedGradientDescentAttack
from foolbox.criteria import Misclassification, TargetedMisclassification
from foolbox.models.pytorch import PyTorchModel
from torch import Tensor, nn

from advlab.attacks import fgsm, lp, pgd
from advlab.config.commands import DataOptions
from advlab.datasets import _load
from advlab.metrics.classification import accuracy
from advlab.perturbation.goal import Goal
from advlab.perturbation.randomness import ImageRandom
from advlab.perturbation.victim import Victim
from advlab.training import checkpoint

Reference = type[LinfProjectedGradientDescentAttack] | type[L2ProjectedGradientDescentAttack]

PLAIN = {"step_schedule": "constant", "step_momentum": 0, "random_start": False}
"""PGD as foolbox runs it without a random start."""


@pytest.fixture(scope="module")
def trained(runs: Path) -> nn.Module:
    model, _ = checkpoint.load(runs / "train" / "small")
    return model


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    test = _load.load(DataOptions(dataset="digits")).test
    return test.inputs(slice(0, 200)), test.labels[:200]


def random_for(images: Tensor) -> ImageRandom:
    return ImageRandom(0, torch.arange(len(images)))


def right(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        return accuracy(model(images), labels)


# --- foolbox ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("targeted", [False, True])
def test_fgsm_is_foolboxs_image_by_image(trained: nn.Module, digits: tuple[Tensor, Tensor], targeted: bool) -> None:
    images, labels = digits
    classes = (labels + 3) % 10 if targeted else labels
    criterion = TargetedMisclassification(classes) if targeted else Misclassification(classes)
    network = PyTorchModel(trained, bounds=(0, 1), device="cpu")
    # foolbox's fast gradient attack knows no target; one step of its basic iterative method is the same step.
    attack = LinfBasicIterativeAttack(abs_stepsize=0.1, steps=1, random_start=False)
    theirs = attack.run(network, images, criterion, epsilon=0.1)
    ours = fgsm.perturb(Victim(trained), images, Goal(classes, targeted), random_for(images), 0.1, fgsm.Options())
    # The sign of an entry that is zero but for rounding is nobody's; there are next to none.
    different = ((ours - theirs).abs() > 1e-6).float().mean()
    assert float(different) < 1e-4
    assert abs(right(trained, ours, labels) - right(trained, theirs, labels)) <= 0.005


@pytest.mark.parametrize(
    ("norm", "eps", "attack"),
    [("linf", 0.1, LinfProjectedGradientDescentAttack), ("l2", 1.0, L2ProjectedGradientDescentAttack)],
)
def test_pgd_leaves_no_more_than_foolboxs_at_equal_steps(
    trained: nn.Module,
    digits: tuple[Tensor, Tensor],
    norm: str,
    eps: float,
    attack: Reference,
) -> None:
    images, labels = digits
    network = PyTorchModel(trained, bounds=(0, 1), device="cpu")
    theirs = attack(abs_stepsize=eps / 8, steps=20, random_start=False).run(network, images, labels, epsilon=eps)
    options = pgd.Options.model_validate({"norm": norm, "steps": 20, "step_size": eps / 8, **PLAIN})
    ours = pgd.perturb(Victim(trained), images, Goal(labels), random_for(images), eps, options)
    left = right(trained, ours, labels), right(trained, theirs, labels)
    assert 0.02 < left[1] < 0.9, "the comparison must be able to fail"
    assert left[0] <= left[1] + 0.005


def test_pgds_own_defaults_leave_no_more_than_forty_small_steps_of_foolboxs(trained: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    images, labels = digits
    network = PyTorchModel(trained, bounds=(0, 1), device="cpu")
    torch.manual_seed(0)
    attack = LinfProjectedGradientDescentAttack(abs_stepsize=0.1 / 30, steps=40, random_start=True)
    theirs = attack.run(network, images, labels, epsilon=0.1)
    ours = pgd.perturb(Victim(trained), images, Goal(labels), random_for(images), 0.1, pgd.Options())
    assert right(trained, ours, labels) <= right(trained, theirs, labels) + 0.005


def test_one_plain_step_of_pgd_is_fgsm(trained: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    images, labels = digits
    options = pgd.Options.model_validate({"steps": 1, "step_size": 0.1, **PLAIN})
    step = pgd.perturb(Victim(trained), images, Goal(labels), random_for(images), 0.1, options)
    turned = trained(images).argmax(1) == labels
    fast = fgsm.perturb(Victim(trained), images, Goal(labels), random_for(images), 0.1, fgsm.Options())
    assert torch.equal(step[turned], fast[turned])


# --- closed forms -------------------------------------------------------------------------------------------------------
WEIGHT = torch.tensor([[0.8, -0.3, 0.0, 1.5, -0.9, 0.2], [-0.4, 0.6, 0.1, -0.7, 0.3, 0.5]], dtype=torch.float64)


def linear(weight: Tensor = WEIGHT) -> nn.Module:
    """Two classes; the margin of class 0 falls along w0 - w1."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=torch.float64)
    layer.weight.data.copy_(weight)
    return nn.Sequential(nn.Flatten(), layer).eval()


def grey(count: int = 3) -> Tensor:
    """Images far from both ends of the range, so that only the ball limits."""
    return torch.full((count, 1, 2, 3), 0.5, dtype=torch.float64) + torch.arange(count).view(-1, 1, 1, 1) * 0.01


@pytest.mark.parametrize(("targeted", "cls"), [(False, 0), (False, 1), (True, 0), (True, 1)])
@pytest.mark.parametrize(("norm", "dual"), [("linf", 1.0), ("l2", 2.0)])
def test_on_a_linear_network_the_margin_moves_by_eps_times_the_dual_norm(norm: str, dual: float, targeted: bool, cls: int) -> None:
    """And no perturbation of that size can do more (Hölder); FGSM gets there in a step, PGD and Lp get there too."""
    model, images, eps = linear(), grey(), 0.05
    goal = Goal(torch.full((3,), cls), targeted)
    away = (WEIGHT[1] - WEIGHT[0]) * (1 if cls == 0 else -1) * (-1 if targeted else 1)
    best = eps * torch.linalg.vector_norm(away, ord=dual)
    random = random_for(images)
    direction = away.sign() if norm == "linf" else away / away.norm()
    expected = images + eps * direction.view(1, 1, 2, 3)
    results = {
        "fgsm": fgsm.perturb(Victim(model), images, goal, random, eps, fgsm.Options.model_validate({"norm": norm})),
        "pgd": pgd.perturb(Victim(model), images, goal, random, eps, pgd.Options.model_validate({"norm": norm, "steps": 60})),
        "lp": lp.perturb(Victim(model), images, goal, random, eps, lp.Options(p=math.inf if norm == "linf" else 2)),
    }
    with torch.no_grad():
        already = goal.reached(model(images))
        for name, perturbed in results.items():
            gain = ((perturbed - images).flatten(1) * away).sum(1)
            if name != "fgsm":  # these leave what is at the goal as it is
                perturbed, gain = perturbed[~already], gain[~already]
            if bool(goal.select(torch.arange(3) if name == "fgsm" else (~already).nonzero().squeeze(1)).reached(model(perturbed)).any()):
                continue  # gone as soon as it got there, maybe short of the end
            assert torch.allclose(gain, best.expand_as(gain), rtol=1e-3), name
            wanted = expected if name == "fgsm" else expected[~already]
            entries = (away != 0).view(1, 1, 2, 3).expand_as(wanted)
            assert torch.allclose(perturbed[entries], wanted[entries], rtol=0, atol=5e-4), name
    assert torch.allclose(((results["fgsm"] - images).flatten(1) * away).sum(1), best.expand(3), rtol=1e-9)


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 3.0, 10.0, math.inf])
def test_lp_finds_the_best_point_of_any_balls_surface(p: float) -> None:
    """For 1 < p < ∞ it is r_i ~ sign(a_i) |a_i|^(1/(p-1)), and the gain eps · ‖a‖_q."""
    model, images, eps = linear(5 * WEIGHT), grey(1), 0.02
    goal = Goal(torch.tensor([0]))
    with torch.no_grad():
        assert not goal.reached(model(images)).any()
    perturbed = lp.perturb(Victim(model), images, goal, random_for(images), eps, lp.Options(p=p, steps=200, sparsity=0.01))
    r = (perturbed - images).flatten()
    away = WEIGHT[1] - WEIGHT[0]
    dual = math.inf if p == 1 else 1.0 if p == math.inf else p / (p - 1)
    assert float(torch.linalg.vector_norm(r, ord=p)) == pytest.approx(eps, rel=1e-6)
    assert float((r * away).sum()) == pytest.approx(eps * float(torch.linalg.vector_norm(away, ord=dual)), rel=1e-3)


def test_l1_moves_the_steepest_pixels_to_the_end_of_their_range() -> None:
    model, images = linear(), grey(1)
    away = WEIGHT[1] - WEIGHT[0]  # largest at pixel 3 (-2.2), then 0 and 4 (±1.2)
    perturbed = fgsm.perturb(Victim(model), images, Goal(torch.tensor([0])), random_for(images), 0.7, fgsm.Options(norm="l1"))
    r = (perturbed - images).flatten()
    assert r[3] == pytest.approx(-0.5)
    assert float(r.abs().sum()) == pytest.approx(0.7)
    assert set(r.nonzero().flatten().tolist()) <= {0, 3, 4}
    assert float((r * away).sum()) == pytest.approx(0.5 * 2.2 + 0.2 * 1.2)


@pytest.mark.parametrize("targeted", [False, True])
def test_with_many_classes_the_gradient_is_that_of_finite_differences(targeted: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4)).double().eval()
    images, goal = grey(3), Goal(torch.tensor([0, 1, 3]), targeted)
    for kind in ("ce", "margin"):
        gradient, logits = Victim(model).gradient(images, goal, kind)
        assert torch.allclose(logits, model(images), rtol=0, atol=1e-12)
        for pixel in range(6):
            shift = torch.zeros_like(images).flatten(1)
            shift[:, pixel] = 1e-6
            up, down = (goal.loss(model(images + sign * shift.view_as(images)), kind) for sign in (1, -1))
            assert torch.allclose(gradient.flatten(1)[:, pixel], (up - down) / 2e-6, rtol=1e-5, atol=1e-8)
