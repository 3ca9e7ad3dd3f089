"""Sparse-RS: a black-box attack that repaints random pixels and sees only logits.

Croce et al. 2022, arXiv:2006.12834.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from advlab.config import fields as f
from advlab.config.options.run import AttackOptions, Sees

if TYPE_CHECKING:
    from torch import Tensor

    from advlab.perturbation.goal import Goal, Loss
    from advlab.perturbation.randomness import ImageRandom
    from advlab.perturbation.victim import Victim

# After how many of 10,000 queries the share of the pixels that are replaced is how many times
# smaller; the values of the authors' code for L0.
_SHRUNK = {0: 2, 50: 4, 200: 5, 500: 6, 1000: 8, 2000: 10, 4000: 12, 6000: 15, 8000: 20}


class Options(AttackOptions):
    """Sparse-RS: random search over a few pixels of corner colours; it sees no gradients."""

    sees: ClassVar[Sees] = "logits"
    checked_against: ClassVar[str] = "the closed form on linear networks; the authors' schedule"

    norm: f.NormL0 = "l0"
    eps: f.Eps = [10.0]
    queries: f.Queries = 1000
    first_fraction: Annotated[
        float,
        Field(gt=0, le=1, description="fraction of the changed pixels that is replaced at first"),
        f.PERTURBATION,
    ] = 0.3


def perturb(
    victim: Victim, images: Tensor, goal: Goal, random: ImageRandom, eps: float, options: Options
) -> Tensor:
    """Images (N, C, H, W) in [0, 1] with at most eps changed pixels, after at most ``queries``
    queries each.

    Algorithm 1 of the paper for L0. Each channel of a changed pixel is black or white. A step gives
    some changed pixels their own colours back and paints as many others; it is kept if the margin,
    targeted the probability of the target, gets better. The first query is about the image itself.
    """
    import torch

    pixels = images.shape[2:].numel()
    count, stop = min(int(eps), pixels), options.surrogate is None
    result = images.clone()
    if count == 0:
        return result
    kind: Loss = "ce" if goal.targeted else "margin"
    on = torch.ones(len(images), dtype=torch.bool, device=images.device)
    todo = (on & ~(goal.reached(victim.logits(images)) & stop)).nonzero().squeeze(1)
    random, current = random.select(todo), images[todo]
    chosen = torch.zeros(len(todo), pixels, dtype=torch.bool, device=images.device)
    best = torch.full((len(todo),), -torch.inf, dtype=images.dtype, device=images.device)
    for query in range(1, options.queries):
        if len(todo) == 0:
            break
        if query == 1:
            moved, places = _painted(images[todo], current, chosen, count, random)
        else:
            fraction = options.first_fraction * shrunk(query - 1, options.queries - 1)
            some = max(1, int(fraction * count))
            moved, places = _painted(images[todo], current, chosen, some, random)
        logits, selected_goal = victim.logits(moved), goal.select(todo)
        loss, reached = selected_goal.loss(logits, kind), selected_goal.reached(logits) & stop
        better = (loss > best) | reached | (query == 1)
        best = torch.where(better, loss, best)
        current = torch.where(better.view(-1, 1, 1, 1), moved, current)
        chosen = torch.where(better[:, None], places, chosen)
        result[todo[better]] = current[better]
        remaining = (~reached).nonzero().squeeze(1)
        if len(remaining) < len(todo):
            todo, random = todo[remaining], random.select(remaining)
            current, chosen, best = current[remaining], chosen[remaining], best[remaining]
    return result


def shrunk(query: int, queries: int) -> float:
    """The factor by which fewer pixels are replaced after ``query`` queries, scaled from the
    10,000 queries of the paper to ours."""
    now = int(10_000 * query / queries)
    return 1 / max([1, *(times for point, times in _SHRUNK.items() if now > point)])


def _painted(
    images: Tensor, current: Tensor, chosen: Tensor, some: int, random: ImageRandom
) -> tuple[Tensor, Tensor]:
    """``current`` with ``some`` changed pixels restored, where there are any, and as many others
    painted; and which pixels are changed then.

    Where all pixels are changed already, the same ones are painted anew.

    Args:
        images: unperturbed, (M, C, H, W).
        chosen: which pixels are changed, as many in each image, bool (M, H · W).
    """
    import torch

    channels, (height, width) = images.shape[1], images.shape[2:]
    pixels = height * width
    inside = int(chosen[0].sum())
    some = min(some, pixels - inside) or min(some, inside)
    drawn = random.uniform((pixels,)).to(images.device)
    colours = (random.uniform((channels, some)) < 0.5).to(images)
    restored = drawn.masked_fill(~chosen, 2.0).topk(min(some, inside), 1, largest=False).indices
    after = chosen.scatter(1, restored, False)
    painted = (
        drawn.masked_fill(chosen, 2.0).topk(some, 1, largest=False).indices
        if inside < pixels
        else restored
    )
    moved = torch.where(after[:, None], current.flatten(2), images.flatten(2))
    moved = moved.scatter(2, painted[:, None].expand(-1, channels, -1), colours)
    return moved.view_as(images), after.scatter(1, painted, True)
