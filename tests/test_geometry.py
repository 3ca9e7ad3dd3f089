"""The balls: norms, projections, steepest directions and random points, against closed forms and a
general optimiser."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from advlab.perturbation import geometry
from advlab.perturbation.randomness import ImageRandom

NORMS = [1.0, 1.5, 2.0, 3.0, 7.0, 30.0, 100.0, math.inf]
BALLS = [1.0, 2.0, math.inf]


def perturbations(count: int = 20, seed: int = 0) -> Tensor:
    """Of very different lengths, some of them with many zeros."""
    generator = torch.Generator().manual_seed(seed)
    r = torch.randn(count, 1, 4, 5, dtype=torch.float64, generator=generator)
    r *= torch.logspace(-3, 2, count, dtype=torch.float64).view(-1, 1, 1, 1)
    r[::3, :, :2] = 0
    return r


def images(count: int = 20, seed: int = 1) -> Tensor:
    """Pixels of which a third are black and some are white, as in handwriting."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(count, 1, 4, 5, dtype=torch.float64, generator=generator) * 2 - 0.6).clamp(
        0, 1
    )


def photographs(dtype: torch.dtype = torch.float32, seed: int = 6) -> Tensor:
    """Of the size that sums in float32 begin to show."""
    return torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.mark.parametrize("p", NORMS)
def test_a_norm_is_numpys(p: float) -> None:
    r = perturbations()
    expected = [np.linalg.norm(one.flatten().numpy(), ord=p) for one in r]
    assert torch.allclose(
        geometry.norm(r, p), torch.tensor(expected, dtype=torch.float64), rtol=1e-12
    )


@pytest.mark.parametrize("p", NORMS)
@pytest.mark.parametrize("eps", [0.0, 0.3, 5.0])
def test_a_projection_lies_in_the_ball_and_leaves_what_is_inside(p: float, eps: float) -> None:
    r = perturbations()
    projected = geometry.project(r, eps, p)
    assert (geometry.norm(projected, p) <= eps * (1 + 1e-12) + 1e-15).all()
    inside = geometry.norm(r, p) <= eps
    assert torch.allclose(projected[inside], r[inside], rtol=0, atol=1e-15)
    assert torch.allclose(geometry.project(projected, eps, p), projected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("p", BALLS)
def test_a_projection_is_the_nearest_point(p: float) -> None:
    """Against a general-purpose optimiser, which knows nothing of thresholds."""
    eps, size = 1.0, 6
    # r = u - v with u, v >= 0 makes the L1 ball smooth for the optimiser, and a side at a time the
    # L∞ ball: it takes derivatives of its constraints, and at the edge of a maximum they are wrong.
    # It serves L2 as well.
    room: dict[float, Callable[[NDArray[np.float64]], Any]] = {
        1.0: lambda z: eps - z.sum(),
        2.0: lambda z: eps**2 - ((z[:size] - z[size:]) ** 2).sum(),
        math.inf: lambda z: np.concatenate(
            [eps - (z[:size] - z[size:]), eps + (z[:size] - z[size:])]
        ),
    }
    for one in perturbations(12)[4:9]:
        target = one.flatten().numpy()[:size]
        found = (
            geometry.project(torch.from_numpy(target).view(1, 1, 1, -1), eps, p).flatten().numpy()
        )
        best = minimize(
            lambda z, target: ((z[:size] - z[size:] - target) ** 2).sum(),
            np.full(2 * size, 1e-3),
            args=(target,),
            bounds=[(0, None)] * (2 * size),
            constraints=[{"type": "ineq", "fun": lambda z, target: room[p](z), "args": (target,)}],
            options={"maxiter": 500, "ftol": 1e-14},
        )
        assert np.min(room[p](best.x)) >= -1e-8, "the optimiser's point must lie in the ball"
        theirs = ((best.x[:size] - best.x[size:] - target) ** 2).sum()
        assert ((found - target) ** 2).sum() <= theirs + 1e-6 * max(1.0, theirs)


@pytest.mark.parametrize("p", [1.5, 2.0, 3.0, 7.0, 30.0])
def test_a_projection_along_the_ray_goes_as_far_out_as_the_ball_does(p: float) -> None:
    """Against halving an interval with numpy's norm."""
    for one in perturbations():
        array = one.flatten().numpy()
        low, high = 0.0, 1.0
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (
                (middle, high) if np.linalg.norm(middle * array, ord=p) <= 0.3 else (low, middle)
            )
        found = geometry.project(one[None], 0.3, p).flatten().numpy()
        assert np.allclose(found, high * array, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("eps", [0.01, 1.0, 12.0, 1000.0])
def test_the_l1_projection_of_a_whole_photograph_thresholds_at_the_right_level(
    dtype: torch.dtype, eps: float
) -> None:
    """The level by halving an interval until what stands above it adds up to eps."""
    r = photographs(dtype) - 0.5
    projected = geometry.project(r, eps, 1)
    assert projected.dtype == dtype
    for one, found in zip(r.double(), projected.double(), strict=True):
        size = one.flatten().abs().numpy()
        low, high = 0.0, float(size.max())
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (
                (middle, high) if np.maximum(size - middle, 0).sum() > eps else (low, middle)
            )
        level = high if size.sum() > eps else 0.0
        expected = one.sign() * (one.abs() - level).clamp_min(0)
        assert (found - expected).abs().max() < (1e-6 if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 3.0, math.inf])
@pytest.mark.parametrize("eps", [0.003, 0.1, 2.0, 40.0])
def test_in_float32_and_many_dimensions_the_ball_and_the_box_hold(p: float, eps: float) -> None:
    """A pixel is rounded by at most 2^-25, and there are 3,072 of them."""
    clean, gradient = photographs(), photographs(seed=7) - 0.5
    slack = eps * 1e-6 + float(
        geometry.norm(torch.full((1, 3, 32, 32), 2.0**-24, dtype=torch.float64), p)
    )
    ways = {
        "project": (clean + geometry.project(3 * gradient, eps, p)).clamp(0, 1),
        "best_linear": geometry.best_linear(clean, gradient, eps, p),
        "on_sphere": geometry.on_sphere(clean, gradient, eps, p),
        "round_to_bytes": geometry.round_to_bytes(
            (clean + gradient).clamp(0, 1), (clean * 255).round() / 255, eps, p
        ),
    }
    if p in BALLS:
        ways["random_point"] = (
            clean + geometry.random_point(ImageRandom(0, torch.arange(4)), clean, eps, p)
        ).clamp(0, 1)
    for name, moved in ways.items():
        start = (clean * 255).round() / 255 if name == "round_to_bytes" else clean
        assert moved.dtype == torch.float32, name
        assert moved.min() >= 0, name
        assert moved.max() <= 1, name
        assert (geometry.norm(moved.double() - start.double(), p) <= eps + slack).all(), name


@pytest.mark.parametrize("p", [1.5, 2.0, 3.0, math.inf])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e20])
def test_the_steepest_direction_meets_hoelders_bound(p: float, scale: float) -> None:
    """<g, d> = ‖g‖_q for the dual exponent q, which no direction of unit p-norm exceeds; also for
    vanishing gradients."""
    gradient = perturbations() * scale
    direction = geometry.steepest(gradient, p)
    assert torch.allclose(geometry.norm(direction, p), torch.ones(20, dtype=torch.float64))
    dual = 1.0 if p == math.inf else p / (p - 1)
    assert torch.allclose(
        (gradient * direction).flatten(1).sum(1), geometry.norm(gradient, dual), rtol=1e-10
    )


def test_the_steepest_l1_direction_is_spread_over_the_largest_entries() -> None:
    gradient = torch.arange(-10.0, 10.0).view(1, 1, 4, 5)
    direction = geometry.steepest(gradient, 1, fraction=0.2)
    moved = direction.flatten().nonzero().flatten().tolist()
    assert moved == [
        0,
        1,
        2,
        18,
        19,
    ]  # a fifth of twenty is four; the fourth, 8, comes with its equal, -8
    assert geometry.norm(direction, 1) == pytest.approx(1)
    assert (direction.sign()[direction != 0] == gradient.sign()[direction != 0]).all()


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 3.0, math.inf])
def test_no_random_direction_of_unit_norm_climbs_faster_than_the_steepest(p: float) -> None:
    """For L1 with a single entry moving, which is the true maximiser there."""
    gradient = perturbations(count=5)
    best = (gradient * geometry.steepest(gradient, p, fraction=1e-9)).flatten(1).sum(1)
    others = torch.randn(
        5, 400, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(2)
    )
    # Random directions near the axes as well as between them, so that each kind of ball is met at
    # its corners.
    others[:, 200:] = others[:, 200:] ** 7
    others /= torch.linalg.vector_norm(others, ord=p, dim=2, keepdim=True)
    assert (
        torch.einsum("nkd,nd->nk", others, gradient.flatten(1)) <= best[:, None] * (1 + 1e-12)
    ).all()


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 3.0, math.inf])
def test_no_gradient_gives_no_direction_and_no_nan(p: float) -> None:
    zero = torch.zeros(2, 1, 4, 5)
    assert not geometry.steepest(zero, p).any()
    assert torch.equal(geometry.best_linear(images(2).float(), zero, 0.5, p), images(2).float())


@pytest.mark.parametrize("p", NORMS)
@pytest.mark.parametrize("eps", [0.0, 0.05, 0.8, 100.0])
def test_on_the_sphere_the_distance_is_exact_wherever_the_box_has_room(
    p: float, eps: float
) -> None:
    clean, direction = images(), perturbations(seed=3)
    moved = geometry.on_sphere(clean, direction, eps, p)
    assert moved.min() >= 0
    assert moved.max() <= 1
    farthest = torch.where(
        direction > 0,
        torch.ones_like(clean),
        torch.where(direction < 0, torch.zeros_like(clean), clean),
    )
    most = geometry.norm(farthest - clean, p)
    expected = torch.minimum(most, torch.full_like(most, eps))
    distance = geometry.norm(moved - clean, p)
    assert (distance <= eps * (1 + 1e-9)).all()
    if (
        p != math.inf
    ):  # for L∞ an entry that is cut at the box need not be the one that carries the norm
        assert torch.allclose(distance, expected, rtol=1e-7, atol=1e-12)
    r = moved - clean
    assert (r * direction >= 0).all()
    # Every entry is t * d or cut at the box.
    cut = ((moved - farthest).abs() < 1e-12) | (direction == 0)
    for one, way, stopped in zip(r, direction, cut, strict=True):
        ratios = (one[~stopped] / way[~stopped]).flatten()
        assert ratios.numel() == 0 or torch.allclose(
            ratios, ratios[0].expand_as(ratios), rtol=1e-6, atol=1e-12
        )


@pytest.mark.parametrize("p", [1.5, 2.0, 3.0])
@pytest.mark.parametrize("eps", [0.1, 0.9])
def test_the_linear_maximiser_is_that_of_a_general_optimiser(p: float, eps: float) -> None:
    """Where the box cuts it as well: both constraints at once."""
    clean, gradient = images(6), perturbations(18, seed=5)[12:]
    gradient = gradient / gradient.abs().amax()
    found = geometry.best_linear(clean, gradient, eps, p)
    for x, g, ours in zip(
        clean.flatten(1).numpy(), gradient.flatten(1).numpy(), found.flatten(1).numpy(), strict=True
    ):
        best = minimize(
            lambda r, g: -(g * r).sum(),
            np.zeros_like(x),
            jac=lambda r, g: -g,
            args=(g,),
            bounds=list(zip(-x, 1 - x, strict=True)),
            constraints=[
                {"type": "ineq", "fun": lambda r, g: eps**p - (np.abs(r) ** p).sum(), "args": (g,)}
            ],
            options={"maxiter": 300, "ftol": 1e-12},
        )
        assert (g * (ours - x)).sum() >= -best.fun - 1e-6


@pytest.mark.parametrize("p", [1.0, 2.0, math.inf])
def test_the_linear_maximiser_over_ball_and_box_beats_every_random_point_of_them(p: float) -> None:
    clean, gradient = images(), perturbations(seed=5)
    best = geometry.best_linear(clean, gradient, 0.7, p)
    assert geometry.norm(best - clean, p).max() <= 0.7 + 1e-12
    value = (gradient * (best - clean)).flatten(1).sum(1)
    for draw in range(50):
        random = ImageRandom(draw, torch.arange(len(clean)))
        other = (clean + geometry.random_point(random, clean, 0.7, p)).clamp(0, 1)
        assert (value >= (gradient * (other - clean)).flatten(1).sum(1) - 1e-12).all()


def test_the_linear_l1_maximiser_is_a_fractional_knapsack() -> None:
    clean = torch.tensor([[0.5, 0.9, 0.0, 1.0]]).view(1, 1, 1, 4)
    gradient = torch.tensor([[1.0, 3.0, -5.0, 2.0]]).view(
        1, 1, 1, 4
    )  # the steepest cannot move down, the last not up
    moved = geometry.best_linear(clean, gradient, 0.3, 1)
    assert torch.allclose(moved.flatten(), torch.tensor([0.7, 1.0, 0.0, 1.0]))


@pytest.mark.parametrize("p", BALLS)
def test_random_points_have_the_radii_and_directions_they_should(p: float) -> None:
    """For L∞ a uniform point of the cube, whose radius has the distribution function (ρ / eps)^d;
    else a uniform radius."""
    random = ImageRandom(0, torch.arange(4000))
    like = torch.zeros(4000, 1, 1, 3, dtype=torch.float64)
    r = geometry.random_point(random, like, 2.0, p)
    radius = geometry.norm(r, p)
    assert radius.max() <= 2 + 1e-6
    for share in (0.3, 0.6, 0.9):
        assert float((radius <= 2 * share).double().mean()) == pytest.approx(
            share**3 if p == math.inf else share, abs=0.03
        )
    assert r.mean(0).abs().max() < 0.08
    # No coordinate is favoured: each is the largest as often as any other.
    assert (
        torch.bincount(r.flatten(1).abs().argmax(1), minlength=3).double().sub(4000 / 3).abs().max()
        < 120
    )
    with pytest.raises(ValueError, match="no random points"):
        geometry.random_point(random, like, 1.0, 3.0)


@pytest.mark.parametrize("p", NORMS)
@pytest.mark.parametrize("eps", [0.0, 1 / 255, 0.03, 0.1, 0.5, 3.0])
def test_rounded_images_are_bytes_within_the_ball(p: float, eps: float) -> None:
    clean = (images() * 255).round() / 255
    perturbed = (clean + geometry.project(perturbations(), eps, p)).clamp(0, 1)
    rounded = geometry.round_to_bytes(perturbed, clean, eps, p)
    levels = rounded * 255
    assert (levels - levels.round()).abs().max() < 1e-9
    assert rounded.min() >= 0
    assert rounded.max() <= 1
    # Sizes are whole numbers of steps, so what is inside is inside but for the last bit of float64.
    assert (geometry.norm(rounded - clean, p) <= eps + 1e-7).all()
    again = geometry.round_to_bytes(rounded, clean, eps, p)
    assert torch.equal(again, rounded)


def test_rounding_does_not_shrink_what_fits() -> None:
    clean = torch.full((1, 1, 2, 2), 100 / 255)
    perturbed = clean + torch.tensor([[10.4, -7.6], [0.2, -0.4]]).view(1, 1, 2, 2) / 255
    rounded = geometry.round_to_bytes(perturbed, clean, 0.1, math.inf)
    assert torch.equal((rounded * 255).round().flatten(), torch.tensor([110.0, 92.0, 100.0, 100.0]))


def test_useless_gradient_entries_are_those_that_push_out_of_the_box() -> None:
    pixels = torch.tensor([0.0, 0.0, 1.0, 1.0, 0.5]).view(1, 1, 1, 5)
    gradient = torch.tensor([-1.0, 2.0, -3.0, 4.0, -5.0]).view(1, 1, 1, 5)
    assert geometry.useful(gradient, pixels).flatten().tolist() == [0.0, 2.0, -3.0, 0.0, -5.0]


def test_rounding_gives_every_step_that_a_radius_of_whole_steps_has_room_for() -> None:
    """k / 255 is no binary fraction; that must not cost a step, and never give one too many."""
    clean = torch.zeros(1, 1, 1, 2)
    for k in range(256):
        rounded = geometry.round_to_bytes(
            torch.full_like(clean, min(1.0, k / 255 + 0.001)), clean, k / 255, math.inf
        )
        assert (rounded * 255).round().flatten().tolist() == [k, k]
        if k:
            less = geometry.round_to_bytes(
                torch.full_like(clean, k / 255), clean, k / 255 - 1e-4, math.inf
            )
            assert (less * 255).round().flatten().tolist() == [k - 1, k - 1]


@pytest.mark.parametrize("p", [1.0, 2.0, math.inf])
def test_rounded_images_survive_eight_bits_and_turn_no_pixel_round(p: float) -> None:
    """What a PNG gives back is the image that was rounded, to the last bit; and no pixel moves
    against its perturbation."""
    clean = (photographs() * 255).round() / 255
    perturbed = (clean + geometry.project(photographs(seed=8) - 0.5, 1.7, p)).clamp(0, 1)
    rounded = geometry.round_to_bytes(perturbed, clean, 1.7, p)
    assert rounded.dtype == torch.float32
    assert torch.equal((rounded * 255).round().to(torch.uint8).float().div(255), rounded)
    moved = ((rounded - clean) * 255).round()
    assert (moved * (perturbed - clean) >= 0).all()
    assert (moved.abs() <= (perturbed - clean).abs() * 255 + 0.5 + 1e-3).all()


def test_the_nearest_point_of_the_l1_ball_and_the_box() -> None:
    """Against Dykstra's alternating projections, which converge to the nearest point of both."""
    centres, eps = images(), 1.5
    moved = centres + perturbations(seed=3) * 0.2
    nearest = geometry.project_l1_into_box(centres, moved, eps)
    point, ball, box = moved.clone(), torch.zeros_like(moved), torch.zeros_like(moved)
    for _ in range(20_000):
        inside = centres + geometry.project(point + ball - centres, eps, 1.0)
        ball = point + ball - inside
        point = (inside + box).clamp(0, 1)
        box = inside + box - point
    assert torch.allclose(nearest, point, rtol=0, atol=1e-6)
    assert (geometry.norm(nearest - centres, 1.0) <= eps * (1 + 1e-12)).all()
    naive = (centres + geometry.project(moved - centres, eps, 1.0)).clamp(0, 1)
    farther = geometry.norm(moved - naive, 2.0) - geometry.norm(moved - nearest, 2.0)
    assert (farther > -1e-12).all()
    assert (farther > 1e-3).any(), "one projection after the other is not the nearest point"


def test_what_lies_in_the_l1_ball_and_the_box_stays_where_it_is() -> None:
    centres = images()
    inside = (centres + 0.01 * perturbations().clamp(-1, 1)).clamp(0, 1)
    assert torch.allclose(
        geometry.project_l1_into_box(centres, inside, 1.0), inside, rtol=0, atol=1e-15
    )
    same = geometry.project_l1_into_box(centres, centres + 1, 0.0)
    assert torch.allclose(same, centres, rtol=0, atol=1e-15)
