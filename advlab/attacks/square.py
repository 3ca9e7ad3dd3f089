"""Square: a black-box attack by random squares that sees only logits.

Andriushchenko et al. 2020, arXiv:1912.00049.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from advlab.config import fields as f
from advlab.config.options.run import AttackOptions, Sees

if TYPE_CHECKING:
    from torch import Tensor

    from advlab.perturbation.goal import Goal
    from advlab.perturbation.randomness import ImageRandom
    from advlab.perturbation.victim import Victim


class Options(AttackOptions):
    """Square: random search with square patches; it sees logits and no gradients."""

    sees: ClassVar[Sees] = "logits"
    checked_against: ClassVar[str] = "torchattacks"

    precision: f.Precision = "fp32"  # many a gain is smaller than what bf16 tells apart
    norm: f.Norm = "linf"
    queries: f.Queries = 1000
    first_fraction: Annotated[
        float,
        Field(gt=0, le=1, description="fraction of the pixels in the first squares"),
        f.PERTURBATION,
    ] = 0.8
    confidence: f.Confidence = None


def perturb(
    victim: Victim, images: Tensor, goal: Goal, random: ImageRandom, eps: float, options: Options
) -> Tensor:
    """Images (N, C, H, W) in [0, 1] within eps, after at most ``queries`` queries each.

    L∞: from vertical stripes at ± eps; a square turns to ± eps in each channel. L2 and L1: from a
    chequerboard of bumps; a window gives up its share of the norm to another one, as a bump.
    """
    import torch

    from advlab.perturbation.geometry import P, round_to_bytes

    p = P[options.norm]
    walk = _Stripes(eps) if options.norm == "linf" else _Bumps(eps, p)
    todo = torch.arange(len(images), device=images.device)
    result = images.clone()
    current, worst = images, torch.full((len(images),), -torch.inf, device=images.device)
    candidate = walk.start(images, random)
    for query in range(options.queries):
        final = round_to_bytes(candidate, images[todo], eps, p) if options.quantize else candidate
        logits = victim.estimate(final)
        selected_goal = goal.select(todo)
        margin, reached = selected_goal.loss(logits, "margin"), selected_goal.reached(logits)
        if reached.any():  # by the fast arithmetic; the network's own decides
            index = reached.nonzero().squeeze(1)
            reached[index] = selected_goal.select(index).reached(victim.logits(final[index]))
        better = (margin > worst) | reached
        current, worst = (
            candidate.where(better.view(-1, 1, 1, 1), current),
            margin.where(better, worst),
        )
        if reached.any() and options.surrogate is None:
            result[todo[reached]] = final[reached]
            remaining = (~reached).nonzero().squeeze(1)
            todo, current, worst, random = (
                todo[remaining],
                current[remaining],
                worst[remaining],
                random.select(remaining),
            )
            if len(todo) == 0:
                return result
        fraction = options.first_fraction * shrunk(query, options.queries)
        candidate = walk.step(images[todo], current, fraction, random)
    result[todo] = round_to_bytes(current, images[todo], eps, p) if options.quantize else current
    return result


def shrunk(query: int, queries: int) -> float:
    """The factor by which squares are smaller after ``query`` queries.

    It halves at the points of the paper, scaled from its 10,000 queries to ours.
    """
    now = 10_000 * query / queries
    return float(
        0.5 ** sum(now > point for point in (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000))
    )


class _Stripes:
    """L∞: every perturbation is at a corner of the cube."""

    def __init__(self, eps: float) -> None:
        self.eps = eps

    def start(self, images: Tensor, random: ImageRandom) -> Tensor:
        """Columns at ± eps, in each channel."""
        _, channels, _, width = images.shape
        return (images + self.eps * random.signs((channels, 1, width)).to(images)).clamp(0, 1)

    def step(self, images: Tensor, current: Tensor, fraction: float, random: ImageRandom) -> Tensor:
        """A square with this fraction of the pixels at ± eps, different from the current one.

        Where the image already is what was drawn, which happens to every other small square of a
        single channel, a question would be wasted: signs are drawn again, as the authors' code does
        it, and turned over if need be.
        """
        channels, height, width = images.shape[1:]
        side = max(1, min(round((fraction * height * width) ** 0.5), height - 1, width - 1))
        drawn = random.uniform((2 + 2 * channels,)).to(images)
        inside = _window(drawn[:, 0], drawn[:, 1], side, height, width)
        first, second = ((drawn[:, 2:] < 0.5).to(images) * 2 - 1).chunk(2, dim=1)
        moved = self._turned(images, current, inside, first)
        same = (moved == current).flatten(1).all(dim=1)
        if not same.any():
            return moved
        again = second.where((second != first).any(dim=1, keepdim=True), -second)
        return self._turned(images, current, inside, again).where(same.view(-1, 1, 1, 1), moved)

    def _turned(self, images: Tensor, current: Tensor, inside: Tensor, sign: Tensor) -> Tensor:
        """``current`` with the pixels ``inside`` of each channel set to the image ± eps."""
        return (images + self.eps * sign[:, :, None, None]).clamp(0, 1).where(inside, current)


class _Bumps:
    """L2 and L1: the norm is spent on a few bumps, and moves from one place to another."""

    def __init__(self, eps: float, p: float) -> None:
        self.eps, self.p = eps, p

    def start(self, images: Tensor, random: ImageRandom) -> Tensor:
        """Five by five bumps of random sign."""
        import torch

        count, channels, height, width = images.shape
        tiles = min(5, height), min(5, width)
        rows, columns = height // tiles[0], width // tiles[1]
        signs = random.signs((channels, *tiles)).to(images)
        laid = torch.einsum("ncij,hw->ncihjw", signs, _bump(rows, columns).to(images))
        r = torch.zeros_like(images)
        r[:, :, : rows * tiles[0], : columns * tiles[1]] = laid.reshape(
            count, channels, rows * tiles[0], columns * tiles[1]
        )
        return self._on_sphere(images, r)

    def step(self, images: Tensor, current: Tensor, fraction: float, random: ImageRandom) -> Tensor:
        """Move the norm of one window, and what the box cut off, to a bump in another."""
        import torch

        channels, height, width = images.shape[1:]
        side = min(max(3, round((fraction * height * width) ** 0.5)) // 2 * 2 + 1, height, width)
        drawn = random.uniform((5 + channels,)).to(images)
        window, donor = (_window(drawn[:, k], drawn[:, k + 1], side, height, width) for k in (0, 2))
        r = current - images
        spare = (self.eps**self.p - self._mass(r).sum(1, keepdim=True)).clamp_min(0) / channels
        mass = self._mass(r * (window | donor)) + spare
        old = self._unit(r * window)
        # The bump, laid into the window of each image.
        row = (
            torch.arange(height, device=images.device) - _corner(drawn[:, 0], height, side)[:, None]
        )
        column = (
            torch.arange(width, device=images.device) - _corner(drawn[:, 1], width, side)[:, None]
        )
        row, column = row.clamp(0, side - 1)[:, :, None], column.clamp(0, side - 1)[:, None, :]
        upright = _bump(side, side).to(images)
        bump = upright[row, column].where(drawn[:, 4, None, None] < 0.5, upright[column, row])
        sign = (drawn[:, 5:] < 0.5).to(images) * 2 - 1
        new = self._unit(bump[:, None] * window) * sign[:, :, None, None] + old
        return self._on_sphere(
            images, r * ~(window | donor) + self._unit(new) * mass.pow(1 / self.p)[:, :, None, None]
        )

    def _mass(self, r: Tensor) -> Tensor:
        """The p-th power of the norm of each channel, (N, C)."""
        return r.abs().pow(self.p).sum(dim=(2, 3))

    def _unit(self, r: Tensor) -> Tensor:
        """Each channel brought to a norm of 1; zero stays zero."""
        return r / self._mass(r).pow(1 / self.p).clamp_min(1e-12)[:, :, None, None]

    def _on_sphere(self, images: Tensor, r: Tensor) -> Tensor:
        """Stretched to eps, then cut to the box."""
        size = self._mass(r).sum(1).pow(1 / self.p).clamp_min(1e-12)
        return (images + r * (self.eps / size).view(-1, 1, 1, 1)).clamp(0, 1)


def _bump(rows: int, columns: int) -> Tensor:
    """Two stepped hills of opposite sign, one above the other: the paper's shape for L2."""
    import torch

    def hill(height: int, width: int) -> Tensor:
        row = torch.minimum(torch.arange(height), torch.arange(height).flip(0))
        column = torch.minimum(torch.arange(width), torch.arange(width).flip(0))
        level = torch.minimum(row[:, None], column[None, :])
        return torch.cumsum(1 / torch.arange(int(level.max()) + 1, 0, -1).double() ** 2, 0)[
            level
        ].float()

    upper = max(1, rows // 2)
    return (
        torch.cat([hill(upper, columns), -hill(rows - upper, columns)])
        if rows > upper
        else hill(upper, columns)
    )


def _corner(place: Tensor, size: int, side: int) -> Tensor:
    """The first row (or column) of a window at this place in [0, 1)."""
    return (place * (size - side + 1)).long().clamp_max(size - side)


def _window(down: Tensor, right: Tensor, side: int, height: int, width: int) -> Tensor:
    """Which pixels lie in a square window of each image; bool (N, 1, H, W)."""
    import torch

    top, left = _corner(down, height, side)[:, None], _corner(right, width, side)[:, None]
    row, column = torch.arange(height, device=down.device), torch.arange(width, device=down.device)
    rows, columns = (row >= top) & (row < top + side), (column >= left) & (column < left + side)
    return (rows[:, :, None] & columns[:, None, :])[:, None]
