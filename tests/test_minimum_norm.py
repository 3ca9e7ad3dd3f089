"""DeepFool, DDN, FMN, C&W and EAD beside closed forms and foolbox's implementations."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from foolbox.attacks.base import MinimizationAttack
from foolbox.attacks.carlini_wagner import L2CarliniWagnerAttack
from foolbox.attacks.ddn import DDNAttack
from foolbox.attacks.deepfool import L2DeepFoolAttack, LinfDeepFoolAttack
from foolbox.attacks.ead import EADAttack
from foolbox.attacks.fast_minimum_norm import L1FMNAttack, LInfFMNAttack
from foolbox.criteria import Misclassification, TargetedMisclassification
from foolbox.models.pytorch import PyTorchModel
from torch import Tensor, nn

from advlab.components import load_component
from advlab.config.options.run import DataOptions
from advlab.data import load_images
from advlab.metrics.classification import is_correct
from advlab.networks import checkpoint
from advlab.perturbation.geometry import DUAL, P, norm
from advlab.perturbation.goal import Goal
from advlab.perturbation.randomness import ImageRandom
from advlab.perturbation.victim import Victim

ROOM = 1e3
"""An eps that no perturbation of these images reaches."""
BUDGETS: dict[str, dict[str, Any]] = {
    "cw": {"steps": 60, "lr": 0.05, "search_steps": 6},
    "ddn": {"steps": 60},
    "deepfool": {"steps": 50},
    "ead": {"steps": 30, "search_steps": 5},
    "fmn": {"steps": 60},
}
WAYS = [
    ("deepfool", "linf"),
    ("deepfool", "l2"),
    ("ddn", "l2"),
    ("fmn", "linf"),
    ("fmn", "l2"),
    ("fmn", "l1"),
    ("cw", "l2"),
    ("ead", "l1"),
]
each = pytest.mark.parametrize(("name", "which"), WAYS, ids=["-".join(way) for way in WAYS])


def attack(
    name: str,
    which: str,
    model: nn.Module,
    images: Tensor,
    goal: Goal,
    eps: float = ROOM,
    **settings: Any,
) -> Tensor:
    component = load_component("advlab.attacks", name, "attack")
    options = component.Options.model_validate({"norm": which, **BUDGETS[name], **settings})
    random = ImageRandom(0, torch.arange(len(images)))
    found: Tensor = component.perturb(Victim(model), images, goal, random, eps, options)
    return found


# --- closed forms ---------------------------------------------------------------------------------
FAR = {"linf": 0.1, "l2": 0.8, "l1": 0.25}


def linear(classes: int, which: str) -> tuple[nn.Module, Tensor]:
    """A linear network and images that are about ``FAR`` from its boundaries, and so far from black
    and white that the box does not bind."""
    torch.manual_seed(2)
    images = 0.45 + 0.1 * torch.rand(20, 1, 6, 6, dtype=torch.float64)
    layer = nn.Linear(36, classes, dtype=torch.float64)
    with torch.no_grad():
        layer.bias.sub_(layer(images.flatten(1)).mean(0))
        between = layer.weight[:1] - layer.weight[1:]
        layer.bias[0] += FAR[which] * norm(between, DUAL[which]).mean()
    return nn.Sequential(nn.Flatten(), layer).eval(), images


def distances(model: nn.Module, images: Tensor, classes: Tensor, which: str) -> Tensor:
    """The distance of each image to the nearest plane between its class and another one, (N,)."""
    weight, logits = model[1].weight.detach(), model(images).detach()  # type: ignore[index]
    gaps = logits.gather(1, classes[:, None]) - logits
    steepness = norm((weight[classes][:, None] - weight[None]).flatten(0, 1), DUAL[which])
    exact = gaps / steepness.view_as(gaps)
    nearest: Tensor = exact.scatter(1, classes[:, None], math.inf).amin(1)
    return nearest


EXCESS = {"deepfool": 0.022, "ddn": 0.01, "fmn": 0.01, "cw": 0.01, "ead": 0.1}
"""How much farther than the nearest plane a success may lie; DeepFool goes 2 % and 10^-4 beyond
it, and the sum that EAD minimises has the L2 norm in it."""


@each
@pytest.mark.parametrize("classes", [2, 6])
def test_on_a_linear_network_the_distance_is_the_margin_over_the_dual_norm(
    name: str, which: str, classes: int
) -> None:
    model, images = linear(classes, which)
    labels = model(images).argmax(1)
    exact = distances(model, images, labels, which)
    assert which == "l2" or exact.max() < 0.45, "the box must not bind"
    goals = [Goal(labels), Goal(1 - labels, targeted=True)] if classes == 2 else [Goal(labels)]
    more = {"steps": 100, "search_steps": 8} if name in ("cw", "ead") and classes == 2 else {}
    for goal in goals:
        found = attack(name, which, model, images, goal, **more)
        assert goal.reached(model(found)).all()
        distance = norm(found - images, P[which])
        assert (distance >= exact * (1 - 1e-9)).all()
        # With several planes only DeepFool looks at all; the others follow the slope of one.
        if classes == 2 or name == "deepfool":
            assert float((distance / exact - 1).max()) <= EXCESS[name]


@each
def test_an_image_counts_where_its_success_is_within_eps_and_is_left_alone_elsewhere(
    name: str, which: str
) -> None:
    model, images = linear(6, which)
    goal = Goal(model(images).argmax(1))
    few = {"steps": 20} if name != "cw" else {"steps": 20, "lr": 0.1}
    nearest = attack(name, which, model, images, goal, **few)
    distance = norm(nearest - images, P[which])
    eps = float(distance.median())
    found = attack(name, which, model, images, goal, eps, **few)
    near = distance <= eps
    assert 0 < int(near.sum()) < len(images)
    assert torch.equal(found[near], nearest[near])
    assert torch.equal(found[~near], images[~near])


# --- on a network that has learnt something -------------------------------------------------------
@pytest.fixture(scope="module")
def trained(runs: Path) -> nn.Module:
    model, _ = checkpoint.load(runs / "train" / "other")
    return model


@pytest.fixture(scope="module")
def digits(trained: nn.Module) -> tuple[Tensor, Tensor]:
    """Twenty-four images that the network has right."""
    test = load_images.load(DataOptions(dataset="digits")).test
    images, labels = test.inputs(slice(0, 40)), test.labels[:40]
    right = is_correct(Victim(trained).logits(images), labels)
    return images[right][:24], labels[right][:24]


FOOLBOX: dict[tuple[str, str], MinimizationAttack] = {
    ("deepfool", "linf"): LinfDeepFoolAttack(steps=50),
    ("deepfool", "l2"): L2DeepFoolAttack(steps=50),
    ("ddn", "l2"): DDNAttack(steps=60),
    ("fmn", "linf"): LInfFMNAttack(steps=60),
    # foolbox's FMN in L2 leaves out the projection and lies far behind. DDN takes its place:
    # another loss, which now and then leads to another class.
    ("fmn", "l2"): DDNAttack(steps=60),
    ("fmn", "l1"): L1FMNAttack(steps=60),
    ("cw", "l2"): L2CarliniWagnerAttack(
        steps=60, stepsize=0.05, binary_search_steps=6, abort_early=False
    ),
    ("ead", "l1"): EADAttack(
        steps=30, binary_search_steps=5, decision_rule="L1", abort_early=False
    ),
}
TOLERANCE = {"deepfool": 1.0, "ddn": 1.005, "fmn": 1.005, "cw": 1.005, "ead": 1.005}
"""How much farther than foolbox's the success may lie for the median image. All but DeepFool
oscillate about the boundary, and a last bit decides on which side of it they end."""


def on_rough_ground(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Images with noise, those that the network has right.

    On a black ground all entries that a maximum is pooled from are equal, and the last bits decide
    which of them the gradient goes through. The long descents of C&W end elsewhere for it.
    """
    noise = torch.rand(images.shape, generator=torch.Generator().manual_seed(0)) - 0.5
    rough = 0.2 + 0.65 * images + 0.2 * noise
    right = is_correct(Victim(model).logits(rough), labels)
    return rough[right], labels[right]


@each
@pytest.mark.parametrize("targeted", [False, True])
def test_as_near_as_foolbox_at_equal_steps(
    name: str, which: str, targeted: bool, trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    """Their success rate, and the distance, that of an image without success being infinite."""
    if name == "deepfool" and targeted:
        pytest.skip("foolbox's DeepFool has no target")
    images, labels = digits
    if name in ("cw", "ead"):
        some = 10 if name == "cw" else 5
        images, labels = on_rough_ground(trained, images[:some], labels[:some])
    goal = Goal((labels + 4) % 10, targeted=True) if targeted else Goal(labels)
    criterion = TargetedMisclassification(goal.classes) if targeted else Misclassification(labels)
    theirs = FOOLBOX[name, which].run(
        PyTorchModel(trained, bounds=(0, 1), device="cpu"), images, criterion
    )
    ours = attack(name, which, trained, images, goal)

    def distance(found: Tensor) -> Tensor:
        # foolbox returns black images where it has found nothing.
        reached = goal.reached(Victim(trained).logits(found)) & (found.flatten(1).amax(1) > 0)
        return norm(found - images, P[which]).where(reached, math.inf)

    far, reference = distance(ours), distance(theirs)
    assert far.isfinite().sum() >= reference.isfinite().sum() - 1
    # Image by image, as the median of few images lies where one of them happens to end.
    ratio = (far / reference).where(reference.isfinite(), 0).nan_to_num(posinf=math.inf)
    assert float(ratio.median()) <= (1.05 if (name, which) == ("fmn", "l2") else TOLERANCE[name])


def test_a_margin_is_kept_and_costs_distance(
    trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    images, labels = digits[0][:10], digits[1][:10]
    distance = {}
    for margin in (0.0, 5.0):
        settings = {"margin": margin, "lr": 0.1, "search_steps": 5}
        found = attack("cw", "l2", trained, images, Goal(labels), **settings)
        lead = Goal(labels).loss(Victim(trained).logits(found), "margin")
        assert (lead > 0).all() if margin == 0 else (lead >= margin).all()
        distance[margin] = norm(found - images, 2)
    assert (distance[5.0] > distance[0.0]).all()


def test_deepfool_takes_the_nearest_of_the_boundaries(
    trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    """Heading for the likeliest other class alone ends farther away on the average."""
    images, labels = digits
    one, all_others = (
        norm(attack("deepfool", "l2", trained, images, Goal(labels), **more) - images, 2)
        for more in ({"target_classes": 1}, {})
    )
    assert float(all_others.mean()) < float(one.mean())


def test_a_larger_overshoot_goes_farther(trained: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    images, labels = digits
    near, far = (
        norm(attack("deepfool", "l2", trained, images, Goal(labels), overshoot=o) - images, 2)
        for o in (0.02, 0.5)
    )
    assert float(far.median()) > 1.1 * float(near.median())


@pytest.mark.parametrize(("name", "which"), [way for way in WAYS if way[0] not in ("cw", "ead")])
def test_whole_bytes_still_fool_and_cost_little(
    name: str, which: str, trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    images, labels = (digits[0] * 255).round() / 255, digits[1]
    goal = Goal(labels)
    free, whole = (
        attack(name, which, trained, images, goal, quantize=quantize) for quantize in (False, True)
    )
    assert torch.equal(whole, (whole * 255).round() / 255)
    fell = goal.reached(Victim(trained).logits(whole))
    assert int(fell.sum()) >= len(images) - 1
    mean = [float(norm(found - images, P[which])[fell].mean()) for found in (free, whole)]
    assert mean[1] <= 1.1 * mean[0]
