"""SimBA: a black-box attack that tries one direction of a basis after another.

Guo et al. 2019, arXiv:1905.07121.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from advlab.config import fields as f
from advlab.config.base import Conditions
from advlab.config.options.run import AttackOptions, Sees
from advlab.config.radii import ACCEPTED, Fraction

if TYPE_CHECKING:
    from torch import Tensor

    from advlab.perturbation.goal import Goal
    from advlab.perturbation.randomness import ImageRandom
    from advlab.perturbation.victim import Victim

_STEP = 0.2  # the paper's, in L2
_WAVE = 1 / 8  # share of an L∞ radius: whole waves of the radius leave no room for other ones
_GROWTH = 1 / 32  # share of the frequencies along a side that the authors' code adds at a time
_ROUNDING = 1e-4  # share of a step below which a change is rounding


class Options(AttackOptions):
    """SimBA: tries steps along a basis of the images; it sees logits and no gradients."""

    sees: ClassVar[Sees] = "logits"
    checked_against: ClassVar[str] = "the algorithm as a naive loop"
    goes_with: ClassVar[Conditions] = {"low_frequencies": ("basis", ("dct",))}

    norm: f.NormLinfOrL2 = "l2"
    eps: f.Eps = [2.0]
    queries: f.Queries = 1000
    basis: Annotated[
        Literal["pixel", "dct"],
        Field(description="directions: single pixels, or frequencies of the cosine transform"),
        f.PERTURBATION,
    ] = "pixel"
    step_size: Annotated[
        float | None,
        Field(
            gt=0,
            le=1e6,
            description=(
                "length of a step, in the norm of eps; default 0.2 but at most eps, in L∞ eps for "
                f"pixels and eps / 8 for dct; {ACCEPTED}"
            ),
        ),
        Fraction,
        f.PERTURBATION,
    ] = None
    low_frequencies: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description=(
                "dct: fraction of the frequencies along each side that are tried first, the "
                "lowest; 1 for all in random order"
            ),
        ),
        f.PERTURBATION,
    ] = 0.125


def perturb(
    victim: Victim, images: Tensor, goal: Goal, random: ImageRandom, eps: float, options: Options
) -> Tensor:
    """Images (N, C, H, W) in [0, 1] within eps, after at most ``queries`` queries each.

    Each direction is tried forwards, then backwards, and kept where the probability of the class to
    leave falls (targeted: of the class to reach, rises). The probability is compared by its
    log-odds, which do not round to a limit. A step is projected onto the ball and the box; one that
    is nothing afterwards costs no query. The paper has no ball, but bounds the L2 norm by the
    number of steps. The L∞ ball is that of the authors' code, and directions then have an L∞ norm
    of 1.

    When all directions were tried they come again, in the same order. An image stops where none of
    them helped: the answers would be the same again.
    """
    import torch

    from advlab.perturbation.ascent import into
    from advlab.perturbation.geometry import P, norm, round_to_bytes

    if eps == 0:
        return images.clone()
    p, stop = P[options.norm], options.surrogate is None
    size = options.step_size or _default_step(eps, options)

    def finish(moved: Tensor, index: Tensor) -> Tensor:
        return round_to_bytes(moved, images[index], eps, p) if options.quantize else moved

    basis = _Basis(images, random, options)
    turns = 2 * images.shape[1:].numel()
    logits = victim.logits(images)
    current, best = images.clone(), goal.loss(logits, "ce")
    turn = torch.zeros(len(images), dtype=torch.int64, device=images.device)
    queried, idle = torch.ones_like(turn), torch.zeros_like(turn)
    on = torch.full_like(turn, options.queries > 1, dtype=torch.bool)
    todo = (on & ~goal.reached(logits) if stop else on).nonzero().squeeze(1)
    while len(todo):
        clean, before = images[todo], current[todo]
        sign = (1 - 2 * (turn[todo] % 2)).view(-1, 1, 1, 1).to(images)
        moved = into(clean, before + size * sign * basis.directions(todo, turn[todo] // 2), eps, p)
        change = (norm(moved - before, math.inf) > _ROUNDING * size).nonzero().squeeze(1)
        better, done = torch.zeros_like(todo, dtype=torch.bool), torch.zeros_like(todo).bool()
        if len(change):
            index = todo[change]
            logits = victim.logits(finish(moved[change], index))
            selected_goal = goal.select(index)
            loss, reached = selected_goal.loss(logits, "ce"), selected_goal.reached(logits) & stop
            better[change], done[change] = (loss > best[index]) | reached, reached
            queried[index] += 1
            best[index] = torch.where(better[change], loss, best[index])
            current[todo[better]] = moved[better]
        # After a step that helped the next direction; else the way back, then the next direction.
        turn[todo] = (turn[todo] + torch.where(better, 2 - turn[todo] % 2, 1)) % turns
        idle[todo] = torch.where(better, 0, idle[todo] + 1)
        todo = todo[~done & (queried[todo] < options.queries) & (idle[todo] < turns)]
    return finish(current, torch.arange(len(images), device=images.device))


def _default_step(eps: float, options: Options) -> float:
    """The length of a step where none is given."""
    if options.norm == "l2":
        return min(_STEP, eps)
    return eps if options.basis == "pixel" else _WAVE * eps


class _Basis:
    """An orthonormal basis of the images' space, in a random order of each image's own."""

    def __init__(self, images: Tensor, random: ImageRandom, options: Options) -> None:
        import torch

        from advlab.perturbation.frequencies import cosines

        self._channels, height, width = images.shape[1:]
        self._scaled = options.norm == "linf"
        self._columns = width
        waves = cosines if options.basis == "dct" else torch.eye
        self._down, self._right = (waves(side).to(images) for side in (height, width))
        order = random.uniform((images.shape[1:].numel(),))
        if options.basis == "dct":
            group = torch.maximum(
                _groups(height, options.low_frequencies)[:, None],
                _groups(width, options.low_frequencies)[None, :],
            )
            order = order + group.expand(self._channels, -1, -1).flatten()
        self.order = order.argsort(dim=1, stable=True).to(images.device)

    def directions(self, index: Tensor, place: Tensor) -> Tensor:
        """The directions (M, C, H, W) at these places (M,) in the orders of the images ``index``.

        Their L2 norm is 1; for L∞ their largest entry is.
        """
        import torch

        number = self.order[index, place]
        column, row = number % self._columns, number // self._columns % len(self._down)
        channel = number // (self._columns * len(self._down))
        down, right = self._down[row], self._right[column]
        if self._scaled:
            down, right = (x / x.abs().amax(dim=1, keepdim=True) for x in (down, right))
        only = torch.nn.functional.one_hot(channel, self._channels).to(down)
        return torch.einsum("nc,nh,nw->nchw", only, down, right)


def _groups(side: int, lowest: float) -> Tensor:
    """The group in which each frequency's turn comes: 0 for the lowest ``lowest`` of them, then one
    for each thirty-second part more, float32 (side,)."""
    import torch

    fraction = (torch.arange(side, dtype=torch.float64) + 1) / side
    return ((fraction - lowest) / _GROWTH - 1e-9).ceil().clamp_min(0).float()
