"""FGSM, PGD and Lp beside an independent implementation on the same trained network, and beside
closed forms on linear ones."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
import torchattacks
from foolbox.attacks.base import FixedEpsilonAttack
from foolbox.attacks.basic_iterative_method import LinfBasicIterativeAttack
from foolbox.attacks.fast_gradient_method import (
    L1FastGradientAttack,
    L2FastGradientAttack,
    LinfFastGradientAttack,
)
from foolbox.attacks.mi_fgsm import LinfMomentumIterativeFastGradientMethod
from foolbox.attacks.projected_gradient_descent import (
    L2ProjectedGradientDescentAttack,
    LinfProjectedGradientDescentAttack,
)
from foolbox.attacks.sparse_l1_descent_attack import SparseL1DescentAttack
from foolbox.criteria import Misclassification, TargetedMisclassification
from foolbox.models.pytorch import PyTorchModel
from torch import Tensor, nn

from advlab.attacks import fgsm, lp, mifgsm, pgd
from advlab.config.options.run import DataOptions
from advlab.data import load_images
from advlab.metrics.classification import accuracy
from advlab.networks import checkpoint
from advlab.perturbation.goal import Goal
from advlab.perturbation.randomness import ImageRandom
from advlab.perturbation.victim import Victim

Reference = type[LinfProjectedGradientDescentAttack] | type[L2ProjectedGradientDescentAttack]

PLAIN = {"step_schedule": "constant", "step_momentum": 0, "random_start": False}
"""PGD as foolbox runs it without a random start."""


@pytest.fixture(scope="module")
def trained(runs: Path) -> nn.Module:
    model, _ = checkpoint.load(runs / "train" / "small")
    return model


@pytest.fixture(scope="module")
def quicker(runs: Path) -> nn.Module:
    """A network without convolutions, which answers several times as fast as ``trained``."""
    model, _ = checkpoint.load(runs / "train" / "other")
    return model


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    test = load_images.load(DataOptions(dataset="digits")).test
    return test.inputs(slice(0, 200)), test.labels[:200]


@pytest.fixture(scope="module")
def rough(digits: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The digits on a rough ground, from which every sign of a gradient is a matter of fact.

    On a black ground all entries that a maximum is pooled from are equal, and which of them the
    gradient goes through is decided by their last bits, hence by the order in which the processor
    adds. With an L∞ radius of 0.1 the ground stays off the end of the range, where it would be even
    again; strokes reach the other end here and there.
    """
    images, labels = digits
    noise = torch.rand(images.shape, generator=torch.Generator().manual_seed(0)) - 0.5
    return 0.2 + 0.65 * images + 0.2 * noise, labels


def random_for(images: Tensor) -> ImageRandom:
    return ImageRandom(0, torch.arange(len(images)))


def right(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        return accuracy(model(images), labels)


# --- foolbox --------------------------------------------------------------------------------------
@pytest.mark.parametrize("targeted", [False, True])
def test_fgsm_is_foolboxs_image_by_image(
    trained: nn.Module, rough: tuple[Tensor, Tensor], targeted: bool
) -> None:
    images, labels = rough
    classes = (labels + 3) % 10 if targeted else labels
    criterion = TargetedMisclassification(classes) if targeted else Misclassification(classes)
    network = PyTorchModel(trained, bounds=(0, 1), device="cpu")
    # foolbox's fast gradient attack knows no target; one step of its basic iterative method is the
    # same step.
    attack = LinfBasicIterativeAttack(abs_stepsize=0.1, steps=1, random_start=False)
    theirs = attack.run(network, images, criterion, epsilon=0.1)
    ours = fgsm.perturb(
        Victim(trained), images, Goal(classes, targeted), random_for(images), 0.1, fgsm.Options()
    )
    # The sign of an entry that is zero but for rounding is nobody's; there are next to none.
    different = ((ours - theirs).abs() > 1e-6).float().mean()
    assert float(different) < 1e-4
    assert abs(right(trained, ours, labels) - right(trained, theirs, labels)) <= 0.005


@pytest.mark.parametrize(
    ("norm", "eps", "attack"),
    [
        ("linf", 0.1, LinfProjectedGradientDescentAttack),
        ("l2", 1.0, L2ProjectedGradientDescentAttack),
    ],
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
    theirs = attack(abs_stepsize=eps / 8, steps=20, random_start=False).run(
        network, images, labels, epsilon=eps
    )
    options = pgd.Options.model_validate({"norm": norm, "steps": 20, "step_size": eps / 8, **PLAIN})
    ours = pgd.perturb(Victim(trained), images, Goal(labels), random_for(images), eps, options)
    left = right(trained, ours, labels), right(trained, theirs, labels)
    assert 0.02 < left[1] < 0.9, "the comparison must be able to fail"
    assert left[0] <= left[1] + 0.005


def test_pgds_own_defaults_leave_no_more_than_forty_small_steps_of_foolboxs(
    trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    images, labels = digits
    network = PyTorchModel(trained, bounds=(0, 1), device="cpu")
    torch.manual_seed(0)
    attack = LinfProjectedGradientDescentAttack(abs_stepsize=0.1 / 30, steps=40, random_start=True)
    theirs = attack.run(network, images, labels, epsilon=0.1)
    ours = pgd.perturb(
        Victim(trained), images, Goal(labels), random_for(images), 0.1, pgd.Options()
    )
    assert right(trained, ours, labels) <= right(trained, theirs, labels) + 0.005


def test_one_plain_step_of_pgd_is_fgsm(trained: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    images, labels = digits
    options = pgd.Options.model_validate({"steps": 1, "step_size": 0.1, **PLAIN})
    step = pgd.perturb(Victim(trained), images, Goal(labels), random_for(images), 0.1, options)
    turned = trained(images).argmax(1) == labels
    fast = fgsm.perturb(
        Victim(trained), images, Goal(labels), random_for(images), 0.1, fgsm.Options()
    )
    assert torch.equal(step[turned], fast[turned])


def exactly(
    trained: nn.Module, rough: tuple[Tensor, Tensor]
) -> tuple[nn.Module, PyTorchModel, Tensor, Tensor]:
    """The trained network in float64, where no gradient's sign is a matter of rounding, as foolbox
    sees it as well."""
    images, labels = rough
    model = copy.deepcopy(trained).double()
    return model, PyTorchModel(model, bounds=(0, 1), device="cpu"), images.double(), labels


def test_the_fast_gradient_is_foolboxs_to_the_last_pixel(
    trained: nn.Module, rough: tuple[Tensor, Tensor]
) -> None:
    model, network, images, labels = exactly(trained, rough)
    for eps in (0.01, 0.1, 0.3):
        theirs = LinfFastGradientAttack().run(network, images, labels, epsilon=eps)
        ours = fgsm.perturb(
            Victim(model), images, Goal(labels), random_for(images), eps, fgsm.Options()
        )
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-6)
        assert (ours - images).abs().max() == pytest.approx(eps)


@pytest.mark.parametrize("targeted", [False, True])
def test_pgds_iterates_are_foolboxs_to_the_last_pixel(
    trained: nn.Module, rough: tuple[Tensor, Tensor], targeted: bool
) -> None:
    """Images meant for another network go all the way, as foolbox's do."""
    model, network, images, labels = exactly(trained, rough)
    images, labels = images[:60], labels[:60]
    classes = (labels + 3) % 10 if targeted else labels
    criterion = TargetedMisclassification(classes) if targeted else Misclassification(classes)
    options = pgd.Options.model_validate(
        {"steps": 6, "step_size": 0.03, **PLAIN, "surrogate": "another"}
    )
    ours = pgd.perturb(
        Victim(model), images, Goal(classes, targeted), random_for(images), 0.1, options
    )
    theirs = LinfBasicIterativeAttack(abs_stepsize=0.03, steps=6, random_start=False).run(
        network, images, criterion, epsilon=0.1
    )
    assert (ours == 1).any(), "the box must matter"
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("norm", "eps", "attack"),
    [
        ("l2", 1.5, L2FastGradientAttack()),
        ("l1", 20.0, L1FastGradientAttack()),
        ("linf", 0.15, LinfFastGradientAttack()),
    ],
    ids=["l2", "l1", "linf"],
)
def test_one_step_leaves_no_more_than_foolboxs_in_the_same_norm(
    trained: nn.Module,
    digits: tuple[Tensor, Tensor],
    norm: str,
    eps: float,
    attack: FixedEpsilonAttack,
) -> None:
    """In L2 and L1 ours also uses up the room that foolbox's loses at the ends of the range."""
    images, labels = digits
    network = PyTorchModel(trained, bounds=(0, 1), device="cpu")
    theirs = attack.run(network, images, labels, epsilon=eps)
    ours = fgsm.perturb(
        Victim(trained),
        images,
        Goal(labels),
        random_for(images),
        eps,
        fgsm.Options.model_validate({"norm": norm}),
    )
    left = right(trained, ours, labels), right(trained, theirs, labels)
    assert left[0] < 0.9, "the comparison must be able to fail"
    assert left[0] <= left[1] + 0.01


def test_l1_pgd_leaves_no_more_than_foolboxs_sparse_descent(
    quicker: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    """The same share of the pixels, the same steps, the same projection. Over radii together: which
    of two pixels with equal gradients moves is a matter of the last bits, and single runs differ by
    a few images in either direction. With steps of 10 % of the pixels ours would leave 11 points
    more."""
    images, labels = digits
    network = PyTorchModel(quicker, bounds=(0, 1), device="cpu")
    attack = SparseL1DescentAttack(quantile=0.98, abs_stepsize=2.0, steps=20)
    options = pgd.Options.model_validate(
        {"norm": "l1", "steps": 20, "step_size": 2.0, "sparsity": 0.02, **PLAIN}
    )
    left = []
    for eps in (4.0, 5.0, 6.0, 7.0):
        theirs = attack.run(network, images, labels, epsilon=eps)
        ours = pgd.perturb(Victim(quicker), images, Goal(labels), random_for(images), eps, options)
        left.append((right(quicker, ours, labels), right(quicker, theirs, labels)))
    mean = torch.tensor(left).mean(0)
    assert 0.02 < mean[1] < 0.9, "the comparison must be able to fail"
    assert mean[0] <= mean[1] + 0.01, left


def test_momentum_is_that_of_the_paper(trained: nn.Module, rough: tuple[Tensor, Tensor]) -> None:
    """g ← μ g + gradient / ‖gradient‖₁, x ← x + α sign(g), written out for one image after
    another."""
    model, _, images, labels = exactly(trained, rough)
    images, labels = images[:5], labels[:5]
    settings = {
        "steps": 6,
        "step_size": 0.03,
        **PLAIN,
        "step_momentum": 0.9,
        "surrogate": "another",
    }
    ours = pgd.perturb(
        Victim(model),
        images,
        Goal(labels),
        random_for(images),
        0.1,
        pgd.Options.model_validate(settings),
    )
    for clean, label, found in zip(images, labels, ours, strict=True):
        x, g = clean[None], torch.zeros_like(clean[None])
        for _ in range(6):
            x = x.detach().requires_grad_(True)
            logits = model(x)
            u = (
                torch.cat([logits[0, :label], logits[0, label + 1 :]]).logsumexp(0)
                - logits[0, label]
            )
            (gradient,) = torch.autograd.grad(u, x)
            g = 0.9 * g + gradient / gradient.abs().sum()
            x = torch.minimum(torch.maximum(x + 0.03 * g.sign(), clean - 0.1), clean + 0.1).clamp(
                0, 1
            )
        assert torch.allclose(found, x[0], rtol=0, atol=1e-9)


def test_momentum_of_one_leaves_no_more_than_foolboxs(
    trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    images, labels = digits
    network = PyTorchModel(trained, bounds=(0, 1), device="cpu")
    theirs = LinfMomentumIterativeFastGradientMethod(abs_stepsize=0.02, steps=10).run(
        network, images, labels, epsilon=0.1
    )
    settings = {"steps": 10, "step_size": 0.02, **PLAIN, "step_momentum": 1.0}
    ours = pgd.perturb(
        Victim(trained),
        images,
        Goal(labels),
        random_for(images),
        0.1,
        pgd.Options.model_validate(settings),
    )
    assert right(trained, ours, labels) <= right(trained, theirs, labels) + 0.01


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize(
    ("norm", "attack"),
    [("linf", LinfProjectedGradientDescentAttack), ("l2", L2ProjectedGradientDescentAttack)],
    ids=["linf", "l2"],
)
def test_on_a_linear_network_pgd_makes_foolboxs_images(
    norm: str, attack: Reference, targeted: bool
) -> None:
    """Ten classes, so that the direction turns on the way; the box is out of reach."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(24, 10)).double().eval()
    images = 0.4 + 0.2 * torch.rand(30, 1, 4, 6, dtype=torch.float64)
    labels = model(images).argmax(1)
    classes = (labels + 3) % 10 if targeted else labels
    criterion = TargetedMisclassification(classes) if targeted else Misclassification(classes)
    for eps in (0.01, 0.2):
        network = PyTorchModel(model, bounds=(0, 1), device="cpu")
        theirs = attack(abs_stepsize=eps / 5, steps=12, random_start=False).run(
            network, images, criterion, epsilon=eps
        )
        settings = {
            "norm": norm,
            "steps": 12,
            "step_size": eps / 5,
            **PLAIN,
            "surrogate": "another",
        }
        options = pgd.Options.model_validate(settings)
        ours = pgd.perturb(
            Victim(model), images, Goal(classes, targeted), random_for(images), eps, options
        )
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-6)
        assert not torch.allclose(ours, images, rtol=0, atol=eps / 10)


# --- closed forms ---------------------------------------------------------------------------------
WEIGHT = torch.tensor(
    [[0.8, -0.3, 0.0, 1.5, -0.9, 0.2], [-0.4, 0.6, 0.1, -0.7, 0.3, 0.5]], dtype=torch.float64
)


def linear(weight: Tensor = WEIGHT) -> nn.Module:
    """Two classes; the margin of class 0 falls along w0 - w1."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=torch.float64)
    layer.weight.data.copy_(weight)
    return nn.Sequential(nn.Flatten(), layer).eval()


def grey(count: int = 3) -> Tensor:
    """Images far from both ends of the range, so that only the ball limits."""
    return (
        torch.full((count, 1, 2, 3), 0.5, dtype=torch.float64)
        + torch.arange(count).view(-1, 1, 1, 1) * 0.01
    )


@pytest.mark.parametrize(("targeted", "cls"), [(False, 0), (False, 1), (True, 0), (True, 1)])
@pytest.mark.parametrize(("norm", "dual"), [("linf", 1.0), ("l2", 2.0)])
def test_on_a_linear_network_the_margin_moves_by_eps_times_the_dual_norm(
    norm: str, dual: float, targeted: bool, cls: int
) -> None:
    """And no perturbation of that size can do more (Hölder); FGSM gets there in a step, PGD and Lp
    get there too."""
    model, images, eps = linear(), grey(), 0.05
    goal = Goal(torch.full((3,), cls), targeted)
    away = (WEIGHT[1] - WEIGHT[0]) * (1 if cls == 0 else -1) * (-1 if targeted else 1)
    best = eps * torch.linalg.vector_norm(away, ord=dual)
    random = random_for(images)
    direction = away.sign() if norm == "linf" else away / away.norm()
    expected = images + eps * direction.view(1, 1, 2, 3)
    results = {
        "fgsm": fgsm.perturb(
            Victim(model), images, goal, random, eps, fgsm.Options.model_validate({"norm": norm})
        ),
        "pgd": pgd.perturb(
            Victim(model),
            images,
            goal,
            random,
            eps,
            pgd.Options.model_validate({"norm": norm, "steps": 60}),
        ),
        "lp": lp.perturb(
            Victim(model),
            images,
            goal,
            random,
            eps,
            lp.Options(p=math.inf if norm == "linf" else 2),
        ),
    }
    with torch.no_grad():
        already = goal.reached(model(images))
        for name, perturbed in results.items():
            gain = ((perturbed - images).flatten(1) * away).sum(1)
            if name != "fgsm":  # these leave what is at the goal as it is
                perturbed, gain = perturbed[~already], gain[~already]
            if bool(
                goal.select(torch.arange(3) if name == "fgsm" else (~already).nonzero().squeeze(1))
                .reached(model(perturbed))
                .any()
            ):
                continue  # gone as soon as it got there, maybe short of the end
            assert torch.allclose(gain, best.expand_as(gain), rtol=1e-3), name
            wanted = expected if name == "fgsm" else expected[~already]
            entries = (away != 0).view(1, 1, 2, 3).expand_as(wanted)
            assert torch.allclose(perturbed[entries], wanted[entries], rtol=0, atol=5e-4), name
    assert torch.allclose(
        ((results["fgsm"] - images).flatten(1) * away).sum(1), best.expand(3), rtol=1e-9
    )


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 3.0, 10.0, math.inf])
def test_lp_finds_the_best_point_of_any_balls_surface(p: float) -> None:
    """For 1 < p < ∞ it is r_i ~ sign(a_i) |a_i|^(1/(p-1)), and the gain eps · ‖a‖_q."""
    model, images, eps = linear(5 * WEIGHT), grey(1), 0.02
    goal = Goal(torch.tensor([0]))
    with torch.no_grad():
        assert not goal.reached(model(images)).any()
    perturbed = lp.perturb(
        Victim(model),
        images,
        goal,
        random_for(images),
        eps,
        lp.Options(p=p, steps=200, sparsity=0.01),
    )
    r = (perturbed - images).flatten()
    away = WEIGHT[1] - WEIGHT[0]
    dual = math.inf if p == 1 else 1.0 if p == math.inf else p / (p - 1)
    assert float(torch.linalg.vector_norm(r, ord=p)) == pytest.approx(eps, rel=1e-6)
    assert float((r * away).sum()) == pytest.approx(
        eps * float(torch.linalg.vector_norm(away, ord=dual)), rel=1e-3
    )


def test_l1_moves_the_steepest_pixels_to_the_end_of_their_range() -> None:
    model, images = linear(), grey(1)
    away = WEIGHT[1] - WEIGHT[0]  # largest at pixel 3 (-2.2), then 0 and 4 (±1.2)
    perturbed = fgsm.perturb(
        Victim(model),
        images,
        Goal(torch.tensor([0])),
        random_for(images),
        0.7,
        fgsm.Options(norm="l1"),
    )
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
            up, down = (
                goal.loss(model(images + sign * shift.view_as(images)), kind) for sign in (1, -1)
            )
            assert torch.allclose(
                gradient.flatten(1)[:, pixel], (up - down) / 2e-6, rtol=1e-5, atol=1e-8
            )


MANY = torch.tensor(
    [
        [0.9, -0.2, 0.4, 0.1, -0.7, 0.3],
        [0.1, 0.8, -0.5, 0.2, 0.6, -0.4],
        [-0.3, 0.2, 0.7, -0.9, 0.1, 0.5],
        [0.2, -0.6, 0.1, 0.7, 0.4, -0.8],
    ],
    dtype=torch.float64,
)


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("cls", [0, 1, 2, 3])
def test_with_many_classes_fgsm_follows_the_rivals_weights(targeted: bool, cls: int) -> None:
    """The margin against the one best rival; cross-entropy against all of them, each by its share
    of the probability."""
    model, eps = linear(MANY), 0.05
    images = 0.4 + 0.2 * torch.rand(
        3, 1, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    goal = Goal(torch.full((3,), cls), targeted)
    with torch.no_grad():
        logits = model(images)
    for kind in ("margin", "ce"):
        for row, (image, answer) in enumerate(zip(images, logits, strict=True)):
            others = [other for other in range(4) if other != cls]
            shares = (
                answer[others].softmax(0)
                if kind == "ce"
                else torch.eye(3, dtype=torch.float64)[answer[others].argmax()]
            )
            away = (shares[:, None] * MANY[others]).sum(0) - MANY[cls]
            away = -away if targeted else away
            for norm, direction in (("linf", away.sign()), ("l2", away / away.norm())):
                options = fgsm.Options.model_validate({"norm": norm, "loss": kind})
                moved = fgsm.perturb(Victim(model), images, goal, random_for(images), eps, options)[
                    row
                ]
                assert torch.allclose(
                    moved.flatten(), image.flatten() + eps * direction, rtol=0, atol=1e-9
                )


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize(("norm", "dual"), [("linf", 1.0), ("l2", 2.0)])
def test_pgd_that_goes_all_the_way_ends_at_the_best_point_of_the_ball(
    norm: str, dual: float, targeted: bool
) -> None:
    """Two classes, no stop on success: the margin has moved by eps times the dual norm, which
    nothing can exceed."""
    model, images, eps = linear(), grey(), 0.05
    for cls in (0, 1):
        away = (WEIGHT[1] - WEIGHT[0]) * (1 if cls == 0 else -1) * (-1 if targeted else 1)
        goal = Goal(torch.full((3,), cls), targeted)
        for loss in ("ce", "margin"):
            settings = {"norm": norm, "steps": 60, "loss": loss, "surrogate": "another"}
            ways = {
                "pgd": pgd.perturb(
                    Victim(model),
                    images,
                    goal,
                    random_for(images),
                    eps,
                    pgd.Options.model_validate(settings),
                ),
                "lp": lp.perturb(
                    Victim(model),
                    images,
                    goal,
                    random_for(images),
                    eps,
                    lp.Options.model_validate(
                        {
                            "p": math.inf if norm == "linf" else 2,
                            "loss": loss,
                            "surrogate": "another",
                        }
                    ),
                ),
            }
            for name, perturbed in ways.items():
                gain = ((perturbed - images).flatten(1) * away).sum(1)
                best = eps * torch.linalg.vector_norm(away, ord=dual)
                assert torch.allclose(gain, best.expand_as(gain), rtol=1e-3), name
                assert (gain <= best * (1 + 1e-9)).all(), name


@pytest.mark.parametrize("targeted", [False, True])
def test_l1_pgd_finds_the_fractional_knapsack(targeted: bool) -> None:
    """The best of the L1 ball and the box: the steepest pixel to its end, what is left on the
    next."""
    model, images = linear(), grey(1)
    away = (WEIGHT[1] - WEIGHT[0]) * (-1 if targeted else 1)  # ±2.2 at pixel 3, ±1.2 at 0 and 4
    settings = {"norm": "l1", "steps": 300, "sparsity": 0.2, "surrogate": "another"}
    goal = Goal(torch.tensor([0]), targeted)
    perturbed = pgd.perturb(
        Victim(model), images, goal, random_for(images), 0.7, pgd.Options.model_validate(settings)
    )
    r = (perturbed - images).flatten()
    assert float(r.abs().sum()) <= 0.7 + 1e-9
    assert float((r * away).sum()) == pytest.approx(0.5 * 2.2 + 0.2 * 1.2, rel=0.02)


# --- torchattacks ---------------------------------------------------------------------------------
def transferable(network: nn.Module, images: Tensor, labels: Tensor, **settings: object) -> Tensor:
    """MI-FGSM's images for another network, at the radius and the steps of these comparisons."""
    given = {"steps": 6, "step_size": 0.03, "surrogate": "another", **settings}
    return mifgsm.perturb(
        Victim(network),
        images,
        Goal(labels),
        random_for(images),
        0.1,
        mifgsm.Options.model_validate(given),
    )


def test_mifgsm_is_torchattacks_to_the_last_pixel(
    trained: nn.Module, rough: tuple[Tensor, Tensor]
) -> None:
    model, _, images, labels = exactly(trained, rough)
    images, labels = images[:60], labels[:60]
    theirs = torchattacks.MIFGSM(model, eps=0.1, alpha=0.03, steps=6)(images, labels)
    assert torch.allclose(transferable(model, images, labels), theirs, rtol=0, atol=1e-9)


def test_scale_copies_and_look_ahead_are_torchattacks_to_the_last_pixel(
    trained: nn.Module, rough: tuple[Tensor, Tensor]
) -> None:
    model, _, images, labels = exactly(trained, rough)
    images, labels = images[:60], labels[:60]
    theirs = torchattacks.SINIFGSM(model, eps=0.1, alpha=0.03, steps=6, m=5)(images, labels)
    ours = transferable(model, images, labels, scale_copies=5, nesterov=True)
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-9)


class Colours(nn.Module):
    """A network of grey images that takes colour ones, of which it sees the mean."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.inner(x.mean(dim=1, keepdim=True))
        return answer


def test_translation_invariance_is_torchattacks(
    trained: nn.Module, rough: tuple[Tensor, Tensor]
) -> None:
    """Theirs knows images of three channels alone, and its kernel is rounded to float32."""
    model, _, images, labels = exactly(trained, rough)
    model, labels = Colours(model).eval(), labels[:60]
    images = images[:60].expand(-1, 3, -1, -1) * torch.tensor([0.9, 1.0, 0.8])[:, None, None]
    attack = torchattacks.TIFGSM(
        model, eps=0.1, alpha=0.03, steps=6, decay=1.0, len_kernel=7, diversity_prob=0.0
    )
    attack.stacked_kernel = attack.stacked_kernel.double()
    theirs = attack(images, labels)
    ours = transferable(model, images, labels, translation_kernel=7)
    assert ((ours - theirs).abs() > 1e-6).double().mean() < 1e-4
    assert not torch.allclose(ours, transferable(model, images, labels), rtol=0, atol=1e-2)


def transferred(
    attack: torchattacks.attack.Attack,
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    alone: bool,
    seeds: int,
    eps: float,
    **settings: object,
) -> tuple[float, float]:
    """Accuracy under ours and under theirs, on the average of seeds; theirs may get each image
    alone."""
    options = mifgsm.Options.model_validate({"steps": 6, "surrogate": "another", **settings})
    theirs, ours, numbers = 0.0, 0.0, torch.arange(len(images))
    size = 1 if alone else len(images)
    for seed in range(seeds):
        torch.manual_seed(seed)
        parts = zip(images.split(size), labels.split(size), strict=True)
        moved = torch.cat([attack(*part) for part in parts])
        theirs += right(network, moved, labels) / seeds
        random = ImageRandom(seed, numbers)
        moved = mifgsm.perturb(Victim(network), images, Goal(labels), random, eps, options)
        ours += right(network, moved, labels) / seeds
    return ours, theirs


def test_diverse_inputs_leave_as_many_as_torchattacks(
    trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    """Their numbers are others. Theirs draws one size and place for a whole batch, hence gets each
    image alone. The means over three seeds may differ by six of 200 images: one seed leaves 72 to
    86, so that a mean has a standard deviation of some four."""
    images, labels = digits
    attack = torchattacks.DIFGSM(
        trained, eps=0.12, alpha=0.02, steps=6, decay=1.0, diversity_prob=0.7
    )
    given = {"eps": 0.12, "step_size": 0.02, "diversity": 0.7}
    ours, theirs = transferred(attack, trained, images, labels, True, 3, **given)
    assert 0.1 < theirs < 0.9, "the comparison must be able to fail"
    assert abs(ours - theirs) <= 0.03


def test_variance_tuning_leaves_as_many_as_torchattacks(
    trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    """Their numbers are others. One seed is enough: of 200 images each leaves 35 or 36, by either
    implementation. A single sample leaves some 48."""
    images, labels = digits
    attack = torchattacks.VMIFGSM(trained, eps=0.12, alpha=0.02, steps=6, decay=1.0, N=5)
    given = {"eps": 0.12, "step_size": 0.02, "variance_samples": 5}
    ours, theirs = transferred(attack, trained, images, labels, False, 1, **given)
    assert 0.1 < theirs < 0.9, "the comparison must be able to fail"
    assert abs(ours - theirs) <= 0.03


def test_momentum_transfers_no_less_than_pgd(
    trained: nn.Module, runs: Path, digits: tuple[Tensor, Tensor]
) -> None:
    """From the MLP to the CNN. Five of 100 images are allowed for chance."""
    images, labels = digits[0][:100], digits[1][:100]
    other, _ = checkpoint.load(runs / "train" / "other")
    given = {"steps": 10, "step_size": 0.02, "surrogate": "another"}
    plain = pgd.Options.model_validate({**given, **PLAIN})
    goal, random = Goal(labels), random_for(images)
    baseline = pgd.perturb(Victim(other), images, goal, random, 0.2, plain)
    momentum = mifgsm.Options.model_validate(given)
    ours = mifgsm.perturb(Victim(other), images, goal, random, 0.2, momentum)
    left = right(trained, ours, labels), right(trained, baseline, labels)
    assert left[1] < 0.95, "the comparison must be able to fail"
    assert left[0] <= left[1] + 0.05
