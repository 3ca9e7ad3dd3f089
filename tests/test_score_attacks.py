"""SimBA, SPSA and NES beside naive loops, closed forms and an independent implementation."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torchattacks
from torch import Tensor, nn
from watched import Watched

from advlab.attacks import nes, simba, spsa
from advlab.config.options.run import DataOptions
from advlab.data import load_images
from advlab.networks import checkpoint
from advlab.perturbation.frequencies import cosines
from advlab.perturbation.goal import Goal
from advlab.perturbation.randomness import ImageRandom
from advlab.perturbation.victim import Victim

CASES = [
    (simba, {"norm": "l2"}),
    (simba, {"norm": "linf", "basis": "dct"}),
    (spsa, {"samples": 5}),
    (nes, {"norm": "linf", "samples": 5}),
    (nes, {"norm": "l2", "samples": 5}),
]
each = pytest.mark.parametrize(("module", "options"), CASES)


def curved(bias: float = 0.0) -> nn.Module:
    """A small network that is not linear, in float64; a large bias makes it firm on class 0."""
    torch.manual_seed(0)
    layers = [nn.Flatten(), nn.Linear(30, 12), nn.Tanh(), nn.Linear(12, 3)]
    model = nn.Sequential(*layers).double().eval()
    with torch.no_grad():
        layers[-1].bias[0] += bias  # type: ignore[index,operator]
    return model


def made(count: int = 4) -> Tensor:
    """Images (N, 1, 5, 6) with a quarter of their pixels at each end of the range."""
    drawn = torch.rand(count, 1, 5, 6, generator=torch.Generator().manual_seed(1))
    return (2 * drawn.double() - 0.5).clamp(0, 1)


def source(count: int) -> ImageRandom:
    return ImageRandom(0, torch.arange(count))


def run(
    module: Any, victim: Victim, images: Tensor, goal: Goal, eps: float, **given: Any
) -> Tensor:
    options = module.Options.model_validate(given)
    perturbed: Tensor = module.perturb(victim, images, goal, source(len(images)), eps, options)
    return perturbed


@each
@pytest.mark.parametrize("queries", [1, 2, 3, 4, 12, 13, 60])
def test_a_firm_network_is_asked_exactly_as_often_as_allowed(
    module: Any, options: dict[str, Any], queries: int
) -> None:
    """SPSA and NES ask in pairs and once for each image made: what is left over is no more than
    one."""
    victim, images = Watched(curved(bias=1000.0)), made()
    goal = Goal(torch.zeros(4, dtype=torch.int64))
    run(module, victim, images, goal, 0.1, queries=queries, **options)
    expected = queries
    if module is not simba:
        # 11 queries for each full step after the first query; the last step takes an odd number.
        rest = (queries - 1) % 11
        expected -= rest if rest < 3 else (rest + 1) % 2
    assert victim.asked == 4 * expected
    assert queries - expected <= 2


@each
def test_an_image_at_its_goal_is_asked_about_once_and_left_alone(
    module: Any, options: dict[str, Any]
) -> None:
    victim, images = Watched(curved(bias=1000.0)), made()
    perturbed = run(module, victim, images, Goal(torch.ones(4, dtype=torch.int64)), 0.1, **options)
    assert victim.asked == 4
    assert torch.equal(perturbed, images)


@each
def test_images_for_another_network_take_all_queries_whatever_they_reach(
    module: Any, options: dict[str, Any]
) -> None:
    victim, images = Watched(curved(bias=1000.0)), made()
    goal = Goal(torch.ones(4, dtype=torch.int64))
    given = {**options, "surrogate": "another", "queries": 41}
    moved = run(module, victim, images, goal, 0.1, **given)
    assert victim.asked >= 4 * 40
    assert (moved != images).flatten(1).any(1).all()


# --- SimBA ----------------------------------------------------------------------------------------
def waves(side: int) -> Tensor:
    """The inverse transform of each unit vector, from the transform's definition."""
    matrix = torch.tensor(
        [
            [math.cos(math.pi * u * (2 * i + 1) / (2 * side)) for i in range(side)]
            for u in range(side)
        ],
        dtype=torch.float64,
    )
    unit: Tensor = matrix / torch.linalg.vector_norm(matrix, dim=1, keepdim=True)
    return unit


def naive_simba(
    model: nn.Module,
    image: Tensor,
    goal: Goal,
    directions: list[Tensor],
    eps: float,
    size: float,
    queries: int,
    l2: bool,
) -> tuple[Tensor, list[int]]:
    """The algorithm of the paper for one image (1, C, H, W), and the signed numbers of the
    accepted directions, counted from 1."""

    def probability(x: Tensor) -> float:
        return float(model(x).softmax(1)[0, goal.classes[0]])

    sense = 1 if goal.targeted else -1
    accepted: list[int] = []
    x, asked = image.clone(), 1
    best = probability(x)
    while True:
        before = len(accepted)
        for number, q in enumerate(directions, 1):
            for sign in (1, -1):
                r = x + sign * size * q - image
                r = r * min(1.0, eps / float(r.norm())) if l2 else r.clamp(-eps, eps)
                candidate = (image + r).clamp(0, 1)
                if float((candidate - x).abs().max()) <= 1e-4 * size:
                    continue
                if asked == queries:
                    return x, accepted
                asked += 1
                here = probability(candidate)
                if sense * here > sense * best or bool(goal.reached(model(candidate))):
                    x, best = candidate, here
                    accepted.append(sign * number)
                    if bool(goal.reached(model(x))):
                        return x, accepted
                    break
        if len(accepted) == before:
            return x, accepted


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("basis", ["pixel", "dct"])
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_simba_takes_the_steps_of_the_naive_algorithm(
    norm: str, basis: str, targeted: bool
) -> None:
    model, images, eps, size = curved(), made(6), 0.3, 0.1
    label = model(images).argmax(1)
    goal = Goal((label + 1) % 3 if targeted else label, targeted)
    given = {"norm": norm, "basis": basis, "step_size": size, "queries": 150}
    some = {"low_frequencies": 0.4} if basis == "dct" else {}
    options = simba.Options.model_validate({**given, **some})
    with torch.no_grad():
        ours = simba.perturb(Victim(model), images, goal, source(6), eps, options)
        order = simba._Basis(images, source(6), options).order
        taken = 0
        for n in range(6):
            q = [
                torch.outer(waves(5)[k // 6], waves(6)[k % 6])
                if basis == "dct"
                else torch.eye(30, dtype=torch.float64)[k].view(5, 6)
                for k in order[n].tolist()
            ]
            if norm == "linf":
                q = [wave / wave.abs().max() for wave in q]
            one = torch.tensor([n])
            theirs, accepted = naive_simba(
                model, images[one], goal.select(one), q, eps, size, 150, norm == "l2"
            )
            assert torch.allclose(ours[one], theirs, rtol=0, atol=1e-9)
            taken += len(accepted)
    assert taken > 30, "the comparison must be able to fail"


def test_the_cosine_transform_is_orthonormal_and_starts_with_the_mean() -> None:
    for side in (1, 5, 28):
        matrix = cosines(side)
        assert torch.allclose(matrix @ matrix.T, torch.eye(side).double(), rtol=0, atol=1e-12)
        assert torch.allclose(matrix, waves(side), rtol=0, atol=1e-12)
        assert (matrix[0] - 1 / math.sqrt(side)).abs().max() < 1e-12


def test_low_frequencies_come_first_and_then_a_thirty_second_more_at_a_time() -> None:
    images = torch.zeros(3, 2, 32, 32)
    options = simba.Options(basis="dct", low_frequencies=0.125)
    order = simba._Basis(images, source(3), options).order
    for row in order:
        assert sorted(row.tolist()) == list(range(2 * 32 * 32))
        highest = torch.maximum(row // 32 % 32, row % 32)
        assert (highest[: 2 * 16] < 4).all()
        assert (highest[2 * 16 : 2 * 25] == 4).all()
        assert (highest[-2 * 63 :] == 31).all()
    assert not torch.equal(order[0], order[1])


# --- estimates of gradients -----------------------------------------------------------------------
ESTIMATES = [(spsa, 0.01), (nes, 0.001)]


@pytest.mark.parametrize(("module", "size"), ESTIMATES)
def test_an_estimate_is_the_naive_loops(module: Any, size: float) -> None:
    """More pairs than are drawn at a time, with pixels at both ends of the range."""
    model, images, pairs = curved(), made(3), 700
    goal = Goal(model(images).argmax(1))
    with torch.no_grad():
        ours = module.estimate(Victim(model), images, goal, source(3), "margin", size, pairs)
        random, expected, done = source(3), torch.zeros_like(images), 0
        while done < pairs:
            some = min(2**14 // 30, pairs - done)
            drawn = random.signs if module is spsa else random.normal
            directions = drawn((some, 1, 5, 6)).double()
            for n in range(3):
                one, x = torch.tensor([n]), images[n : n + 1]
                for v in directions[n]:
                    centre = x.clamp(size, 1 - size) if module is spsa else x
                    above, below = (centre + s * size * v for s in (1, -1))
                    above, below = above.clamp(0, 1), below.clamp(0, 1)
                    rise = sum(
                        s * goal.select(one).loss(model(y), "margin")
                        for s, y in ((1, above), (-1, below))
                    )
                    left = v if module is spsa else (above - below)[0] / (2 * size)
                    expected[n] += rise / (2 * size) * left / pairs
            done += some
    assert torch.allclose(ours, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("module", "size"), ESTIMATES)
def test_on_a_linear_network_an_estimate_comes_near_the_gradient(module: Any, size: float) -> None:
    """Of d dimensions and K pairs the expected squared cosine is about K / (K + d): 0.98 here. The
    estimate is unbiased, so its length along the gradient is the gradient's, within 5 %."""
    torch.manual_seed(0)
    layer = nn.Linear(30, 3)
    model = nn.Sequential(nn.Flatten(), layer).double().eval()
    weight = layer.weight.detach()
    images = made(5).clamp(0.2, 0.8)
    goal = Goal(torch.zeros(5, dtype=torch.int64))
    rival = model(images)[:, 1:].argmax(1) + 1
    true = weight[rival] - weight[0]
    found = {}
    for pairs in (30, 2000):
        estimated = module.estimate(
            Victim(model), images, goal, source(5), "margin", size, pairs
        ).flatten(1)
        found[pairs] = torch.cosine_similarity(estimated, true)
    assert (found[2000] > 0.98).all()
    assert found[30].mean() == pytest.approx(math.sqrt(0.5), abs=0.12)
    along = (estimated * true).sum(1) / (true**2).sum(1)
    assert (along - 1).abs().max() < 0.05 * math.sqrt(2) + 0.05


def test_the_steps_of_spsa_are_those_of_torchs_adam() -> None:
    model, images, eps = curved(bias=1000.0), made(3), 0.05
    goal = Goal(torch.zeros(3, dtype=torch.int64))
    ours = run(spsa, Victim(model), images, goal, eps, queries=1 + 4 * 11, samples=5, lr=0.02)
    random, x = source(3), images.clone().requires_grad_(True)
    adam = torch.optim.Adam([x], lr=0.02, maximize=True)
    for _ in range(4):
        x.grad = spsa.estimate(Victim(model), x.detach(), goal, random, "margin", 0.01, 5)
        adam.step()
        with torch.no_grad():
            x.copy_((images + (x - images).clamp(-eps, eps)).clamp(0, 1))
    assert torch.allclose(ours, x.detach(), rtol=0, atol=1e-9)
    assert (ours != images).any()


# --- on trained digits ----------------------------------------------------------------------------
@pytest.fixture(scope="module")
def trained(runs: Path) -> nn.Module:
    return checkpoint.load(runs / "train" / "small")[0]


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    test = load_images.load(DataOptions(dataset="digits")).test
    return test.inputs(slice(0, 40)), test.labels[:40]


def left(network: nn.Module, images: Tensor, labels: Tensor) -> int:
    with torch.no_grad():
        return int((network(images).argmax(1) == labels).sum())


def test_spsa_leaves_no_more_than_the_reference(
    trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    """Nine steps of 16 pairs at equal rates; the reference draws one vector for all images of a
    batch, and ours spends a query more at each step. Within 3 of 40 images, which is above the
    standard deviation of such a count."""
    images, labels = digits
    torch.manual_seed(0)
    attack = torchattacks.SPSA(
        trained, eps=0.2, delta=0.01, lr=0.05, nb_iter=9, nb_sample=16, max_batch_size=16
    )
    theirs = left(trained, attack(images, labels), labels)
    ours = run(
        spsa, Victim(trained), images, Goal(labels), 0.2, queries=1 + 9 * 33, samples=16, lr=0.05
    )
    assert 3 < theirs < 37, "the comparison must be able to fail"
    assert left(trained, ours, labels) <= theirs + 3


def test_nes_leaves_no_more_than_a_naive_loop(
    trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    """Antithetic samples and sign steps, one image after another, from torch's own generator;
    within 3 of 20 images."""
    images, labels = digits[0][:20], digits[1][:20]
    generator, fallen, eps = torch.Generator().manual_seed(0), 0, 0.2
    with torch.no_grad():
        for clean, label in zip(images.split(1), labels.split(1), strict=True):
            x, average = clean, torch.zeros_like(clean)
            for _ in range(9):
                u = torch.randn(16, *clean.shape[1:], generator=generator)
                log_odds = Goal(label.expand(16)).loss
                rise = log_odds(trained(x + 0.001 * u), "ce") - log_odds(
                    trained(x - 0.001 * u), "ce"
                )
                average = 0.9 * average + 0.1 * (rise.view(-1, 1, 1, 1) * u).mean(0)
                x = (clean + (x + 0.03 * average.sign() - clean).clamp(-eps, eps)).clamp(0, 1)
                if int(trained(x).argmax()) != int(label):
                    fallen += 1
                    break
    ours = run(
        nes,
        Victim(trained),
        images,
        Goal(labels),
        eps,
        queries=1 + 9 * 33,
        samples=16,
        step_size=0.03,
    )
    assert fallen > 2, "the comparison must be able to fail"
    assert left(trained, ours, labels) <= 20 - fallen + 3
