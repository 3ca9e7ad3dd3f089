"""What every attack owes: its ball, its range, its seed, its dtype, one answer whatever the batch,
and the network left as it was."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from attack_cases import (
    ATTACKS,
    BEYOND_BALLS,
    CASES,
    EXPONENTS,
    IN_BALLS,
    ON_IMAGES,
    ONE_FOR_ALL,
    RADII,
    Case,
)
from torch import Tensor, nn

from advlab.components import load_component
from advlab.config.options.run import DataOptions
from advlab.data import load_images
from advlab.data.image_set import Images
from advlab.experiments.attack.run import IN_NO_BALL
from advlab.metrics.classification import is_correct
from advlab.networks import checkpoint
from advlab.perturbation.goal import Goal
from advlab.perturbation.sweep import Point, Tasks, attack_batch, sweep
from advlab.perturbation.victim import Victim
from advlab.runs.machine import Machine

DECISIONS = {"boundary", "geoda", "hopskipjump"}
"""Attacks that see classes alone."""
NEAREST = {
    "bb",
    "cw",
    "ddn",
    "deepfool",
    "ead",
    "fab",
    "fmn",
    "jsma",
    "sigmazero",
    "sparsefool",
    *DECISIONS,
}
"""Attacks that look for the nearest success, and leave an image without one within eps as it was.
"""
LESS_NEAR = {"jsma", *DECISIONS}
"""Attacks that need more room: few questions for classes alone take one less near than a gradient
would, and the other has no direction to turn to but white."""
WEAK = {"noise", "onepixel"}
"""Attacks that break few images: the control, and one whose random pixels seldom meet."""


def named(case: Case) -> str:
    return f"{case.attack}-{case.norm}"


each = pytest.mark.parametrize("case", CASES, ids=named)
LAST_NORMS = list({case.attack: case for case in CASES}.values())
"""Each attack in one of its norms: for what the sweep does, whatever the ball."""
each_attack = pytest.mark.parametrize("case", LAST_NORMS, ids=named)
in_no_ball_too = pytest.mark.parametrize("case", [*CASES, *BEYOND_BALLS], ids=named)


def network(seed: int = 0, dropout: float = 0.0) -> nn.Sequential:
    """Small, with weights as they are drawn: nothing here depends on what a network has learnt."""
    torch.manual_seed(seed)
    layers = [
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Flatten(),
        nn.Linear(4 * 64, 5),
    ]
    return nn.Sequential(*layers).eval()


def drawn_images() -> Tensor:
    """Twelve images with pixels at both ends of the range, as byte levels."""
    torch.manual_seed(1)
    return ((torch.rand(12, 1, 8, 8) * 1.6 - 0.3).clamp(0, 1) * 255).round() / 255


def predicted(images: Tensor) -> Tensor:
    """The classes that the network predicts, so that each must be turned."""
    with torch.no_grad():
        return network()(images).argmax(1)  # type: ignore[no-any-return]


@pytest.fixture
def images() -> Tensor:
    return drawn_images()


@pytest.fixture
def labels(images: Tensor) -> Tensor:
    return predicted(images)


@functools.cache
def usual(case: Case) -> Tensor:
    """What the attack makes of the images away from their labels: the other side of several
    comparisons."""
    images = drawn_images()
    return case.perturb(Victim(network()), images, Goal(predicted(images)), RADII[case.norm])


@dataclass(frozen=True)
class Watched:
    """An attack in every circumstance that must make no difference, at once: what it made, and what
    it left.

    Gradients are off, the network drops nine tenths in training, one of its parameters is frozen,
    a training has left gradients of all others but the last, and torch's generator was used.

    Attributes:
        images: what it was given, after the attack.
        parameters: trainability and gradient of each, before and after.
        state: the network's state dict, before and after.
        generator: the state of torch's generator, before and after.
    """

    perturbed: Tensor
    images: Tensor
    model: nn.Sequential
    parameters: tuple[list[tuple[bool, Tensor | None]], list[tuple[bool, Tensor | None]]]
    state: tuple[dict[str, Tensor], dict[str, Tensor]]
    generator: tuple[Tensor, Tensor]
    grad_enabled: bool


@functools.cache
def watched(case: Case) -> Watched:
    images, model = drawn_images(), network(dropout=0.9)
    labels = predicted(images)
    first, *_, last = model.parameters()
    first.requires_grad_(False)
    model(images).sum().backward()
    last.grad = None
    victim = Victim(model)

    def parameters() -> list[tuple[bool, Tensor | None]]:
        return [
            (one.requires_grad, None if one.grad is None else one.grad.clone())
            for one in model.parameters()
        ]

    def state() -> dict[str, Tensor]:
        return {name: value.clone() for name, value in model.state_dict().items()}

    torch.manual_seed(5)
    torch.rand(100)
    before = parameters(), state(), torch.get_rng_state()
    with torch.no_grad():
        perturbed = case.perturb(victim, images, Goal(labels), RADII[case.norm])
        grad_enabled = torch.is_grad_enabled()
    generator = torch.get_rng_state()
    return Watched(
        perturbed,
        images,
        model,
        (before[0], parameters()),
        (before[1], state()),
        (before[2], generator),
        grad_enabled,
    )


def test_the_attacks_are_found() -> None:
    assert {"fgsm", "pgd", "lp", "noise"} <= set(ATTACKS)
    assert set(ON_IMAGES) - {*ATTACKS, *ONE_FOR_ALL} == {case.attack for case in BEYOND_BALLS}
    assert set(ON_IMAGES) - set(IN_BALLS) == set(IN_NO_BALL), "each has an experiment of its own"


@pytest.mark.parametrize("name", ON_IMAGES)
def test_attacks_on_each_image_have_perturb_and_others_made(name: str) -> None:
    module = load_component("advlab.attacks", name, "attack")
    assert hasattr(module, "perturb") != hasattr(module, "made")
    assert hasattr(module, "made") == (name in ONE_FOR_ALL)


@each
@pytest.mark.parametrize(("targeted", "quantize"), [(False, False), (True, True)])
def test_images_stay_in_the_ball_and_in_the_range(
    case: Case, targeted: bool, quantize: bool, images: Tensor, labels: Tensor
) -> None:
    goal = Goal((labels + 1) % 5 if targeted else labels, targeted)
    for eps in (RADII[case.norm] / 30, 3 * RADII[case.norm]):
        perturbed = case.perturb(Victim(network()), images, goal, eps, quantize=quantize)
        assert perturbed.shape == images.shape
        assert perturbed.dtype == torch.float32
        assert not perturbed.isnan().any()
        assert perturbed.min() >= 0
        assert perturbed.max() <= 1
        size = torch.linalg.vector_norm(
            (perturbed.double() - images.double()).flatten(1), ord=EXPONENTS[case.norm], dim=1
        )
        assert (size <= eps * (1 + 1e-5) + 1e-6).all()
        if quantize:
            assert torch.equal(perturbed, (perturbed * 255).round() / 255)


@in_no_ball_too
def test_eps_zero_changes_nothing(case: Case, images: Tensor, labels: Tensor) -> None:
    assert torch.equal(case.perturb(Victim(network()), images, Goal(labels), 0.0), images)


@in_no_ball_too
def test_an_attack_with_room_moves_the_images_and_leaves_its_input_alone(
    case: Case, images: Tensor, labels: Tensor
) -> None:
    assert torch.equal(watched(case).images, images)
    perturbed = watched(case).perturbed
    if case.attack in LESS_NEAR:
        before = images.clone()
        perturbed = case.perturb(Victim(network()), images, Goal(labels), 3 * RADII[case.norm])
        assert torch.equal(images, before)
    assert ((perturbed - images).flatten(1).abs().amax(1) > 0).all()


@in_no_ball_too
def test_the_same_seed_gives_the_same_bits_and_torchs_own_stream_is_not_touched(
    case: Case,
) -> None:
    assert torch.equal(watched(case).perturbed, usual(case))
    before, after = watched(case).generator
    assert torch.equal(after, before)


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case.attack in ("noise", "pgd")],
    ids=lambda case: f"{case.attack}-{case.norm}",
)
def test_another_seed_gives_other_images(case: Case, images: Tensor, labels: Tensor) -> None:
    ways = [
        case.perturb(Victim(network()), images, Goal(labels), RADII[case.norm] / 30, seed=seed)
        for seed in (0, 1)
    ]
    assert not torch.equal(*ways)


@in_no_ball_too
def test_an_image_gets_the_same_perturbation_in_any_batch(
    case: Case, images: Tensor, labels: Tensor
) -> None:
    """Alone, in a batch, and in another order. Sums of another batch size may differ in a last bit,
    hence float64."""
    victim = Victim(network().double())
    wide = images.double()
    together = case.perturb(victim, wide, Goal(labels), RADII[case.norm])
    assert together.dtype == torch.float64
    order = torch.randperm(len(wide), generator=torch.Generator().manual_seed(0))
    shuffled = case.perturb(victim, wide[order], Goal(labels[order]), RADII[case.norm], ids=order)
    assert torch.allclose(shuffled, together[order], rtol=0, atol=1e-9)
    for index in (0, 7):
        one = torch.tensor([index])
        alone = case.perturb(victim, wide[one], Goal(labels[one]), RADII[case.norm], ids=one)
        assert torch.allclose(alone, together[one], rtol=0, atol=1e-9)


@in_no_ball_too
def test_the_network_is_left_as_it_was(case: Case) -> None:
    model = watched(case).model
    assert not any(module.training for module in model.modules())
    trainable = [requires_grad for requires_grad, _ in watched(case).parameters[1]]
    assert trainable == [False, True, True, True, True, True]
    before, after = watched(case).state
    assert before.keys() == after.keys()
    assert all(torch.equal(value, before[name]) for name, value in after.items())
    assert not any(
        hook
        for module in model.modules()
        for hook in (module._forward_hooks, module._backward_hooks)
    )


def test_a_network_in_training_mode_is_refused_and_not_switched() -> None:
    model = network(dropout=0.5)
    model[3].train()
    with pytest.raises(ValueError, match=r"training mode \(3\)"):
        Victim(model)
    assert model[3].training


@in_no_ball_too
def test_images_that_reach_the_goal_at_once_are_left_as_they_are_or_stay_there(
    case: Case, images: Tensor, labels: Tensor
) -> None:
    """Nothing that fools the network already may come out not fooling it."""
    wrong = (labels + 1) % 5
    victim = Victim(network())
    perturbed = case.perturb(victim, images, Goal(wrong), RADII[case.norm])
    if (
        case.attack != "fgsm"
    ):  # a single step whose direction is away from a class that is not predicted anyway
        assert not is_correct(victim.logits(perturbed), wrong).any()


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case.attack not in ("noise", *NEAREST)],
    ids=lambda case: f"{case.attack}-{case.norm}",
)
def test_target_and_label_are_not_confused(case: Case, images: Tensor, labels: Tensor) -> None:
    """Untargeted, the label's probability falls; targeted, the target's rises; on every image, in
    small balls."""
    victim, eps = Victim(network().double()), RADII[case.norm] / 30
    wide = images.double()
    for targeted, classes in ((False, labels), (True, (labels + 2) % 5)):
        perturbed = case.perturb(victim, wide, Goal(classes, targeted), eps)
        change = (
            (victim.logits(perturbed).log_softmax(1) - victim.logits(wide).log_softmax(1))
            .gather(1, classes[:, None])
            .squeeze(1)
        )
        assert (change > 0).all() if targeted else (change < 0).all()


def test_a_direction_is_worth_more_than_noise(images: Tensor, labels: Tensor) -> None:
    """The control: random signs of the same size lower the label's probability far less."""
    victim, eps = Victim(network()), 0.05
    fall = {}
    for attack in ("fgsm", "noise"):
        perturbed = Case(attack, "linf").perturb(victim, images, Goal(labels), eps)
        own = [
            victim.logits(x).softmax(1).gather(1, labels[:, None]).mean()
            for x in (images, perturbed)
        ]
        fall[attack] = float(own[0] - own[1])
    assert fall["fgsm"] > 5 * abs(fall["noise"])


def test_more_restarts_never_leave_more_images_right(images: Tensor, labels: Tensor) -> None:
    victim = Victim(network())
    left = []
    for restarts in (1, 4, 16):
        perturbed = Case("noise", "linf").perturb(
            victim, images, Goal(labels), 0.2, restarts=restarts
        )
        left.append(int(is_correct(victim.logits(perturbed), labels).sum()))
    assert left == sorted(left, reverse=True)


def test_gradients_that_float32_would_lose_are_found() -> None:
    """A network so sure of itself that its float32 probability is 1 and its gradient 0 still has a
    direction to attack."""
    layer = nn.Linear(4, 2)
    model = nn.Sequential(nn.Flatten(), layer).eval()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[30.0, 30.0, 30.0, 30.0], [-30.0, -30.0, -30.0, -30.0]]))
        layer.bias.zero_()
    image, label = torch.full((1, 1, 2, 2), 0.9), torch.tensor([0])
    logits = model(image)
    assert float(logits.detach().softmax(1)[0, 0]) == 1.0
    perturbed = Case("fgsm", "linf").perturb(Victim(model), image, Goal(label), 0.1)
    assert torch.allclose(perturbed, torch.full_like(image, 0.8))


def test_fast_arithmetic_only_nominates(images: Tensor, labels: Tensor) -> None:
    """bf16 gives directions; whatever leaves early as fooled is fooled in the network's own
    float32."""
    victim = Victim(network(), Machine(torch.device("cpu"), "bf16"))
    own = network()
    perturbed = Case("pgd", "linf").perturb(victim, images, Goal(labels), 0.2, steps=20)
    with torch.no_grad():
        assert torch.allclose(
            victim.logits(images), own(images), rtol=0, atol=1e-5
        )  # in bf16 it would be 1e-2
        left = is_correct(own(perturbed), labels)
    exact = Case("pgd", "linf").perturb(Victim(network()), images, Goal(labels), 0.2, steps=20)
    assert int(left.sum()) <= int(is_correct(own(exact), labels).sum()) + 1


@pytest.mark.parametrize(
    ("name", "budget"),
    [("fab", {"steps": 10}), ("fgsm", {}), ("square", {"queries": 100})],
    ids=["fab", "fgsm", "square"],
)
def test_what_bf16_weakens_is_exact_beside_other_attacks(
    name: str, budget: dict[str, int], images: Tensor, labels: Tensor
) -> None:
    """A suite has one precision for all of its attacks, and these are in float32 all the same."""
    module = load_component("advlab.attacks", name, "attack")
    chosen, own = torch.arange(len(images)), Victim(network())
    tasks = Tasks(Images((255 * images).to(torch.uint8), labels), chosen, labels, targeted=False)
    fast = Victim(network(), Machine(torch.device("cpu"), "bf16"))

    def made(victim: Victim, **given: Any) -> Tensor:
        options = module.Options.model_validate({"eps": [0.05], **budget, **given})
        return attack_batch(module.perturb, victim, tasks, chosen, 0.05, options).perturbed

    exact = made(own)
    assert torch.equal(made(fast), exact)
    assert not torch.equal(made(fast, precision="bf16"), exact), "bf16 must make a difference"
    assert torch.equal(made(fast), exact), "and is back afterwards"


# --- every way of setting them --------------------------------------------------------------------
WAYS: list[tuple[str, dict[str, Any]]] = [
    ("fgsm", {"loss": "margin"}),
    ("noise", {"restarts": 5}),
    ("pgd", {"loss": "margin", "step_schedule": "constant"}),
    ("pgd", {"step_momentum": 1.0, "random_start": False}),
    ("pgd", {"step_size": 30.0, "restarts": 3}),
    ("pgd", {"steps": 1, "norm": "l1", "sparsity": 1.0}),
    ("pgd", {"surrogate": "another"}),
    ("lp", {"loss": "margin", "step_size": 30.0}),
    ("lp", {"steps": 1, "sparsity": 1.0}),
    ("lp", {"surrogate": "another"}),
]


@pytest.mark.parametrize(
    ("attack", "changes"), WAYS, ids=lambda way: way if isinstance(way, str) else "-".join(way)
)
@pytest.mark.parametrize("channels", [1, 3])
def test_no_setting_leaves_the_ball_or_the_range(
    attack: str, changes: dict[str, Any], channels: int
) -> None:
    """With colour and more pixels as well, where sums in float32 are longer."""
    torch.manual_seed(2)
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(channels * 24 * 24, 20), nn.ReLU(), nn.Linear(20, 5)
    ).eval()
    images = ((torch.rand(6, channels, 24, 24) * 1.6 - 0.3).clamp(0, 1) * 255).round() / 255
    labels = model(images).argmax(1)
    for case in [case for case in CASES if case.attack == attack]:
        for eps in (0.0, RADII[case.norm] / 30, RADII[case.norm]):
            perturbed = case.perturb(Victim(model), images, Goal(labels), eps, **changes)
            assert perturbed.min() >= 0
            assert perturbed.max() <= 1
            size = torch.linalg.vector_norm(
                (perturbed.double() - images.double()).flatten(1), ord=EXPONENTS[case.norm], dim=1
            )
            # Each of these pixels is rounded by 2^-25 at most, which L1 adds up.
            slack = 1e-6 + (images[0].numel() * 2.0**-26 if case.norm == "l1" else 0)
            assert (size <= eps * (1 + 1e-6) + slack).all(), (case, eps)
            if eps == 0:
                assert torch.equal(perturbed, images)


@each
def test_a_network_with_no_gradient_at_all_gives_no_nan_and_counts_as_right(
    case: Case, images: Tensor
) -> None:
    layer = nn.Linear(64, 3)
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.copy_(torch.tensor([1.0, 0.0, 0.0]))
    victim = Victim(nn.Sequential(nn.Flatten(), layer).eval())
    goal = Goal(torch.zeros(len(images), dtype=torch.int64))
    perturbed = case.perturb(victim, images, goal, RADII[case.norm])
    assert not perturbed.isnan().any()
    assert perturbed.min() >= 0
    assert perturbed.max() <= 1
    assert not goal.reached(victim.logits(perturbed)).any()


@in_no_ball_too
def test_a_network_that_answers_nan_is_not_robust(case: Case, images: Tensor) -> None:
    """And nothing hangs or fails over it."""
    layer = nn.Linear(64, 3)
    with torch.no_grad():
        layer.weight.fill_(math.nan)
    victim = Victim(nn.Sequential(nn.Flatten(), layer).eval())
    goal = Goal(torch.zeros(len(images), dtype=torch.int64))
    assert goal.reached(victim.logits(case.perturb(victim, images, goal, RADII[case.norm]))).all()


@in_no_ball_too
def test_it_works_where_gradients_are_off_and_leaves_them_off(case: Case) -> None:
    perturbed = watched(case).perturbed
    assert not watched(case).grad_enabled
    assert torch.equal(perturbed, usual(case))
    assert not perturbed.requires_grad
    assert perturbed.grad_fn is None


@in_no_ball_too
def test_dropout_in_evaluation_mode_is_no_dropout(case: Case) -> None:
    """Attacked as it answers, not as it trains."""
    assert watched(case).model[3].p == 0.9
    assert torch.equal(watched(case).perturbed, usual(case))


@pytest.mark.parametrize("kind", [nn.Dropout, nn.BatchNorm1d], ids=["dropout", "batch statistics"])
def test_a_network_that_is_training_as_a_whole_or_in_one_layer_is_refused(
    kind: type[nn.Module],
) -> None:
    layer = kind() if kind is nn.Dropout else kind(64)
    whole = nn.Sequential(nn.Flatten(), layer, nn.Linear(64, 3))
    with pytest.raises(ValueError, match="training mode"):
        Victim(whole)
    assert whole.training
    whole.eval()
    layer.train()
    with pytest.raises(ValueError, match=r"training mode \(1\).*model\.eval\(\)"):
        Victim(whole)
    assert layer.training
    assert not whole.training


@in_no_ball_too
def test_gradients_that_a_training_has_left_stay_as_they_are(case: Case) -> None:
    """An attack in the middle of adversarial training must not add to what the optimiser is about
    to use."""
    before, after = watched(case).parameters
    assert [gradient is None for _, gradient in before] == [True, *[False] * 4, True]
    for (_, ours), (_, theirs) in zip(before, after, strict=True):
        assert (theirs is None) == (ours is None)
        assert ours is None or theirs is None or torch.equal(ours, theirs)


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case.attack == "noise"],
    ids=lambda case: f"{case.attack}-{case.norm}",
)
def test_noise_is_the_same_to_the_last_bit_in_any_batch(
    case: Case, images: Tensor, labels: Tensor
) -> None:
    victim = Victim(network())
    together = case.perturb(victim, images, Goal(labels), RADII[case.norm] / 30)
    for size in (1, 5):
        parts = [
            case.perturb(victim, images[part], Goal(labels[part]), RADII[case.norm] / 30, ids=part)
            for part in torch.arange(12).split(size)
        ]
        assert torch.equal(torch.cat(parts), together)


class Normalised(nn.Module):
    """Shifts and scales its images before anything else, as the networks of advlab do."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.inner((x - 0.4) / 0.1)
        return answer


def test_eps_is_in_pixels_though_the_network_normalises(labels: Tensor) -> None:
    """Were the normalisation outside, the same eps would be ten times smaller in pixels."""
    torch.manual_seed(3)
    grey = 0.3 + 0.4 * torch.rand(12, 1, 8, 8)
    model = Normalised(network()).eval()
    for norm, eps in (("linf", 0.05), ("l2", 0.5), ("l1", 4.0)):
        perturbed = Case("fgsm", norm).perturb(Victim(model), grey, Goal(labels), eps)
        size = torch.linalg.vector_norm((perturbed - grey).flatten(1), ord=EXPONENTS[norm], dim=1)
        assert torch.allclose(size, torch.full_like(size, eps), rtol=1e-4)


class Root(nn.Module):
    """The square root's slope at a black pixel is infinite."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.layer(x.flatten(1).sqrt())
        return answer


@in_no_ball_too
def test_an_infinite_gradient_makes_no_image_of_nan(case: Case, images: Tensor) -> None:
    model = Root().eval()
    assert (images == 0).any()
    goal = Goal(model(images).argmax(1))
    perturbed = case.perturb(Victim(model), images, goal, RADII[case.norm] / 30)
    assert not perturbed.isnan().any()


# --- on a network that has learnt something -------------------------------------------------------
@pytest.fixture(scope="module")
def trained(runs: Path) -> Victim:
    model, _ = checkpoint.load(runs / "train" / "other")
    return Victim(model)


@pytest.fixture(scope="module")
def digits() -> Images:
    return load_images.load(DataOptions(dataset="digits")).test.select(torch.arange(60))


def few(case: Case, digits: Images) -> Images:
    """As many of the images as the seconds of the attack allow."""
    slow = case.norm == "l0" or case.attack in ("boundary", "cw", "ead", "simba")
    return digits.select(torch.arange(8 if slow else 12))


QUESTIONS = {"simba": 400, "square": 80}
"""How many of them these attacks need here; the small network above takes fewer."""


def swept(
    case: Case,
    victim: Victim,
    images: Images,
    eps: list[float],
    goal: Tensor | None = None,
    **changes: Any,
) -> list[Point]:
    """Everything of the images towards ``goal``, or away from their labels."""
    index = torch.arange(len(images))
    tasks = Tasks(images, index, images.labels if goal is None else goal, targeted=goal is not None)
    attack = load_component("advlab.attacks", case.attack, "attack").perturb
    if case.attack in QUESTIONS:
        changes = {"queries": QUESTIONS[case.attack], **changes}
    return list(sweep(attack, victim, tasks, case.options(eps=eps, **changes)))


TRAINED_RADII = {"linf": 0.15, "l2": 1.5, "l1": 15.0, "l3": 0.8, "l1.5": 4.0, "l0": 40.0}


@each_attack
def test_what_is_kept_as_it_broke_never_leaves_more_right_in_more_room(
    case: Case, trained: Victim, digits: Images
) -> None:
    digits, eps = few(case, digits), TRAINED_RADII[case.norm]
    points = swept(case, trained, digits, [0.0, eps / 2, 3 * eps], keep_broken=True)
    left = [int(is_correct(point.logits, digits.labels).sum()) for point in points]
    assert left == sorted(left, reverse=True)
    assert torch.equal(points[0].perturbed, digits.inputs(slice(None)))
    if case.attack not in WEAK | DECISIONS:
        assert left[-1] < left[0] / 2, "the comparison must be able to fail"
    again = swept(case, trained, digits, [3 * eps, 0.0, eps / 2], keep_broken=True)
    assert [point.eps for point in again] == [point.eps for point in points]
    for one, other in zip(points, again, strict=True):
        assert torch.equal(one.perturbed, other.perturbed)
        assert torch.equal(one.logits, other.logits)
        assert torch.equal(one.reached, ~is_correct(one.logits, digits.labels))


@each_attack
def test_every_eps_of_a_sweep_is_an_attack_of_its_own(
    case: Case, trained: Victim, digits: Images
) -> None:
    """That of the larger ε does not see what the smaller one has found."""
    digits, eps = few(case, digits), TRAINED_RADII[case.norm]
    point = swept(case, trained, digits, [eps / 3, eps])[1]
    (alone,) = swept(case, trained, digits, [eps])
    assert torch.equal(point.perturbed, alone.perturbed)
    assert torch.equal(point.logits, alone.logits)
    assert point.attacked == alone.attacked


@each
def test_an_image_that_is_wrong_by_itself_is_left_alone(
    case: Case, trained: Victim, digits: Images
) -> None:
    """Its label is turned into another one, which makes it wrong."""
    wrong = Images(digits.pixels, (digits.labels + 1) % 10)
    (point,) = swept(case, trained, wrong, [TRAINED_RADII[case.norm]])
    assert point.reached[:50].sum() >= 49
    left = ~is_correct(trained.logits(digits.inputs(slice(None))), wrong.labels)
    assert torch.equal(point.perturbed[left], digits.inputs(slice(None))[left])
    assert point.attacked == int((~left).sum())


@pytest.mark.parametrize(
    "case",
    [case for case in LAST_NORMS if case.attack not in WEAK],
    ids=named,
)
def test_what_goes_for_a_target_gets_there_more_often_than_what_only_flees(
    case: Case, trained: Victim, digits: Images
) -> None:
    digits = digits.select(torch.arange(2 * len(few(case, digits))))
    room = (
        5 if case.attack == "boundary" else 2
    )  # a random walk comes near after thousands of steps
    eps, target = room * TRAINED_RADII[case.norm], (digits.labels + 4) % 10
    more: dict[str, Any] = {"queries": 400} if case.attack in DECISIONS else {}
    (towards,) = swept(case, trained, digits, [eps], goal=target, **more)
    (away,) = swept(case, trained, digits, [eps], **more)
    hits = [int(is_correct(point.logits, target).sum()) for point in (towards, away)]
    assert hits[0] > hits[1]
    assert torch.equal(towards.reached, is_correct(towards.logits, target))
    # No clean image is passed off as a success: all of them were somewhere else before.
    clean = digits.inputs(slice(None))
    assert not is_correct(trained.logits(clean), target).any()
    assert ((towards.perturbed - clean).flatten(1).abs().amax(1)[towards.reached] > 0).all()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_noise_of_the_same_size_fools_far_less_than_one_step_along_the_gradient(
    norm: str, trained: Victim, digits: Images
) -> None:
    left = {}
    for attack in ("noise", "fgsm", "pgd"):
        (point,) = swept(Case(attack, norm), trained, digits, [2 * TRAINED_RADII[norm]])
        left[attack] = int(is_correct(point.logits, digits.labels).sum())
    assert left["noise"] > left["fgsm"] + 10
    assert left["fgsm"] >= left["pgd"]


@pytest.mark.parametrize("attack", ["noise", "pgd"])
def test_a_sweep_gives_the_same_answers_in_batches_of_any_size(
    attack: str, trained: Victim, digits: Images
) -> None:
    ways = [
        swept(Case(attack, "linf"), trained, digits, [0.05, 0.1], batch_size=size, restarts=2)
        for size in (7, 25, 60)
    ]
    for points in zip(*ways, strict=True):
        for other in points[1:]:
            # Sums of another batch size may differ in a last bit, which turns the sign of a
            # gradient that is all but zero.
            assert int((points[0].reached != other.reached).sum()) <= (
                0 if attack == "noise" else 1
            )
            if attack == "noise":
                assert torch.equal(points[0].perturbed, other.perturbed)
            else:
                assert (points[0].perturbed - other.perturbed).abs().gt(1e-4).float().mean() < 0.02
