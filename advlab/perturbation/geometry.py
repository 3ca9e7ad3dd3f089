"""Geometry of L∞, L2, L1, Lp and L0 balls: norms, projections, steepest directions, random points.

A ball is {r : ‖r‖_p ≤ eps} for p ≥ 1 or infinity, meant together with the box 0 ≤ image + r ≤ 1.
Pushing image + r back into the box only shrinks each |r_i| (the image itself lies in it), so a
clamp never leaves the ball. Perturbations are (N, C, H, W); norms are taken per image and returned
as (N,).

p = 0 stands for the number of changed pixels. A pixel is changed where any of its channels is, and
counts once however many are.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from advlab.config.radii import eps_text
from advlab.data.pixels import to_unit
from advlab.errors import UsageError
from advlab.perturbation.randomness import ImageRandom
from advlab.perturbation.sorting import order_of_rows, sorted_rows

P = {"linf": math.inf, "l2": 2.0, "l1": 1.0, "l0": 0.0}
DUAL = {"linf": 1.0, "l2": 2.0, "l1": math.inf}

# Halvings of an interval in float64: to its last bit.
_HALVINGS = 52


def check_radius(norm: str, eps: float, step_size: float | None = None) -> None:
    """Refuse radii and steps that are out of the range of pixel units.

    Raises:
        UsageError: an L∞ radius above 1, where it means nothing; an L0 radius that is no number of
            pixels; a step longer than the ball is wide.
    """
    if step_size is not None and 0 < 2 * eps < step_size:
        raise UsageError(
            f"--step-size {eps_text(step_size)}: longer than the ball is wide, which is 2 · "
            f"{eps_text(eps)}"
        )
    if norm == "linf" and eps > 1:
        raise UsageError(
            f"--eps {eps_text(eps)}: an L∞ radius above 1 covers every image; pixels go from 0 "
            "to 1; of 255 grey levels, say 8/255"
        )
    if norm == "l0" and eps != round(eps):
        raise UsageError(
            f"--eps {eps_text(eps)}: an L0 radius is a number of pixels that may change, say 10"
        )


def norm(r: Tensor, p: float) -> Tensor:
    """‖r‖_p of each image, shape (N,); for p = 0 the number of pixels that are not zero."""
    if p == 0:
        return (r != 0).any(dim=1).flatten(1).sum(1).to(r.dtype)
    length: Tensor = torch.linalg.vector_norm(r.flatten(1), ord=p, dim=1)
    return length


def project(r: Tensor, eps: float | Tensor, p: float) -> Tensor:
    """``r`` projected onto the ball; exactly for p of 0, 1, 2 and ∞, else along the ray.

    Args:
        r: (N, C, H, W).
        eps: radius of all balls, or of each, (N,).
        p: exponent of the norm.
    """
    if p == math.inf:
        if isinstance(eps, Tensor):
            return r.clamp(-_per_image(eps), _per_image(eps))
        return r.clamp(-eps, eps)
    if p == 1:
        return _project_l1(r, eps)
    if p == 0:
        return _project_l0(r, eps)
    length = norm(r, p).clamp_min(torch.finfo(r.dtype).tiny)
    return r * _per_image((eps / length).clamp_max(1.0))


def steepest(gradient: Tensor, p: float, fraction: float = 0.01) -> Tensor:
    """The direction of unit p-norm along which a linear function with this gradient grows fastest.

    For p = 1 that is a single pixel, which makes no headway; there the steepest ``fraction`` of the
    pixels move together (SLIDE, Tramèr and Boneh, arXiv:1904.13000). Zero where the gradient is
    zero.
    """
    if p == math.inf:
        return gradient.sign()
    # Divided by its largest entry first: squares of a tiny gradient underflow. Infinite entries
    # outweigh all others.
    g = torch.nan_to_num(gradient)
    g = g / _per_image(g.flatten(1).abs().amax(dim=1).clamp_min(torch.finfo(gradient.dtype).tiny))
    if p == 1:
        count = max(1, round(fraction * g[0].numel()))
        kth = g.flatten(1).abs().topk(count, dim=1).values[:, -1]
        direction = torch.where(g.abs() >= _per_image(kth), g.sign(), torch.zeros_like(g))
    else:
        direction = g.sign() * g.abs() ** (1 / (p - 1))
    return direction / _per_image(norm(direction, p).clamp_min(torch.finfo(g.dtype).tiny))


def useful(gradient: Tensor, images: Tensor) -> Tensor:
    """``gradient`` with zeros where a pixel would leave [0, 1]."""
    return torch.where(
        ((images <= 0) & (gradient < 0)) | ((images >= 1) & (gradient > 0)),
        torch.zeros_like(gradient),
        gradient,
    )


def best_linear(images: Tensor, gradient: Tensor, eps: float, p: float) -> Tensor:
    """The images in ball and box that maximise a linear function with this gradient, exactly.

    L∞: every pixel by eps. L1: the steepest pixels, each to the end of its box, until eps is spent.
    Other p: the steepest direction cut to the box, so long that its norm is eps.
    """
    if p == math.inf:
        return (images + eps * gradient.sign()).clamp(0, 1)
    if p == 1:
        room = torch.where(
            gradient > 0, 1 - images, torch.where(gradient < 0, images, torch.zeros_like(images))
        )
        order = order_of_rows(gradient.flatten(1).abs(), descending=True)
        sorted_room = room.flatten(1).gather(1, order)
        spent_before = sorted_room.cumsum(1) - sorted_room
        step = (eps - spent_before).clamp_min(0).minimum(sorted_room)
        r = torch.zeros_like(step).scatter(1, order, step).view_as(images) * gradient.sign()
        return (images + r).clamp(0, 1)
    return on_sphere(images, steepest(gradient, p), eps, p)


def on_sphere(images: Tensor, direction: Tensor, eps: float, p: float) -> Tensor:
    """The point of the box along ``direction`` whose distance from ``images`` is eps in the p-norm.

    Along clamp(image + t · direction) entry i grows as t |d_i| until its room in the box is used
    up, so the p-th power of the norm is a known sum between any two of the t at which an entry
    stops: sort those, find the interval, solve for t. In units of eps and in logarithms, since a
    hundredth power leaves the range of float64 at once. Where the box ends before eps is reached,
    the farthest point in it; where the direction is zero, the image.
    """
    if eps == 0:
        return images.clone()
    exact, d = images.double(), direction.double()
    size = d.flatten(1).abs()
    size = size / size.amax(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    room = (
        torch.where(d > 0, 1 - exact, torch.where(d < 0, exact, torch.zeros_like(exact))).flatten(1)
        / eps
    )
    if p == math.inf:
        reach = torch.where(
            (room >= 1) & (size > 0), 1 / size, torch.full_like(size, torch.inf)
        ).amin(dim=1, keepdim=True)
        length = torch.minimum(room, torch.nan_to_num(reach * size, nan=0.0))
    else:
        stop, order = torch.where(size > 0, room / size, torch.zeros_like(room)).sort(dim=1)
        stopped = torch.logcumsumexp(p * room.gather(1, order).log(), dim=1)
        rates = torch.logcumsumexp(p * size.gather(1, order).log().flip(1), dim=1).flip(1)
        later = torch.cat([rates[:, 1:], torch.full_like(rates[:, :1], -torch.inf)], dim=1)
        passed = (torch.logaddexp(stopped, p * stop.log() + later) < 0).sum(1, keepdim=True)
        base = torch.where(
            passed > 0,
            stopped.gather(1, (passed - 1).clamp_min(0)).exp(),
            torch.zeros_like(room[:, :1]),
        )
        rate = rates.gather(1, passed.clamp_max(room.shape[1] - 1))
        t = torch.exp(((1 - base).clamp_min(0).log() - rate) / p)
        length = torch.minimum(
            room,
            torch.where(passed == room.shape[1], torch.full_like(t, torch.inf), t)
            * size.clamp_min(1e-300),
        )
        # What rounding has put outside by a last bit comes back in.
        length = length / torch.linalg.vector_norm(length, ord=p, dim=1, keepdim=True).clamp_min(1)
    r = eps * d.sign() * length.view_as(d)
    return (exact + r).clamp(0, 1).to(images.dtype)


def random_point(random: ImageRandom, like: Tensor, eps: float, p: float) -> Tensor:
    """A random point of the ball for each image of ``like``; p of 1, 2 or infinity.

    L∞: uniform in the cube. L2 and L1: a uniform point of the sphere, at a radius uniform in [0,
    eps]. Points uniform in the ball's volume would all but lie on its surface (of 784 dimensions,
    half of it is within a thousandth), and an attack that starts there spends its first steps on
    undoing the noise.
    """
    shape = tuple(like.shape[1:])
    if p == math.inf:
        r = random.uniform(shape) * 2 - 1
    elif p in (1, 2):
        # Gaussian coordinates over their norm are uniform on the L2 sphere; signed exponential ones
        # on the L1 sphere.
        drawn = random.normal(shape) if p == 2 else random.signs(shape) * random.exponential(shape)
        r = drawn * _per_image(random.uniform((1,)).view(-1) / norm(drawn, p))
    else:
        raise ValueError(f"no random points for p = {p}")
    return eps * r.to(device=like.device, dtype=like.dtype)


def round_to_bytes(perturbed: Tensor, images: Tensor, eps: float, p: float) -> Tensor:
    """``perturbed`` rounded to grey levels k / 255 within the ball.

    Each entry goes to its nearest step; where that leaves the ball, r is first shortened until it
    does not. ``images`` must themselves be whole steps.
    """
    # Copies, also of what is float64 already: a photo is too large for a new tensor at each step.
    steps = perturbed.to(torch.float64, copy=True).sub_(images).mul_(255)
    limit = eps * 255 * (1 + 1e-9)
    low = torch.zeros(images.shape[0], dtype=torch.float64, device=images.device)
    high = torch.ones_like(low)
    fraction = torch.where(norm(steps.round(), p) <= limit, high, low)
    if bool((fraction == 0).any()):
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            inside = norm((steps * _per_image(middle)).round(), p) <= limit
            low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
        fraction = torch.where(fraction == 1, fraction, low)
    levels = images.to(torch.float64, copy=True).mul_(255).round_()
    levels.add_(steps.mul_(_per_image(fraction)).round_()).clamp_(0, 255)
    return to_unit(levels, images.dtype)


def _project_l0(r: Tensor, eps: float | Tensor) -> Tensor:
    """The nearest point with at most eps changed pixels: those of the largest L2 norm are kept."""
    size = torch.linalg.vector_norm(r, dim=1).flatten(1)
    order = order_of_rows(size, descending=True)
    rank = torch.empty_like(order).scatter(
        1, order, torch.arange(size.shape[1], device=r.device).expand_as(order)
    )
    selected = rank + 1 <= (eps[:, None] if isinstance(eps, Tensor) else eps)
    return torch.where(selected.view(len(r), 1, *r.shape[2:]), r, 0.0)


def _project_l1(r: Tensor, eps: float | Tensor) -> Tensor:
    """The nearest point of the L1 ball, by soft thresholding (Duchi et al. 2008)."""
    flat = r.flatten(1).abs()
    ordered = sorted_rows(flat).flip(1)
    excess = ordered.cumsum(1) - (eps[:, None] if isinstance(eps, Tensor) else eps)
    count = torch.arange(1, flat.shape[1] + 1, device=r.device, dtype=r.dtype)
    nonzero = (ordered * count > excess).sum(1, keepdim=True).clamp_min(1)
    level = (excess.gather(1, nonzero - 1) / nonzero).clamp_min(0)
    return (r.flatten(1).sign() * (flat - level).clamp_min(0)).view_as(r)


def project_l1_into_box(images: Tensor, moved: Tensor, eps: float) -> Tensor:
    """The nearest point to ``moved`` in the intersection of the L1 ball and the box [0, 1].

    Projecting onto the ball and then onto the box gives another, farther point. The nearest one is
    x + sign(r) · min(max(|r| - λ, 0), room), with r = moved - x, the room of each entry in its
    direction, and the smallest λ ≥ 0 for which its L1 norm is at most eps (Croce and Hein 2021,
    arXiv:2103.01208, proposition 2.1). As a function of λ the norm is piecewise linear: entry i
    counts from |r_i| down to |r_i| - room_i.

    Args:
        images: the centres x of the balls, (N, C, H, W) in [0, 1].
        moved: the points to project, shaped alike.
        eps: radius of the ball.
    """
    r = (moved - images).flatten(1)
    size = r.abs()
    room = torch.where(r > 0, 1 - images.flatten(1), images.flatten(1))
    ends = torch.cat([size, size - room], dim=1)
    order = order_of_rows(ends, descending=True)
    ends = ends.gather(1, order)
    change = torch.cat([torch.ones_like(size), -torch.ones_like(size)], dim=1).gather(1, order)
    slopes = change.cumsum(1)
    # The norm at each of the ends, from the largest λ, where it is 0, to the smallest.
    gains = slopes[:, :-1] * (ends[:, :-1] - ends[:, 1:])
    norms = torch.cat([torch.zeros_like(gains[:, :1]), gains.cumsum(1)], dim=1)
    passed = (norms < eps).sum(1, keepdim=True).clamp_max(norms.shape[1] - 1)
    before = (passed - 1).clamp_min(0)
    slope = slopes.gather(1, before).clamp_min(1)
    level = (ends.gather(1, before) - (eps - norms.gather(1, before)) / slope).clamp_min(0)
    nearest = r.sign() * torch.minimum((size - level).clamp_min(0), room)
    return (images + nearest.view_as(images)).clamp(0, 1)


def _per_image(value: Tensor) -> Tensor:
    """(N,) as (N, 1, 1, 1)."""
    return value.view(-1, 1, 1, 1)
