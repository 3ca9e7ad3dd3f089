"""Projection of a point of the box onto a hyperplane within the box.

Croce and Hein 2020, arXiv:1907.02044.

Minimise ‖r‖_p subject to normal · r = missing and 0 ≤ point + r ≤ 1. Every entry moves the same way
along the normal, or not at all, so what is left is how far each goes: a sum of terms that are
linear up to the end of their entry's room. Sort by where they end, find the interval that the
solution lies in, and solve a linear equation there.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from advlab.perturbation.sorting import order_of_rows


def onto_hyperplane(points: Tensor, normal: Tensor, value: Tensor, at: Tensor, p: float) -> Tensor:
    """The r of smallest p-norm that moves points onto a hyperplane within the box; p of 1, 2 and ∞.

    Args:
        points: (N, C, H, W) in [0, 1].
        normal: the slope of a linear function, shaped as the points.
        value: what that function is at ``at``, shape (N,). The plane is where value + normal · (z -
            at) is zero.
        at: shaped as the points.

    Returns:
        r, shaped as the points. Where the plane does not meet the box, the way to the corner of the
        box that comes nearest; where the normal is zero, zero.
    """
    slope = torch.nan_to_num(normal).flatten(1)
    # In units of the steepest entry: the squares and the sums of what remains neither overflow nor
    # vanish.
    scale = slope.abs().amax(1, keepdim=True).clamp_min(torch.finfo(slope.dtype).tiny)
    slope = slope / scale
    missing = -torch.nan_to_num(value[:, None] / scale) - (slope * (points - at).flatten(1)).sum(
        1, keepdim=True
    )
    towards = slope * torch.where(missing < 0, -1, 1)
    room = torch.where(towards > 0, 1 - points.flatten(1), points.flatten(1))
    length = (
        _steepest_first(slope.abs(), room, missing.abs())
        if p == 1
        else _together(slope.abs(), room, missing.abs(), p)
    )
    return (towards.sign() * length).view_as(points)


def _steepest_first(slope: Tensor, room: Tensor, missing: Tensor) -> Tensor:
    """How far each entry goes for p = 1, shape (N, D): the steepest to the end of its room, then
    the next."""
    order = order_of_rows(slope, descending=True)
    steep, free = slope.gather(1, order), room.gather(1, order)
    gain = steep * free
    remaining = (missing - (gain.cumsum(1) - gain)).clamp_min(0)
    length = torch.where(remaining < gain, remaining / steep, free)
    return torch.zeros_like(length).scatter(1, order, length)


def _together(slope: Tensor, room: Tensor, missing: Tensor, p: float) -> Tensor:
    """How far each entry goes for p > 1, shape (N, D): min(room, t · slope^(1/(p-1))), all with the
    same t.

    That is where the derivative of ‖r‖_p is a multiple of the slope in every entry that is still
    free.
    """
    speed = torch.ones_like(slope) if p == math.inf else slope ** (1 / (p - 1))
    rate = slope * speed
    stop = torch.where(rate > 0, room / speed, torch.zeros_like(room))
    order = order_of_rows(stop)
    stop = stop.gather(1, order)
    gain = (slope * room).gather(1, order).cumsum(1)
    rates = rate.gather(1, order).flip(1).cumsum(1).flip(1)
    later = torch.cat([rates[:, 1:], torch.zeros_like(rates[:, :1])], dim=1)
    stopped = (gain + stop * later < missing).sum(1, keepdim=True)
    before = torch.where(
        stopped > 0, gain.gather(1, (stopped - 1).clamp_min(0)), torch.zeros_like(missing)
    )
    reachable = stopped < slope.shape[1]
    t = (missing - before).clamp_min(0) / rates.gather(
        1, stopped.clamp_max(slope.shape[1] - 1)
    ).clamp_min(torch.finfo(rate.dtype).tiny)
    return torch.where(reachable, torch.minimum(room, t * speed), room)
