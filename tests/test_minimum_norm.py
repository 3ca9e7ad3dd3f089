"""DeepFool, DDN, FMN, C&W, EAD and Brendel-Bethge beside closed forms and foolbox's
implementations."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from foolbox.attacks import brendel_bethge
from foolbox.attacks.base import MinimizationAttack
from foolbox.attacks.carlini_wagner import L2CarliniWagnerAttack
from foolbox.attacks.ddn import DDNAttack
from foolbox.attacks.deepfool import L2DeepFoolAttack, LinfDeepFoolAttack
from foolbox.attacks.ead import EADAttack
from foolbox.attacks.fast_minimum_norm import L1FMNAttack, LInfFMNAttack
from foolbox.criteria import Misclassification, TargetedMisclassification
from foolbox.models.pytorch import PyTorchModel
from scipy.optimize import minimize
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from advlab.components import load_component
from advlab.config.options.run import DataOptions
from advlab.data import load_images
from advlab.metrics.classification import is_correct
from advlab.networks import checkpoint
from advlab.perturbation.geometry import DUAL, P, norm
from advlab.perturbation.goal import Goal
from advlab.perturbation.randomness import ImageRandom
from advlab.perturbation.trust_region import step_along_boundary
from advlab.perturbation.victim import Victim

ROOM = 1e3
"""An eps that no perturbation of these images reaches."""
BUDGETS: dict[str, dict[str, Any]] = {
    "bb": {"steps": 40},
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
ALONG_THE_BOUNDARY = [("bb", "linf"), ("bb", "l2"), ("bb", "l1")]
each = pytest.mark.parametrize(
    ("name", "which"),
    [*WAYS, *ALONG_THE_BOUNDARY],
    ids=["-".join(way) for way in [*WAYS, *ALONG_THE_BOUNDARY]],
)


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


EXCESS = {"bb": 0.015, "deepfool": 0.022, "ddn": 0.01, "fmn": 0.01, "cw": 0.01, "ead": 0.1}
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


@pytest.mark.parametrize(("name", "which"), WAYS, ids=["-".join(way) for way in WAYS])
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


class _InterpretedL2(brendel_bethge.L2BrendelBethgeAttack):
    """foolbox's attack asks numba whether its optimiser is compiled, and then makes it."""

    def instantiate_optimizer(self) -> Any:
        return brendel_bethge.L2Optimizer()  # type: ignore[no-untyped-call]


class _InterpretedL0(brendel_bethge.L0BrendelBethgeAttack):
    def instantiate_optimizer(self) -> Any:
        return brendel_bethge.L0Optimizer()  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module")
def tiny() -> tuple[nn.Module, Tensor, Tensor]:
    """A network on the digits in their own 8 × 8 pixels, and twelve that it has right. Without
    numba foolbox's solver is slow."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    labels = torch.tensor(digits.target)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        functional.cross_entropy(model(images[:1000]), labels[:1000]).backward()
        optimizer.step()
    model.eval()
    right = 1000 + is_correct(model(images[1000:]), labels[1000:]).nonzero().squeeze(1)[:12]
    return model, images[right], labels[right]


# of foolbox: exactly on the boundary, and arrays that cannot be written to
@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore:The given NumPy array")
@pytest.mark.parametrize(
    ("which", "theirs", "count", "steps"),
    [
        ("l2", _InterpretedL2, 12, 40),
        ("linf", brendel_bethge.LinfinityBrendelBethgeAttack, 4, 30),
        ("l0", _InterpretedL0, 6, 30),
    ],
)
def test_brendel_bethge_is_as_near_as_foolboxs_from_the_same_points(
    which: str,
    theirs: Any,
    count: int,
    steps: int,
    tiny: tuple[nn.Module, Tensor, Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In as many steps, with the same trust region."""
    monkeypatch.setattr(brendel_bethge, "NUMBA_IMPORT_ERROR", None)
    monkeypatch.setattr(brendel_bethge, "numba", SimpleNamespace(__version__="0"), raising=False)
    model, images, labels = tiny[0], tiny[1][:count], tiny[2][:count]
    start = attack("bb", which, model, images, Goal(labels), steps=1, trust_region=1e-9)
    region = float(norm(start - images, 2).mean())
    reference = theirs(steps=steps, lr=region / images.numel()).run(
        PyTorchModel(model, bounds=(0, 1), device="cpu"),
        images,
        Misclassification(labels),
        starting_points=start,
    )
    ours = attack("bb", which, model, images, Goal(labels), steps=steps)
    assert not is_correct(model(ours), labels).any()
    far, wanted = (norm(found - images, P[which]) for found in (ours, reference))
    assert (far <= norm(start - images, P[which])).all()
    assert float((far / wanted).median()) <= 1.002
    assert float(far.median()) <= float(wanted.median()) * 1.002


@pytest.mark.parametrize("p", [2.0, math.inf, 1.0])
def test_a_step_along_the_boundary_is_the_best_of_plane_region_and_box(p: float) -> None:
    """Beside scipy's general solver, which knows nothing of the form of the solution."""
    generator = torch.Generator().manual_seed(1)
    images, x, normal = (
        torch.rand(8, 1, 2, 4, generator=generator, dtype=torch.float64) for _ in range(3)
    )
    x[:4], normal = x[:4].round(), normal - 0.5
    gain = 0.03 * torch.randn(8, generator=generator, dtype=torch.float64)
    radius = 0.2 + 0.4 * torch.rand(8, generator=generator, dtype=torch.float64)
    gain[-1] = 50.0  # which the region does not reach
    step = step_along_boundary(images, x, normal, gain, radius, p)
    assert (norm(step, 2) <= radius * (1 + 1e-12)).all()
    assert (x + step).clamp(0, 1).allclose(x + step, rtol=0, atol=1e-12)
    assert torch.allclose((normal * step).flatten(1).sum(1)[:-1], gain[:-1], rtol=1e-4)
    problems = zip(images, x, normal, gain.tolist(), radius.tolist(), step, strict=True)
    solved = 0
    for image, here, slope, wanted, limit, ours in list(problems)[:-1]:
        arrays = [one.flatten().numpy() for one in (image, here, slope)]
        best = _distance_by_scipy(*arrays, gain=wanted, radius=limit, p=p)
        if best is not None:
            distance = float(norm((here + ours - image)[None], p))
            assert distance == pytest.approx(best, abs=2e-3)
            solved += 1
    assert solved >= 5
    corner = torch.where(normal[-1] > 0, 1 - x[-1], -x[-1])
    clipped = minimize(
        lambda v: -(normal[-1].flatten().numpy() @ v),
        np.zeros(8),
        bounds=[(min(0.0, c), max(0.0, c)) for c in corner.flatten().tolist()],
        constraints=[{"type": "ineq", "fun": lambda v: float(radius[-1]) ** 2 - v @ v}],
        method="SLSQP",
    )
    assert float((normal[-1] * step[-1]).sum()) == pytest.approx(-clipped.fun, rel=1e-3)


def _distance_by_scipy(
    image: Any, x: Any, normal: Any, *, gain: float, radius: float, p: float
) -> float | None:
    """The distance to the image after the best step; None where the solver gives up.

    In L1 and L∞ the distance is made linear by bounds of what remains of each entry.
    """
    size, way = len(x), image - x
    bounds = {2.0: 0, 1.0: size, math.inf: 1}[p]
    constraints = [
        {"type": "ineq", "fun": lambda v: radius**2 - v[:size] @ v[:size]},
        {"type": "eq", "fun": lambda v: normal @ v[:size] - gain},
    ]
    if bounds:
        constraints += [
            {"type": "ineq", "fun": lambda v: v[size:] - (way - v[:size])},
            {"type": "ineq", "fun": lambda v: v[size:] + (way - v[:size])},
        ]
    found = minimize(
        lambda v: v[size:].sum() if bounds else ((way - v) ** 2).sum(),
        np.concatenate([np.zeros(size), np.ones(bounds)]),
        bounds=[*zip(-x, 1 - x, strict=True), *[(0.0, 2.0)] * bounds],
        constraints=constraints,
        method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-13},
    )
    if not found.success:
        return None
    return float(found.fun if bounds else found.fun**0.5)


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
