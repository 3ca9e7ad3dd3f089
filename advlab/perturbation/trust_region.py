"""The step of an attack along the decision boundary, within a trust region.

Brendel et al. 2019, arXiv:1907.01003.

Minimise ‖x + r − image‖_p subject to normal · r = gain, ‖r‖₂ ≤ radius and 0 ≤ x + r ≤ 1. By its
optimality conditions, r is ``clamp(s · way + t · normal)`` in L2, and alike in L1 and L∞, for two
numbers s and t. For every s there is one t with which r lies in the plane, and ‖r‖₂ grows with s
from that of the shortest r in the plane. So t is the zero of a function that is piecewise linear
and never falls, and the largest s within the trust region is found by halving.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

_HALVINGS = 12  # of the interval of s, and of t on the edge of the trust region
# Newton steps for t. The first search starts anywhere, and each later one from the t before it.
_FIRST_STEPS, _STEPS = 20, 8
_NEAR, _CLOSE = (
    1e-3,
    1e-5,
)  # of the gain: what r may miss the plane by, and where Newton's steps end

# From s and t, (N, 1), to r and to where r moves with t, bool; both (N, D).
_Family = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def step_along_boundary(
    images: Tensor, x: Tensor, normal: Tensor, gain: Tensor, radius: Tensor, p: float
) -> Tensor:
    """The r within the trust region and the box that takes x nearest to the image, in the plane.

    Args:
        images, x: (N, C, H, W) in [0, 1].
        normal: the slope of a linear function, shaped as x.
        gain: what r adds to that function, (N,).
        radius: of the trust region, L2, (N,).
        p: exponent of the norm of the distance to the image: 1, 2 or ∞.

    Returns:
        r, shaped as x. Where the plane cannot be reached within region and box, the r that comes
        nearest to it; where the slope is zero, zero.
    """
    flat = x.flatten(1)
    slope = torch.nan_to_num(normal).flatten(1)
    # In units of the steepest entry first, whose square neither overflows nor vanishes.
    scale = slope.abs().amax(1, keepdim=True).clamp_min(torch.finfo(slope.dtype).tiny)
    slope = slope / scale
    unit = torch.linalg.vector_norm(slope, dim=1, keepdim=True).clamp_min(1e-30)
    slope, wanted = slope / unit, gain[:, None] / scale / unit
    limit, lowest, highest = radius[:, None], -flat, 1 - flat

    def shortest(s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        free = t * slope
        r = free.clamp(lowest, highest)
        return r, r == free

    low, high = torch.zeros_like(wanted), torch.ones_like(wanted)
    t = _onto_plane(shortest, slope, wanted, low, wanted, _FIRST_STEPS)
    r, _ = shortest(low, t)
    feasible = _in_plane(r, slope, wanted) & (_length(r) <= limit)
    step = torch.where(feasible, r, _towards_plane(shortest, t, limit))
    family = _family(images.flatten(1) - flat, slope, lowest, highest, r, p)
    for _ in range(_HALVINGS):
        s = (low + high) / 2
        tried = _onto_plane(family, slope, wanted, s, t, _STEPS)
        r, _ = family(s, tried)
        within = feasible & _in_plane(r, slope, wanted) & (_length(r) <= limit)
        step = torch.where(within, r, step)
        t = torch.where(within, tried, t)
        low, high = torch.where(within, s, low), torch.where(within, high, s)
    return step.view_as(x)


def _family(
    way: Tensor, slope: Tensor, lowest: Tensor, highest: Tensor, shortest: Tensor, p: float
) -> _Family:
    """The r (N, D) among which the solution is, by s in [0, 1) and t; s = 0 is the shortest one.

    Args:
        way: from x to the image, (N, D).
        slope: of unit length, (N, D).
        lowest, highest: the ends of the room in the box, (N, D).
        shortest: the shortest r in the plane, (N, D).
    """
    far = way.abs().amax(1, keepdim=True)
    farthest = far + shortest.abs().amax(1, keepdim=True)

    def l2(s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        free = s * way + t * slope
        r = free.clamp(lowest, highest)
        return r, r == free

    def linf(s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        distance = (1 - s) * farthest
        free = t * slope
        r = free.clamp(way - distance, way + distance).clamp(lowest, highest)
        return r, r == free

    def l1(s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        pull = s / (1 - s) * far
        moved = t * slope
        free = moved + (way - moved).clamp(-pull, pull)
        r = free.clamp(lowest, highest)
        return r, (r == free) & ((way - moved).abs() > pull)

    return {2.0: l2, math.inf: linf, 1.0: l1}[p]


def _onto_plane(
    family: _Family, slope: Tensor, wanted: Tensor, s: Tensor, t: Tensor, steps: int
) -> Tensor:
    """The t with which r lies in the plane, (N, 1), from a guess: Newton's method within a bracket.

    What is close to the plane stays there, so that the answer for an image does not depend on
    the others of its batch.
    """
    low, high = torch.full_like(t, -torch.inf), torch.full_like(t, torch.inf)
    for _ in range(steps):
        r, moves = family(s, t)
        missing = wanted - (slope * r).sum(1, keepdim=True)
        close = missing.abs() <= _CLOSE * wanted.abs()
        if close.all():
            break
        low, high = torch.where(missing >= 0, t, low), torch.where(missing <= 0, t, high)
        rate = (slope.square() * moves).sum(1, keepdim=True)
        newton = t + missing / rate  # NaN or infinite where r does not move
        inside = newton.isfinite() & (newton >= low) & (newton <= high)
        middle = (low + high) / 2
        # Without an end of the bracket on that side, three times as far and on.
        onwards = t + missing.sign() * (2 * t.abs() + wanted.abs())
        further = torch.where(inside, newton, torch.where(middle.isfinite(), middle, onwards))
        t = torch.where(close, t, further)
    return t


def _in_plane(r: Tensor, slope: Tensor, wanted: Tensor) -> Tensor:
    """Whether r (N, D) lies in the plane, up to a small part of the gain; bool (N, 1)."""
    missed = (wanted - (slope * r).sum(1, keepdim=True)).abs()
    return missed <= _NEAR * wanted.abs()


def _towards_plane(family: _Family, t: Tensor, limit: Tensor) -> Tensor:
    """The r towards the plane that reaches the edge of the trust region, or the end of the box.

    Args:
        t: with which r lies in the plane, or as near as the box allows, (N, 1).
    """
    zero, high = torch.zeros_like(t), t.abs()
    low = torch.minimum(high, limit)  # the slope is of unit length
    for _ in range(_HALVINGS):
        middle = (low * high).sqrt()  # since high may be far out, where the box holds all entries
        r, _ = family(zero, middle * t.sign())
        within = _length(r) <= limit
        low, high = torch.where(within, middle, low), torch.where(within, high, middle)
    r, _ = family(zero, t)
    return torch.where(_length(r) <= limit, r, family(zero, low * t.sign())[0])


def _length(r: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(r, dim=1, keepdim=True)
    return length
