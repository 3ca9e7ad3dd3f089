"""What every attack owes: its ball, its range, its seed, its dtype, one answer whatever the batch, and the network left as it was."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from advlab import names
from advlab.config.base import Options
from advlab.metrics.classification import is_correct
from advlab.perturbation.goal import Goal
from advlab.perturbation.randomness import ImageRandom
from advlab.perturbation.victim import Victim

ATTACKS = names.modules_in("advlab.attacks")
RADII = {"linf": 0.15, "l2": 1.5, "l1": 12.0, "l3": 0.9, "l1.5": 3.0}
EXPONENTS = {"linf": math.inf, "l2": 2.0, "l1": 1.0, "l3": 3.0, "l1.5": 1.5}


@dataclass(frozen=True)
class Case:
    """An attack in one of its norms."""

    attack: str
    norm: str

    def options(self, **changes: Any) -> Options:
        kind: type[Options] = names.load("advlab.attacks", self.attack, "attack").Options
        given: dict[str, Any] = {"norm": self.norm} if "norm" in kind.model_fields else {"p": EXPONENTS[self.norm]}
        if "steps" in kind.model_fields:
            given["steps"] = 8
        return kind(**{**given, **changes})

    def perturb(
        self, victim: Victim, images: Tensor, goal: Goal, eps: float, seed: int = 0, ids: Tensor | None = None, **changes: Any
    ) -> Tensor:
        random = ImageRandom(seed, torch.arange(len(images)) if ids is None else ids)
        attack = names.load("advlab.attacks", self.attack, "attack").perturb
        perturbed: Tensor = attack(victim, images, goal, random, eps, self.options(**changes))
        return perturbed


def cases() -> Iterator[Case]:
    for attack in ATTACKS:
        fields = names.load("advlab.attacks", attack, "attack").Options.model_fields
        for norm in ["linf", "l2", "l1"] if "norm" in fields else [*RADII]:
            yield Case(attack, norm)


CASES = list(cases())
each = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.attack}-{case.norm}")


def network(seed: int = 0, dropout: float = 0.0) -> nn.Sequential:
    """Small, with weights as they are drawn: nothing here depends on what a network has learnt."""
    torch.manual_seed(seed)
    layers = [nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(dropout), nn.Flatten(), nn.Linear(4 * 64, 5)]
    return nn.Sequential(*layers).eval()


@pytest.fixture
def images() -> Tensor:
    """With pixels at both ends of the range, as byte levels."""
    torch.manual_seed(1)
    return ((torch.rand(12, 1, 8, 8) * 1.6 - 0.3).clamp(0, 1) * 255).round() / 255


@pytest.fixture
def labels(images: Tensor) -> Tensor:
    """What the network says of them, so that each must be turned."""
    with torch.no_grad():
        return network()(images).argmax(1)  # type: ignore[no-any-return]


def test_the_attacks_are_found() -> None:
    assert {"fgsm", "pgd", "lp", "noise"} <= set(ATTACKS)


@each
@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("quantize", [False, True])
def test_images_stay_in_the_ball_and_in_the_range(case: Case, targeted: bool, quantize: bool, images: Tensor, labels: Tensor) -> None:
    goal = Goal((labels + 1) % 5 if targeted else labels, targeted)
    for eps in (RADII[case.norm] / 30, RADII[case.norm], 3 * RADII[case.norm]):
        perturbed = case.perturb(Victim(network()), images, goal, eps, quantize=quantize)
        assert perturbed.shape == images.shape
        assert perturbed.dtype == torch.float32
        assert not perturbed.isnan().any()
        assert perturbed.min() >= 0
        assert perturbed.max() <= 1
        size = torch.linalg.vector_norm((perturbed.double() - images.double()).flatten(1), ord=EXPONENTS[case.norm], dim=1)
        assert (size <= eps * (1 + 1e-5) + 1e-6).all()
        if quantize:
            assert torch.equal(perturbed, (perturbed * 255).round() / 255)


@each
def test_eps_zero_changes_nothing(case: Case, images: Tensor, labels: Tensor) -> None:
    assert torch.equal(case.perturb(Victim(network()), images, Goal(labels), 0.0), images)


@each
def test_an_attack_with_room_moves_the_images_and_leaves_its_input_alone(case: Case, images: Tensor, labels: Tensor) -> None:
    before = images.clone()
    perturbed = case.perturb(Victim(network()), images, Goal(labels), RADII[case.norm])
    assert torch.equal(images, before)
    assert ((perturbed - images).flatten(1).abs().amax(1) > 0).all()


@each
def test_the_same_seed_gives_the_same_bits_and_torchs_own_stream_is_not_touched(case: Case, images: Tensor, labels: Tensor) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = case.perturb(Victim(network()), images, Goal(labels), RADII[case.norm])
    torch.manual_seed(5)
    victim = Victim(network())
    torch.manual_seed(5)
    torch.rand(100)
    again = case.perturb(victim, images, Goal(labels), RADII[case.norm])
    assert torch.equal(first, again)
    torch.manual_seed(5)
    case.perturb(victim, images, Goal(labels), RADII[case.norm])
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("case", [case for case in CASES if case.attack in ("noise", "pgd")], ids=lambda case: f"{case.attack}-{case.norm}")
def test_another_seed_gives_other_images(case: Case, images: Tensor, labels: Tensor) -> None:
    ways = [case.perturb(Victim(network()), images, Goal(labels), RADII[case.norm] / 30, seed=seed) for seed in (0, 1)]
    assert not torch.equal(*ways)


@each
def test_an_image_gets_the_same_perturbation_in_any_batch(case: Case, images: Tensor, labels: Tensor) -> None:
    """Alone, in a batch, and in another order. Sums of another batch size may differ in a last bit, hence float64."""
    victim = Victim(network().double())
    wide = images.double()
    together = case.perturb(victim, wide, Goal(labels), RADII[case.norm])
    assert together.dtype == torch.float64
    order = torch.randperm(len(wide), generator=torch.Generator().manual_seed(0))
    shuffled = case.perturb(victim, wide[order], Goal(labels[order]), RADII[case.norm], ids=order)
    assert torch.allclose(shuffled, together[order], rtol=0, atol=1e-9)
    for index in range(0, len(wide), 5):
        one = torch.tensor([index])
        alone = case.perturb(victim, wide[one], Goal(labels[one]), RADII[case.norm], ids=one)
        assert torch.allclose(alone, together[one], rtol=0, atol=1e-9)


@each
def test_the_network_is_left_as_it_was(case: Case, images: Tensor, labels: Tensor) -> None:
    model = network(dropout=0.5)
    frozen = next(model.parameters())
    frozen.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    case.perturb(Victim(model), images, Goal(labels), RADII[case.norm])
    assert not any(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert [parameter.requires_grad for parameter in model.parameters()] == [False, True, True, True, True, True]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(hook for module in model.modules() for hook in (module._forward_hooks, module._backward_hooks))


def test_a_network_in_training_mode_is_refused_and_not_switched() -> None:
    model = network(dropout=0.5)
    model[3].train()
    with pytest.raises(ValueError, match=r"training mode \(3\)"):
        Victim(model)
    assert model[3].training


@each
def test_images_that_reach_the_goal_at_once_are_left_as_they_are_or_stay_there(case: Case, images: Tensor, labels: Tensor) -> None:
    """Nothing that fools the network already may come out not fooling it."""
    wrong = (labels + 1) % 5
    victim = Victim(network())
    perturbed = case.perturb(victim, images, Goal(wrong), RADII[case.norm])
    if case.attack != "fgsm":  # a single step whose direction is away from a class that is not predicted anyway
        assert not is_correct(victim.logits(perturbed), wrong).any()


@pytest.mark.parametrize("case", [case for case in CASES if case.attack != "noise"], ids=lambda case: f"{case.attack}-{case.norm}")
def test_target_and_label_are_not_confused(case: Case, images: Tensor, labels: Tensor) -> None:
    """Untargeted, the label's probability falls; targeted, the target's rises; on every image, in small balls."""
    victim, eps = Victim(network().double()), RADII[case.norm] / 30
    wide = images.double()
    for targeted, classes in ((False, labels), (True, (labels + 2) % 5)):
        perturbed = case.perturb(victim, wide, Goal(classes, targeted), eps)
        change = (victim.logits(perturbed).log_softmax(1) - victim.logits(wide).log_softmax(1)).gather(1, classes[:, None]).squeeze(1)
        assert (change > 0).all() if targeted else (change < 0).all()


def test_a_direction_is_worth_more_than_noise(images: Tensor, labels: Tensor) -> None:
    """The control: random signs of the same size lower the label's probability far less."""
    victim, eps = Victim(network()), 0.05
    fall = {}
    for attack in ("fgsm", "noise"):
        perturbed = Case(attack, "linf").perturb(victim, images, Goal(labels), eps)
        own = [victim.logits(x).softmax(1).gather(1, labels[:, None]).mean() for x in (images, perturbed)]
        fall[attack] = float(own[0] - own[1])
    assert fall["fgsm"] > 5 * abs(fall["noise"])


def test_more_restarts_never_leave_more_images_right(images: Tensor, labels: Tensor) -> None:
    victim = Victim(network())
    left = []
    for restarts in (1, 4, 16):
        perturbed = Case("noise", "linf").perturb(victim, images, Goal(labels), 0.2, restarts=restarts)
        left.append(int(is_correct(victim.logits(perturbed), labels).sum()))
    assert left == sorted(left, reverse=True)


def test_gradients_that_float32_would_lose_are_found() -> None:
    """A network so sure of itself that its float32 probability is 1 and its gradient 0 still has a direction to attack."""
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
    """bf16 gives directions; whatever leaves early as fooled is fooled in the network's own float32."""
    from advlab.runs.machine import Machine

    victim = Victim(network(), Machine(torch.device("cpu"), "bf16"))
    own = network()
    perturbed = Case("pgd", "linf").perturb(victim, images, Goal(labels), 0.2, steps=20)
    with torch.no_grad():
        assert torch.allclose(victim.logits(images), own(images), rtol=0, atol=1e-5)  # in bf16 it would be 1e-2
        left = is_correct(own(perturbed), labels)
    exact = Case("pgd", "linf").perturb(Victim(network()), images, Goal(labels), 0.2, steps=20)
    assert int(left.sum()) <= int(is_correct(own(exact), labels).sum()) + 1
