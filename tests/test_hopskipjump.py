"""HopSkipJump beside an independent implementation, and what it may see, ask and draw."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from foolbox.attacks.hop_skip_jump import HopSkipJumpAttack
from foolbox.models.pytorch import PyTorchModel
from torch import Tensor, nn
from watched import Watched

from advlab.attacks import hopskipjump
from advlab.config.options.run import DataOptions
from advlab.data import load_images
from advlab.networks import checkpoint
from advlab.perturbation.geometry import P, norm
from advlab.perturbation.goal import Goal
from advlab.perturbation.randomness import ImageRandom
from advlab.perturbation.victim import Victim

NORMS = ["linf", "l2"]
REACHABLE = {"linf": 0.2, "l2": 2.5}
"""Radii that a few hundred questions reach for some of the digits, and not for others."""


@pytest.fixture(scope="module")
def network(runs: Path) -> nn.Module:
    return checkpoint.load(runs / "train" / "other")[0]


@pytest.fixture(scope="module")
def digits(network: nn.Module) -> tuple[Tensor, Tensor]:
    """Twenty images that the network has right, and their labels."""
    test = load_images.load(DataOptions(dataset="digits")).test
    images, labels = test.inputs(slice(0, 40)), test.labels[:40]
    with torch.no_grad():
        right = (network(images).argmax(1) == labels).nonzero().squeeze(1)[:20]
    return images[right], labels[right]


def attack(
    victim: Victim,
    images: Tensor,
    goal: Goal,
    eps: float,
    ids: Tensor | None = None,
    **options: Any,
) -> Tensor:
    random = ImageRandom(0, torch.arange(len(images)) if ids is None else ids)
    return hopskipjump.perturb(
        victim, images, goal, random, eps, hopskipjump.Options.model_validate(options)
    )


class Halves(nn.Module):
    """Class 0 where the left half of an image is no brighter than the right by ``lead``, else class
    1."""

    def __init__(self, lead: float) -> None:
        super().__init__()
        self.lead = lead

    def forward(self, x: Tensor) -> Tensor:
        half = x.shape[3] // 2
        more = x[..., :half].flatten(1).mean(1) - x[..., half:].flatten(1).mean(1) - self.lead
        return torch.stack([-more, more], 1)


class Stopped(Exception):
    """The reference has asked what it may."""


class Reference(nn.Module):
    """The network, which keeps how near to ``image`` (1, C, H, W) the nearest success was that it
    was asked about."""

    def __init__(
        self, network: nn.Module, image: Tensor, label: Tensor, p: float, queries: int
    ) -> None:
        super().__init__()
        self.network, self.image, self.label, self.p, self.left = network, image, label, p, queries
        self.nearest = torch.inf

    def forward(self, x: Tensor) -> Tensor:
        assert len(x) == 1
        if self.left == 0:
            raise Stopped
        self.left -= 1
        logits: Tensor = self.network(x)
        if int(logits.argmax()) != int(self.label):
            self.nearest = min(self.nearest, float(norm(x - self.image, self.p)))
        return logits


def foolboxs(
    network: nn.Module, images: Tensor, labels: Tensor, which: Literal["linf", "l2"], queries: int
) -> Tensor:
    """Its distances (N,), of one image at a time: in a batch it divides each direction by the
    length of all of them."""
    torch.manual_seed(0)
    distances = []
    for image, label in zip(images.split(1), labels.split(1), strict=True):
        reference = Reference(network, image, label, P[which], queries).eval()
        with pytest.raises(Stopped):
            HopSkipJumpAttack(constraint=which).run(
                PyTorchModel(reference, bounds=(0, 1), device="cpu"), image, label
            )
        distances.append(reference.nearest)
    return torch.tensor(distances)


@pytest.mark.parametrize("which", NORMS)
def test_the_median_distance_is_near_the_references_or_below(
    which: Literal["linf", "l2"], network: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    """Where half of the images fall within 1.1 of its median, the median of what is needed is 1.1
    of its own at the most."""
    images, labels = digits
    median = float(foolboxs(network, images, labels, which, 500).quantile(0.5))
    fallen = {}
    for factor in (0.5, 1.1, 2.0):
        found = attack(
            Victim(network), images, Goal(labels), factor * median, norm=which, queries=500
        )
        assert (norm(found - images, P[which]) <= factor * median * (1 + 1e-5)).all()
        fallen[factor] = int(Goal(labels).reached(network(found)).sum())
    assert fallen[0.5] < 10, "the comparison must be able to fail"
    assert fallen[1.1] >= 10
    assert fallen[2.0] >= 18


@pytest.mark.parametrize("which", NORMS)
@pytest.mark.parametrize("targeted", [False, True])
def test_on_a_linear_network_it_comes_near_the_least_distance(which: str, targeted: bool) -> None:
    """The margin is a mean over two halves of 18 pixels: the plane is lead / 2 away in L∞, and lead
    · √36 / 2 in L2."""
    images, lead = torch.full((6, 1, 6, 6), 0.5), 0.3
    goal = (
        Goal(torch.ones(6, dtype=torch.int64), True)
        if targeted
        else Goal(torch.zeros(6, dtype=torch.int64))
    )
    least = lead / 2 if which == "linf" else lead * 3
    near, far = (
        attack(Victim(Halves(lead).eval()), images, goal, share * least, norm=which)
        for share in (1.1, 0.99)
    )
    assert goal.reached(Halves(lead)(near)).all()
    assert torch.equal(far, images), "nothing is nearer, and what is farther than eps is not kept"


@pytest.mark.parametrize("which", NORMS)
@pytest.mark.parametrize("queries", [1, 2, 30, 137, 250])
@pytest.mark.parametrize("lead", [0.3, 5.0], ids=["a boundary", "no way out"])
def test_each_image_asks_what_it_may_and_no_more(which: str, queries: int, lead: float) -> None:
    """One by one; and together, where each has its own allowance, as many as all of them."""
    images, eps = torch.rand(4, 1, 6, 6, generator=torch.Generator().manual_seed(0)) * 0.1, 1e-6
    goal, apart = Goal(torch.zeros(4, dtype=torch.int64)), []
    for number in range(4):
        alone = Watched(Halves(lead).eval())
        one = torch.tensor([number])
        attack(alone, images[one], goal.select(one), eps, ids=one, norm=which, queries=queries)
        assert alone.asked <= queries
        apart.append(alone.asked)
    together = Watched(Halves(lead).eval())
    attack(together, images, goal, eps, norm=which, queries=queries)
    assert together.asked == sum(apart)
    if lead == 0.3 and queries == 250:
        assert min(apart) > 0.95 * queries, "it makes use of them"


@pytest.mark.parametrize("which", NORMS)
def test_only_answers_are_seen_and_never_a_gradient(
    which: str, network: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    """One-hot answers in place of logits give the same images, bit for bit.

    Two logits can be equal to the last bit at a boundary that was approached by halving. Both are
    then marked, since a tie counts against the network.
    """

    class Answers(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            logits = network(x)
            marked: Tensor = logits == logits.amax(1, keepdim=True)
            return marked.float()

    images, labels = digits
    given = images, Goal(labels), REACHABLE[which]
    found = [
        attack(Watched(kind), *given, norm=which, queries=400)
        for kind in (network, Answers().eval())
    ]
    assert torch.equal(*found)
    assert not torch.equal(found[0], images)


@pytest.mark.parametrize("which", NORMS)
@pytest.mark.parametrize("targeted", [False, True])
def test_an_image_gets_the_same_answer_in_any_batch_and_again(
    which: str, targeted: bool, network: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    """Though some starts are found later than others, or never, and some images leave sooner."""
    images, labels = digits
    goal, eps, ids = (
        Goal((labels + 4) % 10 if targeted else labels, targeted),
        1.5 * REACHABLE[which],
        torch.arange(20),
    )
    # In float64, since sums over another batch size differ in a last bit, on which an answer at the
    # boundary may hang.
    victim, images = Victim(network.double()), images.double()
    try:
        together = attack(victim, images, goal, eps, norm=which, queries=300)
        assert torch.equal(together, attack(victim, images, goal, eps, norm=which, queries=300))
        moved = (together != images).flatten(1).any(1)
        assert 0 < moved.sum() < 20 or not targeted, "the comparison must be able to fail"
        for part in ids.flip(0).split(7):
            apart = attack(
                victim, images[part], goal.select(part), eps, ids=part, norm=which, queries=300
            )
            assert torch.allclose(apart, together[part], rtol=0, atol=1e-9)
    finally:
        network.float()


@pytest.mark.parametrize("which", NORMS)
def test_bytes_reach_the_goal_within_the_ball_or_the_image_is_left_alone(
    which: str, network: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    images, labels = digits
    images, eps = (images * 255).round() / 255, REACHABLE[which]
    found = attack(
        Victim(network), images, Goal(labels), eps, norm=which, queries=500, quantize=True
    )
    assert torch.equal(found, (found * 255).round() / 255)
    assert (norm(found - images, P[which]) <= eps * (1 + 1e-5)).all()
    reached = Goal(labels).reached(network(found))
    assert torch.equal(reached, (found != images).flatten(1).any(1))
    assert reached.sum() >= 5


@pytest.mark.parametrize("which", NORMS)
@pytest.mark.parametrize(
    ("shape", "least"),
    [((1, 2, 2), 60), ((3, 1, 4), 60), ((2, 5, 3), 60), ((3, 40, 33), 1)],
    ids=str,
)
def test_any_shape(which: str, shape: tuple[int, int, int], least: int) -> None:
    """Thousands of pixels are a long way for so few questions; the start alone gets some of the
    images there."""
    images = torch.full((70, *shape), 0.5)
    goal, victim = Goal(torch.zeros(70, dtype=torch.int64)), Watched(Halves(0.1).eval())
    eps = 0.15 if which == "linf" else 0.15 * images[0].numel() ** 0.5
    found = attack(victim, images, goal, eps, norm=which, queries=200)
    assert goal.reached(Halves(0.1)(found)).sum() >= least


def test_passes_are_bounded() -> None:
    """Seventy images with a hundred votes each are two passes."""
    victim = Watched(Halves(0.1).eval())
    attack(
        victim,
        torch.full((70, 1, 4, 4), 0.5),
        Goal(torch.zeros(70, dtype=torch.int64)),
        1e-6,
        norm="l2",
        queries=300,
    )
    assert victim.largest == 4096


def test_an_image_at_its_goal_is_left_alone_and_asked_about_once() -> None:
    images, victim = torch.rand(5, 1, 4, 4), Watched(Halves(-5.0).eval())
    assert torch.equal(attack(victim, images, Goal(torch.zeros(5, dtype=torch.int64)), 0.3), images)
    assert victim.asked == 5
