"""Attacks that change few pixels, beside torchattacks, foolbox, naive loops and closed forms."""

from __future__ import annotations

import copy
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchattacks
from foolbox.attacks.fast_minimum_norm import L0FMNAttack
from foolbox.models.pytorch import PyTorchModel
from torch import Tensor, nn
from watched import Watched

from advlab.attacks import bb, fmn, jsma, onepixel, sigmazero, sparsefool, sparsers
from advlab.config.options.run import DataOptions
from advlab.data import load_images
from advlab.metrics import perturbation as visible
from advlab.metrics.classification import is_correct
from advlab.networks import checkpoint
from advlab.perturbation import geometry
from advlab.perturbation.goal import Goal
from advlab.perturbation.randomness import ImageRandom
from advlab.perturbation.victim import Victim

SPARSE = [
    (fmn, {"norm": "l0", "steps": 60}),
    (sigmazero, {"steps": 60}),
    (jsma, {}),
    (sparsefool, {}),
    (onepixel, {"queries": 150}),
    (sparsers, {"queries": 150}),
    (bb, {"norm": "l0", "steps": 60}),
]
sparse = pytest.mark.parametrize(
    ("module", "given"), SPARSE, ids=[module.__name__.split(".")[-1] for module, _ in SPARSE]
)
BLACK_BOX = [(onepixel, {"population": 7}), (sparsers, {})]
ROOM = 1e3
"""More pixels than the images have."""


def run(
    module: Any, victim: Victim, images: Tensor, goal: Goal, eps: float, **given: Any
) -> Tensor:
    options, random = (
        module.Options.model_validate(given),
        ImageRandom(given.get("seed", 0), torch.arange(len(images))),
    )
    perturbed: Tensor = module.perturb(victim, images, goal, random, eps, options)
    return perturbed


def colourful(bias: float = 0.0) -> nn.Module:
    """A small network of colour images, not linear; a large bias makes it firm on class 0."""
    torch.manual_seed(0)
    layers = [nn.Flatten(), nn.Linear(3 * 30, 12), nn.Tanh(), nn.Linear(12, 4)]
    model = nn.Sequential(*layers).double().eval()
    with torch.no_grad():
        layers[-1].bias[0] += bias  # type: ignore[index,operator]
    return model


def made(count: int = 8) -> Tensor:
    """Colour images (N, 3, 5, 6) with a quarter of their entries at each end of the range."""
    drawn = torch.rand(count, 3, 5, 6, generator=torch.Generator().manual_seed(1))
    return (2 * drawn.double() - 0.5).clamp(0, 1)


def firm(count: int) -> Goal:
    return Goal(torch.zeros(count, dtype=torch.int64))


# --- the norm -------------------------------------------------------------------------------------
def test_a_pixel_counts_once_however_many_of_its_channels_change() -> None:
    images = made(2)
    moved = images.clone()
    moved[0, :, 2, 3] = 1 - moved[0, :, 2, 3]
    moved[0, 1, 4, 4] += 1e-12
    changed = [2.0, 0.0]
    assert geometry.norm(moved - images, 0).tolist() == changed
    assert visible.norms(moved, images)["l0"].tolist() == changed


@pytest.mark.parametrize("eps", [0, 1, 4.9, 29, 30, 100])
def test_the_projection_is_the_nearest_point_with_so_few_pixels(eps: float) -> None:
    """All others lose at least the largest pixels that are dropped; checked on every choice of
    pixels of a small image."""
    r = made(3) - 0.4
    small = geometry.project(r, eps, 0)
    assert (geometry.norm(small, 0) <= eps).all()
    assert ((small == r) | (small == 0)).all()
    each = geometry.project(r, torch.full((3,), float(eps)).double(), 0)
    assert torch.equal(each, small)
    tiny = r[:, :, :2, :3]
    for image, ours in zip(tiny, geometry.project(tiny, 2, 0), strict=True):
        best = min(
            float(image.flatten(1).index_fill(1, torch.tensor(pair), 0.0).norm())
            for pair in itertools.combinations(range(6), 2)
        )
        assert float((image - ours).norm()) == pytest.approx(best, rel=1e-12)


@sparse
@pytest.mark.parametrize("eps", [1, 3, 8])
def test_no_more_pixels_than_eps_in_colour(module: Any, given: dict[str, Any], eps: int) -> None:
    model, images = colourful(), made()
    for targeted, quantize in itertools.product((False, True), (False, True)):
        clean = (255 * images).round() / 255 if quantize else images
        label = model(clean).argmax(1)
        goal = Goal((label + 1) % 4 if targeted else label, targeted)
        moved = run(module, Victim(model), clean, goal, eps, quantize=quantize, **given)
        assert (geometry.norm(moved - clean, 0) <= eps).all()
        assert moved.min() >= 0
        assert moved.max() <= 1
        if quantize:
            assert torch.equal(moved, (moved * 255).round() / 255)
    # A pair of entries of one pixel is seldom the most salient one, and SparseFool stops at its
    # first success, which towards a class is farther away.
    if (module, eps) != (jsma, 1) and module is not sparsefool:
        assert (geometry.norm(moved - clean, 0) > 0).any()


# --- closed forms ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("module", "given"), [SPARSE[0], SPARSE[1], SPARSE[-1]], ids=["fmn", "sigmazero", "bb"]
)
def test_on_a_linear_network_the_fewest_pixels_are_those_that_lower_the_margin_most(
    module: Any, given: dict[str, Any]
) -> None:
    """Two classes: each pixel lowers the margin by a known amount at most, in every channel to the
    better end, and the largest amounts are added up until the margin is spent. Neither method is
    exact, so that a tenth of the images may need a pixel more."""
    torch.manual_seed(3)
    images = torch.rand(40, 3, 5, 6, dtype=torch.float64)
    layer = nn.Linear(90, 2, dtype=torch.float64)
    model = nn.Sequential(nn.Flatten(), layer).eval()
    with torch.no_grad():
        slope = (layer.weight[1] - layer.weight[0]).view(1, 3, 5, 6)
        layer.bias[0] += 0.8 + (model(images)[:, 1] - model(images)[:, 0]).max()
    margin = model(images)[:, 0] - model(images)[:, 1]
    gains = torch.maximum(slope * (1 - images), -slope * images).sum(1).flatten(1).detach()
    spent = gains.sort(dim=1, descending=True).values.cumsum(1)
    fewest = 1 + (spent < margin[:, None]).sum(1)
    assert 2 <= int(fewest.min()) < int(fewest.max()) < 30
    found = run(module, Victim(model), images, firm(40), ROOM, **{**given, "steps": 200})
    assert firm(40).reached(model(found)).all()
    excess = geometry.norm(found - images, 0) - fewest
    assert (excess >= 0).all()
    assert float((excess == 0).double().mean()) >= 0.5
    assert float(excess.mean()) <= 0.6


def test_the_most_salient_pair_is_that_of_all_pairs() -> None:
    """Against every pair, on correlated and anti-correlated slopes, some of them equal."""
    generator = torch.Generator().manual_seed(0)
    for kind in (0.0, 1.0, -1.0):
        gain = torch.randn(50, 24, generator=generator, dtype=torch.float64)
        loss = torch.randn(50, 24, generator=generator, dtype=torch.float64) + 2 * kind * gain
        gain[10:20], loss[10:20] = gain[10:20].round(), loss[10:20].round()
        gain[45:] = -gain[45:].abs()
        allowed = torch.rand(50, 24, generator=generator) < 0.7
        pair, salient = jsma.most_salient_pair(gain, loss, allowed)
        for n in range(50):
            best = 0.0
            for p, q in itertools.combinations(allowed[n].nonzero().flatten().tolist(), 2):
                a, b = float(gain[n, p] + gain[n, q]), float(loss[n, p] + loss[n, q])
                best = max(best, a * b if a > 0 and b > 0 else 0.0)
            assert bool(salient[n]) == (best > 0)
            if best > 0:
                p, q = pair[n].tolist()
                assert p != q
                assert bool(allowed[n, p] & allowed[n, q])
                mine = float((gain[n, p] + gain[n, q]) * (loss[n, p] + loss[n, q]))
                assert mine == pytest.approx(best, rel=1e-12)
        assert not salient[45:].any()
        assert salient[:45].float().mean() > 0.5


# --- on trained digits ----------------------------------------------------------------------------
@pytest.fixture(scope="module")
def trained(runs: Path) -> nn.Module:
    return checkpoint.load(runs / "train" / "small")[0]


@pytest.fixture(scope="module")
def digits(trained: nn.Module) -> tuple[Tensor, Tensor]:
    return right_digits(trained)


def right_digits(network: nn.Module) -> tuple[Tensor, Tensor]:
    """Images that the network has right, on a rough ground in float64.

    On a black ground all entries that a maximum is pooled from are equal, and the last bits decide
    which of them the gradient goes through.
    """
    test = load_images.load(DataOptions(dataset="digits")).test
    noise = torch.rand(60, 1, 28, 28, generator=torch.Generator().manual_seed(0)) - 0.5
    images = 0.2 + 0.65 * test.inputs(slice(0, 60)) + 0.2 * noise
    right = is_correct(Victim(network).logits(images), test.labels[:60])
    return images[right][:20].double(), test.labels[:60][right][:20]


def exact(trained: nn.Module) -> nn.Module:
    return copy.deepcopy(trained).double()


def naive_sigma_zero(model: nn.Module, images: Tensor, labels: Tensor, steps: int) -> Tensor:
    """Algorithm 1 of the paper with torch's Adam and scheduler; the fewest entries of each image's
    successes, (N,)."""
    delta = torch.zeros_like(images, requires_grad=True)
    adam = torch.optim.Adam([delta], lr=1.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, T_max=steps, eta_min=0.1)
    threshold = torch.full_like(images, 0.3)
    fewest = torch.full((len(images),), math.inf, dtype=images.dtype)
    for number in range(steps + 1):
        logits = model(images + delta)
        wrong = logits.argmax(1) != labels
        entries = (delta != 0).flatten(1).sum(1)
        fewest = torch.where(wrong & (entries < fewest), entries, fewest)
        if number == steps:
            break
        others = logits.scatter(1, labels[:, None], -math.inf).amax(1)
        ahead = (logits.gather(1, labels[:, None]).squeeze(1) - others).clamp_min(0)
        count = (delta**2 / (delta**2 + 1e-3)).flatten(1).mean(1)
        (gradient,) = torch.autograd.grad((ahead + count).sum(), delta)
        delta.grad = gradient / gradient.flatten(1).abs().amax(1).view(-1, 1, 1, 1)
        adam.step()
        schedule.step()
        with torch.no_grad():
            delta.copy_((images + delta).clamp(0, 1) - images)
            change = 0.01 * schedule.get_last_lr()[0]
            threshold += change * torch.where(wrong, 1.0, -1.0).view(-1, 1, 1, 1)
            threshold.clamp_(0, 1)
            delta[delta.abs() < threshold] = 0
    return fewest


def test_sigma_zero_finds_the_counts_of_its_algorithm(
    trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    images, labels = digits
    model = exact(trained)
    found = run(sigmazero, Victim(model), images, Goal(labels), ROOM, steps=60)
    reached = Goal(labels).reached(Victim(model).logits(found))
    ours = geometry.norm(found - images, 0).where(reached, math.inf)
    theirs = naive_sigma_zero(model, images, labels, 60)
    assert theirs.isfinite().sum() > 15, "the comparison must be able to fail"
    assert torch.equal(ours, theirs)


def test_fmn_in_l0_changes_no_more_pixels_than_foolboxs(
    trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    images, labels = digits
    model = exact(trained)
    network = PyTorchModel(model, bounds=(0, 1), device="cpu")
    theirs = L0FMNAttack(steps=60).run(network, images, labels)
    ours = run(fmn, Victim(model), images, Goal(labels), ROOM, norm="l0", steps=60)

    def pixels(found: Tensor) -> Tensor:
        reached = Goal(labels).reached(Victim(model).logits(found))
        return geometry.norm(found - images, 0).where(reached, math.inf)

    assert pixels(theirs).isfinite().sum() > 10, "the comparison must be able to fail"
    assert pixels(ours).isfinite().sum() >= pixels(theirs).isfinite().sum() - 1
    assert float(pixels(ours).median()) <= float(pixels(theirs).median()) + 1


def test_brendel_bethge_changes_fewer_pixels_than_fmn(
    trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    images, labels = digits
    mean = []
    for module in (bb, fmn):
        found = run(module, Victim(trained), images, Goal(labels), ROOM, norm="l0", steps=60)
        assert Goal(labels).reached(Victim(trained).logits(found)).all()
        mean.append(float(geometry.norm(found - images, 0).mean()))
    assert mean[0] < mean[1]


def test_jsma_makes_torchattacks_images(trained: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    """Wherever both reach the target; torchattacks' unsuccessful images stay perturbed."""
    images, labels = digits[0][:12], digits[1][:12]
    model, target = exact(trained), (labels + 1) % 10
    goal = Goal(target, targeted=True)
    pairs = 8
    attack = torchattacks.JSMA(model, theta=1.0, gamma=2 * pairs / 784)
    theirs = attack(images, labels)  # untargeted, it aims at the next class
    ours = run(jsma, Victim(model), images, goal, 2 * pairs)
    reached = [goal.reached(Victim(model).logits(found)) for found in (ours, theirs)]
    assert int(reached[1].sum()) > 1, "the comparison must be able to fail"
    assert torch.equal(*reached)
    assert torch.allclose(ours[reached[0]], theirs[reached[0]], rtol=0, atol=1e-6)
    assert torch.equal(ours[~reached[0]], images[~reached[0]])


def test_jsma_also_darkens(trained: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    images, labels = digits[0][:10], digits[1][:10]
    model = exact(trained)
    found = run(jsma, Victim(model), images, Goal(labels), 40, direction="darken", target_classes=2)
    moved = found[found != images]
    assert len(moved) > 0
    assert not moved.any()
    assert Goal(labels).reached(Victim(model).logits(found)).any()


def naive_sparsefool(
    model: nn.Module, image: Tensor, label: int, steps: int, factor: float
) -> Tensor:
    """The authors' algorithm for one image, entry by entry, without bounds for DeepFool."""

    def slope(at: Tensor, other: int) -> tuple[Tensor, Tensor]:
        inputs = at.clone().requires_grad_()
        logits = model(inputs[None])[0]
        (gradient,) = torch.autograd.grad(logits[other] - logits[label], inputs)
        return gradient, (logits[other] - logits[label]).detach()

    def predicted(at: Tensor) -> int:
        return int(model(at[None]).detach().argmax())

    others = [other for other in range(len(model(image[None])[0])) if other != label]
    x, farther = image.clone(), image
    for _ in range(steps):
        way, beyond = torch.zeros_like(x), label
        for _ in range(50):
            planes = [slope(x + way, other) for other in others]
            gradient, lead = min(planes, key=lambda plane: float(plane[1].abs() / plane[0].norm()))
            length = float((lead.abs() / gradient.norm()).clamp_min(1e-4))
            way = way + length * gradient / gradient.norm()
            beyond = predicted(x + 1.02 * way)
            if beyond != label:
                break
        normal = slope(x + way, beyond)[0]
        normal = normal / normal.norm()
        plane, free, moved = x + factor * way, normal.abs().clone(), x.clone()
        while float((normal * (moved - plane)).sum()) < 0 and bool(free.any()):
            missing = float((normal * (moved - plane)).sum()) - 1e-3
            place = int(free.argmax())
            step = abs(missing) / float(free.view(-1)[place])
            entry = moved.view(-1)[place] + step * normal.view(-1)[place].sign()
            moved.view(-1)[place] = entry.clamp(0, 1)
            free.view(-1)[place] = 0
        x = moved
        farther = (image + 1.02 * (x - image)).clamp(0, 1)
        if predicted(farther) != label:
            return farther
    return image


@pytest.mark.parametrize("factor", [1.0, 3.0])
def test_sparsefool_is_the_authors_algorithm_image_by_image(factor: float) -> None:
    model = colourful(bias=1.5)
    images = made(10)
    labels = model(images).detach().argmax(1)
    ours = run(sparsefool, Victim(model), images, Goal(labels), ROOM, steps=8, plane_factor=factor)
    theirs = torch.stack(
        [
            naive_sparsefool(model, *pair, 8, factor)
            for pair in zip(images, labels.tolist(), strict=True)
        ]
    )
    assert (theirs != images).flatten(1).any(1).sum() > 7, "the comparison must be able to fail"
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-9)


def test_against_a_linear_network_sparsefool_makes_torchattacks_images() -> None:
    """There the boundary has one normal, and where an attack takes it makes no difference.
    torchattacks lengthens the way to the boundary by 2 % before it takes the plane."""
    torch.manual_seed(4)
    layer = nn.Linear(48, 2).double()
    model = nn.Sequential(nn.Flatten(), layer).eval()
    images = 0.3 + 0.4 * torch.rand(12, 3, 4, 4, dtype=torch.float64)
    labels = model(images).detach().argmax(1)
    theirs = torchattacks.SparseFool(model, steps=1, lam=2)(images, labels)
    ours = run(
        sparsefool, Victim(model), images, Goal(labels), ROOM, steps=1, plane_factor=2 * 1.02
    )
    assert (theirs != images).flatten(1).any(1).all()
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-9)


def test_sparsefool_breaks_as_many_as_torchattacks_with_as_few_pixels(
    trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    """torchattacks begins each step at the image again, cuts DeepFool to [0, 1], and takes the
    normal at the far plane, all unlike the paper, so that its images are others."""
    images, labels = digits[0][:10], digits[1][:10]
    model = exact(trained)
    theirs = torchattacks.SparseFool(model, steps=10, lam=3)(images, labels)
    ours = run(sparsefool, Victim(model), images, Goal(labels), ROOM)

    def pixels(found: Tensor) -> Tensor:
        reached = Goal(labels).reached(Victim(model).logits(found))
        return geometry.norm(found - images, 0).where(reached, math.inf)

    assert pixels(theirs).isfinite().sum() > 6, "the comparison must be able to fail"
    assert pixels(ours).isfinite().sum() >= pixels(theirs).isfinite().sum()
    assert float(pixels(ours).median()) <= float(pixels(theirs).median()) + 1


# --- without gradients ----------------------------------------------------------------------------
@pytest.mark.parametrize(("module", "given"), BLACK_BOX, ids=["onepixel", "sparsers"])
@pytest.mark.parametrize("queries", [1, 2, 6, 8, 15, 40])
def test_a_firm_network_is_asked_exactly_as_often_as_allowed(
    module: Any, given: dict[str, Any], queries: int
) -> None:
    victim, images = Watched(colourful(bias=1000.0)), made(4)
    for eps in (1, 3, 30):
        victim.asked = 0
        run(module, victim, images, firm(4), eps, queries=queries, **given)
        assert victim.asked == 4 * queries


@pytest.mark.parametrize(("module", "given"), BLACK_BOX, ids=["onepixel", "sparsers"])
def test_an_image_at_its_goal_is_asked_about_once_and_left_alone(
    module: Any, given: dict[str, Any]
) -> None:
    victim, images = Watched(colourful(bias=1000.0)), made(4)
    there = Goal(torch.ones(4, dtype=torch.int64))
    assert torch.equal(run(module, victim, images, there, 3, **given), images)
    assert victim.asked == 4
    moved = run(module, victim, images, there, 3, surrogate="another", queries=30, **given)
    assert victim.asked == 4 + 4 * 30
    assert (moved != images).flatten(1).any(1).all()


def test_sparse_rs_paints_corner_colours_and_never_gets_worse() -> None:
    """Every changed pixel is black or white in each channel, and the margin with more queries is
    no smaller, since the searches agree until the first one ends."""
    model, images, last = colourful(bias=3.0), made(), None
    for queries in (2, 30, 400):
        moved = run(sparsers, Victim(model), images, firm(8), 4, queries=queries)
        changed = (moved != images).any(1)
        corner = ((moved == 0) | (moved == 1)).all(1)
        assert (corner | ~changed).all()
        margin = firm(8).loss(model(moved), "margin").detach()
        assert last is None or float(margin.mean()) > float(last.mean())
        last = margin
    with torch.no_grad():
        best = torch.stack(
            [
                firm(8).loss(model(other), "margin")
                for other in (
                    run(sparsers, Victim(model), images, firm(8), 4, queries=2, seed=0),
                    images,
                )
            ]
        ).amax(0)
    assert (last >= best).all()  # type: ignore[operator]


def test_sparse_rs_replaces_fewer_pixels_as_the_authors_code_does() -> None:
    expected = {0: 1, 1: 2, 50: 2, 51: 4, 201: 5, 501: 6, 1001: 8, 2001: 10, 4001: 12, 6001: 15}
    for query, times in {**expected, 8001: 20, 10_000: 20}.items():
        assert sparsers.shrunk(query, 10_000) == pytest.approx(1 / times)
    assert sparsers.shrunk(201, 1000) == sparsers.shrunk(2010, 10_000)


def test_three_others_are_three_others() -> None:
    drawn = ImageRandom(0, torch.arange(500)).uniform((5, 3))
    first, second, third = onepixel.three_others(drawn)
    own = torch.arange(5).expand(500, 5)
    together = torch.stack([own, first, second, third], dim=2).sort(dim=2).values
    assert (together.diff(dim=2) > 0).all()
    assert together.min() == 0
    assert together.max() == 4
    # Each of the four others is as likely as any.
    counts = torch.bincount((first - own).remainder(5).flatten(), minlength=5)
    assert counts[0] == 0
    assert (counts[1:] - 625).abs().max() < 100


def test_one_pixel_finds_the_best_single_pixel_of_a_small_image() -> None:
    """Against all corner colours at all places, on a linear network, where the best colour is a
    corner. Evolution may end at another place, but gains nearly as much on the average of four
    seeds."""
    torch.manual_seed(0)
    layer = nn.Linear(60, 2, dtype=torch.float64)
    model = nn.Sequential(nn.Flatten(), layer).eval()
    with torch.no_grad():
        layer.bias[0] += 50.0
        images = torch.rand(6, 3, 4, 5, dtype=torch.float64)
        settings = {"queries": 4000, "population": 40}
        start = firm(6).loss(model(images), "ce")
        slope = (layer.weight[1] - layer.weight[0]).view(1, 3, 4, 5)
        best = torch.maximum(slope * (1 - images), -slope * images).sum(1).flatten(1).amax(1)
    shares = []
    for seed in range(4):
        moved = run(onepixel, Victim(model), images, firm(6), 1, seed=seed, **settings)
        gained = firm(6).loss(model(moved).detach(), "ce") - start
        assert (geometry.norm(moved - images, 0) == 1).all()
        assert (gained <= best * (1 + 1e-9)).all()
        shares.append(float((gained / best).mean()))
    assert sum(shares) / 4 > 0.88


@pytest.mark.parametrize(
    ("pixels", "population", "generations", "least"), [(1, 20, 50, 0.97), (5, 30, 10, 0.92)]
)
def test_one_pixel_raises_the_loss_no_less_than_torchattacks(
    runs: Path, pixels: int, population: int, generations: int, least: float
) -> None:
    """The loss of the true class instead of the few successes: its rise on the average of 20 images
    and three seeds, whose standard deviation is some 2 %. Over nine seeds ours was 1.05 times
    theirs in many generations, and 0.97 times in few; with random children it was 0.94 and 0.90
    times theirs. The network without convolutions answers four times as fast."""
    network = checkpoint.load(runs / "train" / "other")[0]
    images, labels = right_digits(network)
    images = images.float()
    attack = torchattacks.OnePixel(
        network, pixels=pixels, steps=generations - 1, popsize=population
    )
    goal = Goal(labels)
    settings = {"queries": 1 + generations * population, "population": population}

    def rise(moved: Tensor) -> float:
        with torch.no_grad():
            before, after = (goal.loss(network(one), "ce") for one in (images, moved))
        return float((after - before).mean())

    theirs, ours = 0.0, 0.0
    for seed in range(3):
        np.random.seed(seed)  # the stream that theirs draws from
        theirs += rise(attack(images, labels)) / 3
        moved = run(onepixel, Victim(network), images, goal, pixels, seed=seed, **settings)
        ours += rise(moved) / 3
    assert theirs > 0.2, "the comparison must be able to fail"
    assert ours >= least * theirs


def test_sparse_rs_breaks_more_than_evolution_at_equal_queries(
    trained: nn.Module, digits: tuple[Tensor, Tensor]
) -> None:
    images, labels = digits[0].float(), digits[1]
    broken = [
        int(Goal(labels).reached(Victim(trained).logits(found)).sum())
        for found in (
            run(module, Victim(trained), images, Goal(labels), 12, queries=150)
            for module in (sparsers, onepixel)
        )
    ]
    assert broken[0] > broken[1]
