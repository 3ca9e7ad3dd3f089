"""APGD and Square beside an independent implementation, and what is their own."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import mean, variance
from typing import Any

import pytest
import torch
import torchattacks
from torch import Tensor, nn

from advlab.attacks import apgd, hopskipjump, pgd, square
from advlab.attacks.apgd import checkpoints
from advlab.attacks.square import shrunk
from advlab.config.options.run import DataOptions
from advlab.data import load_images
from advlab.data.image_set import Images
from advlab.errors import UsageError
from advlab.metrics.classification import is_correct
from advlab.networks import checkpoint
from advlab.perturbation import geometry
from advlab.perturbation.goal import Goal
from advlab.perturbation.randomness import ImageRandom
from advlab.perturbation.sweep import Point, Tasks, sweep
from advlab.perturbation.victim import Victim


@pytest.fixture(scope="module")
def digits() -> Images:
    return load_images.load(DataOptions(dataset="digits")).test.select(torch.arange(100))


@pytest.fixture(scope="module")
def network(runs: Path) -> nn.Module:
    """An MLP, which is cheap; the scripts in benchmarks/ compare on convolutions."""
    return checkpoint.load(runs / "train" / "other")[0]


def under(module: Any, network: nn.Module, images: Images, **options: Any) -> Point:
    tasks = Tasks(images, torch.arange(len(images)), images.labels, targeted=False)
    (point,) = sweep(module.perturb, Victim(network), tasks, module.Options(**options))
    return point


def left(network: nn.Module, perturbed: Tensor, images: Images) -> int:
    with torch.no_grad():
        return int(is_correct(network(perturbed), images.labels).sum())


def test_the_steepest_pixels_move_and_no_others() -> None:
    gradient = torch.tensor([[3.0, -5.0, 0.5, 1.0], [0.0, 0.0, 0.0, 0.0]]).view(2, 1, 2, 2)
    step = apgd.steepest_pixels(gradient, torch.tensor([2.0, 1.0]))
    assert torch.equal(step[0].flatten(), torch.tensor([0.5, -0.5, 0.0, 0.0]))
    assert not step[1].any()


@pytest.mark.parametrize("loss", ["ce", "margin"])
def test_apgd_in_l1_finds_the_maximum_of_a_linear_network(loss: str) -> None:
    """There the best perturbation is known: the steepest pixels, each to the end of its box."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(2, 64, generator=generator, dtype=torch.float64)
    images = torch.rand(30, 1, 8, 8, generator=generator, dtype=torch.float64)
    linear = nn.Linear(64, 2, bias=False).double()
    network = nn.Sequential(nn.Flatten(), linear)
    with torch.no_grad():
        linear.weight.copy_(weight)
        labels = network(images).argmax(1)

    def margin(x: Tensor) -> Tensor:
        with torch.no_grad():
            gap: Tensor = linear(x.flatten(1)).diff(dim=1).squeeze(1)
        return gap * torch.where(labels == 0, 1, -1)

    slope = ((weight[1] - weight[0]) * torch.where(labels == 0, 1, -1)[:, None]).view_as(images)
    eps = 2.0
    best = margin(geometry.best_linear(images, slope, eps, 1.0))
    options = apgd.Options(norm="l1", eps=[eps], loss=loss, steps=100, surrogate="none, to the end")
    random = ImageRandom(0, torch.arange(len(images)))
    perturbed = apgd.perturb(Victim(network.eval()), images, Goal(labels), random, eps, options)
    assert ((perturbed - images).abs().flatten(1).sum(1) <= eps * (1 + 1e-9)).all()
    gained = (margin(perturbed) - margin(images)) / (best - margin(images))
    assert float(gained.min()) > 0.97


def test_apgd_in_l1_leaves_fewer_than_sparse_pgd(network: nn.Module, digits: Images) -> None:
    """At equal numbers of gradients, over radii and seeds together: single runs differ by a few
    images in either direction."""
    ours = theirs = 0
    for eps in (3.0, 5.0):
        for seed in (0, 1):
            given = {"norm": "l1", "eps": [eps], "steps": 25, "seed": seed}
            ours += left(network, under(apgd, network, digits, **given).perturbed, digits)
            theirs += left(network, under(pgd, network, digits, **given).perturbed, digits)
    assert 0 < theirs < 400, "the comparison must be able to fail"
    assert ours < theirs


# --- APGD -----------------------------------------------------------------------------------------
# Compared after 100 steps, where both have converged and round their checkpoints alike. In short
# runs the reference is ahead on negative losses: it does not count their first rise, and therefore
# halves its step sooner than published.
STEPS = 100
MARGIN = 5  # of 60 images; single runs of the reference differ by as many


@pytest.mark.parametrize("loss", ["ce", "dlr"])
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.08), ("l2", 1.0)])
def test_apgd_leaves_no_more_than_the_reference(
    loss: str, norm: str, eps: float, network: nn.Module, digits: Images
) -> None:
    some = digits.select(torch.arange(60))
    given: dict[str, Any] = {"loss": loss, "steps": STEPS, "seed": 0}
    perturbed = under(apgd, network, some, eps=[eps], norm=norm, **given).perturbed
    ours = left(network, perturbed, some)
    named = {"linf": "Linf", "l2": "L2"}[norm]
    reference = torchattacks.APGD(network, norm=named, eps=eps, **given)
    theirs = left(network, reference(some.inputs(slice(None)), some.labels), some)
    assert theirs < 60 - MARGIN, "the comparison must be able to fail"
    assert ours <= theirs + MARGIN


def test_apgd_towards_each_class_leaves_no_more_than_the_reference(
    network: nn.Module, digits: Images
) -> None:
    """Towards the three most likely other classes, where runs differ by one or two images."""
    some = digits.select(torch.arange(60))
    given: dict[str, Any] = {"loss": "dlr", "target_classes": 3, "steps": STEPS}
    ours = left(network, under(apgd, network, some, eps=[0.08], **given).perturbed, some)
    reference = torchattacks.APGDT(network, norm="Linf", eps=0.08, steps=STEPS, n_classes=4, seed=0)
    theirs = left(network, reference(some.inputs(slice(None)), some.labels), some)
    assert theirs < 60 - 4, "the comparison must be able to fail"
    assert ours <= theirs + 4


def test_progress_is_weighed_at_the_papers_points() -> None:
    """p_0 = 0, p_1 = 0.22, p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06), in steps of 100."""
    assert sorted(checkpoints(100)) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(1) == set()


class Slope(nn.Module):
    """Two classes, told apart by the mean of all pixels."""

    def forward(self, x: Tensor) -> Tensor:
        score = 40 * (x.flatten(1).mean(1) - 0.5)
        return torch.stack([score, -score, score * 0 - 99, score * 0 - 99], 1)


@pytest.mark.parametrize("loss", ["ce", "margin", "dlr"])
def test_apgd_reaches_the_far_end_of_the_ball_of_a_linear_network(loss: str) -> None:
    images = torch.full((3, 1, 6, 6), 0.9)
    goal = Goal(torch.zeros(3, dtype=torch.int64))
    options = apgd.Options(eps=[0.2], loss=loss, steps=20, surrogate="keeps going")
    perturbed = apgd.perturb(
        Victim(Slope().eval()), images, goal, ImageRandom(0, torch.arange(3)), 0.2, options
    )
    assert torch.allclose(perturbed, torch.full_like(images, 0.7), atol=2e-3)


def test_the_ratio_of_logits_needs_its_classes() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 3)).eval()
    given = (
        Victim(network),
        torch.rand(2, 1, 6, 6),
        Goal(torch.tensor([0, 1])),
        ImageRandom(0, torch.arange(2)),
        0.1,
    )
    apgd.perturb(*given, apgd.Options(loss="dlr", steps=1))
    with pytest.raises(UsageError, match="needs 4 classes, and the network has 3"):
        apgd.perturb(*given, apgd.Options(loss="dlr", steps=1, target_classes=2))


def test_the_ratio_of_logits_does_not_see_their_scale_and_is_the_naive_one() -> None:
    logits = torch.randn(20, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels, others = torch.arange(20) % 6, (torch.arange(20) + 2) % 6
    plain = Goal(labels).loss(logits, "dlr")
    towards = Goal(labels, others=others).loss(logits, "dlr")
    assert torch.allclose(plain, Goal(labels).loss(1000 * logits, "dlr"))
    for row, label, other, one, two in zip(logits, labels, others, plain, towards, strict=True):
        ordered = row.sort(descending=True).values
        best = max(float(value) for number, value in enumerate(row) if number != label)
        assert float(one) == pytest.approx(
            (best - float(row[label])) / float(ordered[0] - ordered[2])
        )
        wanted = float(row[other] - row[label]) / float(ordered[0] - (ordered[2] + ordered[3]) / 2)
        assert float(two) == pytest.approx(wanted)


# --- Square ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.15), ("l2", 2.0)])
def test_square_leaves_no_more_than_the_reference(
    norm: str, eps: float, network: nn.Module, digits: Images
) -> None:
    """Over several seeds, since both are random searches: within three standard errors of the
    difference of the means."""
    some, seeds = digits.select(torch.arange(40)), range(3)
    images, goal = some.inputs(slice(None)), Goal(some.labels)
    options = square.Options(norm=norm, queries=100)
    ours, theirs = [], []
    for seed in seeds:
        drawn = ImageRandom(seed, torch.arange(len(images)))
        ours.append(
            left(network, square.perturb(Victim(network), images, goal, drawn, eps, options), some)
        )
        reference = torchattacks.Square(
            network, norm={"linf": "Linf", "l2": "L2"}[norm], eps=eps, n_queries=100, seed=seed
        )
        theirs.append(left(network, reference(images, some.labels), some))
    assert mean(theirs) < 37, "the comparison must be able to fail"
    error = math.sqrt((variance(ours) + variance(theirs)) / len(seeds))
    assert mean(ours) <= mean(theirs) + 3 * error


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("share", [0.002, 0.1, 0.8])
def test_no_question_is_wasted_on_a_square_that_changes_nothing(
    channels: int, share: float
) -> None:
    """Where the image is at an end of its range, and where it is not; from stripes as from a single
    colour."""
    images = torch.rand((200, channels, 9, 9), generator=torch.Generator().manual_seed(0))
    images[:, :, :3], images[:, :, 6:] = 0, 1
    random = ImageRandom(0, torch.arange(200))
    walk = square._Stripes(0.1)
    up, down = (images + 0.1).clamp(0, 1), (images - 0.1).clamp(0, 1)
    for current in (walk.start(images, random), up, down):
        moved = walk.step(images, current, share, random)
        assert (moved != current).flatten(1).any(dim=1).all()
        assert (((moved - up).abs() < 1e-6) | ((moved - down).abs() < 1e-6)).all()


def test_squares_shrink_at_the_papers_points() -> None:
    shares = [
        shrunk(query, 10_000) for query in (0, 10, 11, 51, 201, 501, 1001, 2001, 4001, 6001, 8001)
    ]
    assert shares == [1, 1, *(0.5**n for n in range(1, 10))]
    assert shrunk(1, 1000) == shrunk(10, 10_000)


class Counting(Victim):
    """Counts the questions of each image, and answers no others."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network)
        self.asked = 0

    def logits(self, images: Tensor) -> Tensor:
        self.asked += len(images)
        return super().logits(images)

    def estimate(self, images: Tensor) -> Tensor:
        self.asked += len(images)
        return super().estimate(images)

    def gradient(self, *given: Any) -> Any:
        raise AssertionError("a black box has no gradients")

    def gradient_of(self, *given: Any) -> Any:
        raise AssertionError("a black box has no gradients")


@pytest.mark.parametrize(
    ("module", "norm"),
    [(square, "linf"), (square, "l2"), (square, "l1"), (hopskipjump, "linf"), (hopskipjump, "l2")],
)
def test_black_boxes_ask_no_more_than_they_may_and_never_for_gradients(
    module: Any, norm: str
) -> None:
    """On a network that nothing fools; a confirmation in the network's own arithmetic may come on
    top."""

    class Firm(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tensor([[1.0, 0.0]]).expand(len(x), 2) + 0 * x.flatten(1)[:, :2]

    victim = Counting(Firm().eval())
    images = torch.rand(4, 1, 8, 8)
    goal = Goal(torch.zeros(4, dtype=torch.int64))
    options = module.Options(norm=norm, queries=60)
    perturbed = module.perturb(victim, images, goal, ImageRandom(0, torch.arange(4)), 0.1, options)
    assert victim.asked <= 4 * 60
    if module is hopskipjump:
        assert torch.equal(perturbed, images), (
            "where nothing was found the image comes back as it was"
        )


# --- HopSkipJump ----------------------------------------------------------------------------------
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_hops_get_nearer_the_more_answers_they_may_ask_for(
    norm: str, digits: Images, runs: Path
) -> None:
    network = checkpoint.load(runs / "train" / "other")[0]
    few = digits.select(torch.arange(25))
    eps = {"linf": [0.06, 0.12, 0.25], "l2": [1.0, 2.0, 3.5]}[norm]
    tasks = Tasks(few, torch.arange(25), few.labels, targeted=False)
    counts = []
    for queries in (150, 800):
        points = sweep(
            hopskipjump.perturb,
            Victim(network),
            tasks,
            hopskipjump.Options(norm=norm, eps=eps, queries=queries),
        )
        counts.append([int(point.reached.sum()) for point in points])
    assert all(many >= some for some, many in zip(*counts, strict=True))
    assert sum(counts[1]) > sum(counts[0]) + 5
    assert counts[1][-1] >= 20


def test_only_answers_are_seen(digits: Images, runs: Path) -> None:
    """One-hot answers in place of logits give the same images, bit for bit."""
    network = checkpoint.load(runs / "train" / "other")[0]

    class Answers(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.one_hot(network(x).argmax(1), 10).float()

    few = digits.select(torch.arange(8))
    given = (
        few.inputs(slice(None)),
        Goal(few.labels),
        ImageRandom(0, torch.arange(8)),
        3.0,
        hopskipjump.Options(norm="l2", queries=400),
    )
    whole = hopskipjump.perturb(Victim(network), *given)
    assert torch.equal(
        whole,
        hopskipjump.perturb(
            Victim(Answers().eval()), *given[:2], ImageRandom(0, torch.arange(8)), *given[3:]
        ),
    )
    assert not torch.equal(whole, given[0])
