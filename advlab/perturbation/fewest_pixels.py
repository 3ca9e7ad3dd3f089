"""The step of Brendel and Bethge's attack in L0: as few changed pixels as plane and region allow.

Brendel et al. 2019, arXiv:1907.01003.

Restore as many pixels of the image as possible, subject to normal · r ≥ gain, ‖r‖₂ ≤ radius and
0 ≤ x + r ≤ 1. A point beyond the plane changes no more pixels than one in it, so that the plane of
the paper is a half-space here.

For a set of restored pixels, let r be the shortest step. Its dual has one multiplier t ≥ 0: the
other entries are ``clamp(t · normal)``, and half the square of the length is the maximum over t of

    t · gain + Σ over all pixels of their least cost + Σ over restored pixels of their price.

The price of a pixel is what its cost ½‖r‖² - t · normal · r exceeds the least one by if it is
restored. At any t, restoring the cheapest pixels until the sum reaches ½ radius² bounds how many
can be restored at all. The sum is concave in t, so that halving finds the t of the lowest bound.
The order of the prices there gives a set. Sets that follow one order are nested, and the larger
one needs the longer step, so that the largest one within the region is found by bisection.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from advlab.perturbation.sorting import order_of_rows

_HALVINGS = 12  # of the interval of t
_REFINEMENTS = 2  # orders by the prices at the multiplier of the best set so far
_NEWTON_STEPS = 25  # for t; from below they never overshoot
_CLOSE = 1e-5  # of the gain: what r may miss the plane by
_LONGER = 1 + 1e-6  # rounding of a length


def step_to_fewest_pixels(
    images: Tensor, x: Tensor, normal: Tensor, gain: Tensor, radius: Tensor
) -> Tensor:
    """The r within the trust region and the box that restores most pixels, beyond the plane.

    The number is the largest one or, where the bound above is not attained, seldom one less. Of a
    set of restored pixels r is the shortest step.

    Args:
        images, x: (N, C, H, W) in [0, 1].
        normal: the slope of a linear function, shaped as x.
        gain: what r adds to that function at least, (N,).
        radius: of the trust region, L2, (N,).

    Returns:
        r, shaped as x. Where the plane cannot be reached within region and box, the r that comes
        nearest to it.
    """
    problem = _Problem.of(images, x, normal, gain, radius)
    none = torch.zeros_like(problem.restoring, dtype=torch.bool)
    r, feasible, t = problem.shortest(none)
    best = _Best(torch.where(feasible, r, problem.towards_plane()), feasible.long() - 1, t)
    most, order = _bound(problem)
    most = torch.where(feasible, most, 0)
    for number in range(1 + _REFINEMENTS):
        if (best.count >= most).all():
            break
        if number:
            order = order_of_rows(problem.prices(best.t)[2])
        best = _restore_in_order(problem, order, most, best)
    return best.r.view_as(x)


@dataclass(frozen=True)
class _Best:
    """The best step so far.

    Attributes:
        r: (N, D).
        count: how many pixels it restores, (N, 1); -1 where no step reaches the plane.
        t: its multiplier, (N, 1).
    """

    r: Tensor
    count: Tensor
    t: Tensor


@dataclass(frozen=True)
class _Problem:
    """A batch of problems, with the slope in units of its length.

    Attributes:
        way: from x to the image, (N, D).
        slope: (N, D).
        wanted: what r adds along the slope at least, (N, 1).
        limit: of the length of r, (N, 1).
        lowest, highest: the ends of the room in the box, (N, D).
        channels: of the images; D is their number times that of the pixels.
    """

    way: Tensor
    slope: Tensor
    wanted: Tensor
    limit: Tensor
    lowest: Tensor
    highest: Tensor
    channels: int

    @classmethod
    def of(
        cls, images: Tensor, x: Tensor, normal: Tensor, gain: Tensor, radius: Tensor
    ) -> _Problem:
        flat, slope = x.flatten(1), torch.nan_to_num(normal).flatten(1)
        # In units of the steepest entry first, whose square neither overflows nor vanishes.
        scale = slope.abs().amax(1, keepdim=True).clamp_min(torch.finfo(slope.dtype).tiny)
        slope = slope / scale
        unit = torch.linalg.vector_norm(slope, dim=1, keepdim=True).clamp_min(1e-30)
        wanted = gain[:, None] / scale / unit
        way = images.flatten(1) - flat
        return cls(way, slope / unit, wanted, radius[:, None], -flat, 1 - flat, x.shape[1])

    def by_pixel(self, entries: Tensor) -> Tensor:
        """Sums over the channels of each pixel, (N, pixels), of entries (N, D)."""
        sums: Tensor = entries.view(len(entries), self.channels, -1).sum(1)
        return sums

    def by_entry(self, pixels: Tensor) -> Tensor:
        """Flags of pixels (N, pixels) for each of their entries, (N, D)."""
        return pixels.repeat(1, self.channels)

    @property
    def restoring(self) -> Tensor:
        """Half the squared L2 norm of restoring each pixel, (N, pixels)."""
        return self.by_pixel(self.way.square()) / 2

    def prices(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """At t (N, 1): what each free pixel adds along the slope, its cost, and the price of
        restoring it, each (N, pixels)."""
        r = (t * self.slope).clamp(self.lowest, self.highest)
        added = self.by_pixel(self.slope * r)
        cost = self.by_pixel(r.square()) / 2 - t * added
        price = self.restoring - t * self.by_pixel(self.slope * self.way) - cost
        return added, cost, price

    def shortest(self, restored: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The shortest r (N, D) that restores these pixels, bool (N, pixels), whether it reaches
        the plane within the region, and its multiplier, both (N, 1).

        What free entries add is concave in t. Newton's method from below never overshoots.
        """
        entries = self.by_entry(restored)
        slope, fixed = self.slope.masked_fill(entries, 0), torch.where(entries, self.way, 0.0)
        needed = self.wanted - (self.slope * fixed).sum(1, keepdim=True)
        t = torch.zeros_like(needed)
        for _ in range(_NEWTON_STEPS):
            free = t * slope
            r = free.clamp(self.lowest, self.highest)
            missing = needed - (slope * r).sum(1, keepdim=True)
            rate = (slope.square() * (r == free)).sum(1, keepdim=True)
            done = (missing <= _CLOSE * self.wanted.abs()) | (rate <= 0)
            if done.all():
                break
            t = torch.where(done, t, t + missing / rate)
        r = r + fixed
        return r, (missing <= 2 * _CLOSE * self.wanted.abs()) & self.within(r), t

    def within(self, r: Tensor) -> Tensor:
        """Whether r (N, D) lies in the trust region, bool (N, 1)."""
        length: Tensor = torch.linalg.vector_norm(r, dim=1, keepdim=True)
        return length <= self.limit * _LONGER

    def towards_plane(self) -> Tensor:
        """The r (N, D) that adds most along the slope within region and box."""
        low, high = torch.zeros_like(self.limit), torch.ones_like(self.limit)
        for _ in range(2 * _HALVINGS):
            middle = (low + high) / 2
            within = self.within(self._free(self.limit * middle / (1 - middle)))
            low, high = torch.where(within, middle, low), torch.where(within, high, middle)
        return self._free(self.limit * low / (1 - low))

    def _free(self, t: Tensor) -> Tensor:
        return (t * self.slope).clamp(self.lowest, self.highest)


def _bound(problem: _Problem) -> tuple[Tensor, Tensor]:
    """How many pixels can be restored at most, (N, 1), and the order of the prices where that is
    seen, (N, pixels)."""
    along = problem.by_pixel(problem.slope * problem.way)
    pixels, half = along.shape[1], problem.limit.square() / 2
    low, high = torch.zeros_like(half), torch.ones_like(half)
    most = torch.full_like(half, pixels, dtype=torch.int64)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        t = problem.limit * middle / (1 - middle)
        added, cost, price = problem.prices(t)
        order = order_of_rows(price)
        sums = price.gather(1, order).cumsum(1) + t * problem.wanted + cost.sum(1, keepdim=True)
        count = (sums <= half).sum(1, keepdim=True)
        most = torch.minimum(most, count)
        # With one pixel more the sum is too large, or will be, on the side where it grows.
        change = (along - added).gather(1, order).cumsum(1).gather(1, count.clamp_max(pixels - 1))
        upwards = problem.wanted - added.sum(1, keepdim=True) - change > 0
        low, high = torch.where(upwards, middle, low), torch.where(upwards, high, middle)
    return most, order


def _restore_in_order(problem: _Problem, order: Tensor, most: Tensor, best: _Best) -> _Best:
    """The best step that restores the first pixels of an order (N, pixels), or that before it.

    Args:
        most: a bound of their number, (N, 1), which is near: the search begins there.
    """
    places = torch.arange(order.shape[1], device=order.device).expand_as(order)
    rank = torch.empty_like(order).scatter(1, order, places)
    low, high, stride = best.count + 1, most, 1
    count = high
    while True:
        r, reached, t = problem.shortest(rank < count)
        better = reached & (count >= low) & (low <= high)
        best = _Best(
            torch.where(better, r, best.r),
            torch.where(better, count, best.count),
            torch.where(better, t, best.t),
        )
        low, high = torch.where(better, count + 1, low), torch.where(better, high, count - 1)
        searching = low <= high
        if not searching.any():
            return best
        nearer = torch.maximum(high - stride + 1, (low + high) // 2)
        count, stride = torch.where(searching, nearer, count), 2 * stride
