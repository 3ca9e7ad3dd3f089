"""One-pixel: a black-box attack that evolves the places and colours of a few pixels.

Su, Vargas and Sakurai 2019, arXiv:1710.08864.
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

_SCALE = 0.5  # F, the weight of a difference of two candidates; the paper's
_COLOUR, _SPREAD = 128 / 255, 127 / 255  # mean and standard deviation of the first colours
_PARENTS = 4  # candidates that a child needs: its own, whose place it may take, and three others
_AT_ONCE = 4096  # images in a forward pass


class Options(AttackOptions):
    """One-pixel: differential evolution of a few pixels; it sees probabilities, no gradients."""

    sees: ClassVar[Sees] = "logits"
    checked_against: ClassVar[str] = "torchattacks"
    revision: ClassVar[int] = 2  # half of the children start from the best candidate

    norm: f.NormL0 = "l0"
    eps: f.Eps = [1.0]
    queries: f.Queries = 1000
    population: Annotated[
        int,
        Field(ge=_PARENTS, le=100_000, description="candidates in a generation"),
        f.PERTURBATION,
    ] = 20


def perturb(
    victim: Victim, images: Tensor, goal: Goal, random: ImageRandom, eps: float, options: Options
) -> Tensor:
    """Images (N, C, H, W) in [0, 1] with at most eps changed pixels, after at most ``queries``
    queries each.

    Differential evolution without crossover. A candidate holds the place and the colour of eps
    pixels. Its child takes its place if the probability of the class to leave is lower (targeted:
    of the class to reach, higher). Of three others b, c and d, every other child is b + F (c - d),
    as in section 3.2 of the paper, and the rest are best + F (c - d), as in the authors' code: the
    first kind alone raises the loss less where queries are few, the second where they are many.
    Values of a child beyond their range, of which the paper says nothing, are drawn anew. The first
    query is about the image itself. An image for which nothing is better than the image itself
    comes back as it was.
    """
    import torch

    count, stop = min(int(eps), images.shape[2:].numel()), options.surrogate is None
    result = images.clone()
    if count == 0:
        return result
    logits = victim.logits(images)
    best = goal.loss(logits, "ce")
    remaining = options.queries - 1
    todo = torch.arange(len(images), device=images.device)[~(goal.reached(logits) & stop)]
    random = random.select(todo)
    population = _first(images[todo], count, options.population, random)
    height = torch.full(population.shape[:2], -torch.inf, dtype=best.dtype, device=best.device)
    children = population
    while len(todo) and remaining > 0:
        queried = min(remaining, options.population)
        remaining -= queried
        children = children[:, :queried]
        loss, reached = _judged(victim, images[todo], goal.select(todo), children, options)
        # A success beats all that are none, whatever the losses say.
        score = torch.where(reached & stop, torch.inf, loss)
        top, place = score.max(dim=1)
        better = (top > best[todo]).nonzero().squeeze(1)
        member = children[better, place[better]]
        result[todo[better]] = applied(images[todo[better]], member, options.quantize)
        best[todo[better]] = top[better]
        wins = score > height[:, :queried]
        height[:, :queried] = torch.where(wins, score, height[:, :queried])
        population = population.clone()
        population[:, :queried] = torch.where(
            wins[:, :, None, None], children, population[:, :queried]
        )
        on = (~(reached.any(dim=1) & stop)).nonzero().squeeze(1)
        todo, random = todo[on], random.select(on)
        population, height = population[on], height[on]
        children = _children(population, height, random)
    return result


def _first(images: Tensor, count: int, members: int, random: ImageRandom) -> Tensor:
    """Random candidates (M, members, count, 2 + C): row and column in [0, 1), then the colour.

    Places are uniform and colours normal.
    """
    import torch

    channels = images.shape[1]
    places = random.uniform((members, count, 2)).to(images)
    colours = random.normal((members, count, channels)).to(images)
    return torch.cat([places, (_COLOUR + _SPREAD * colours).clamp(0, 1)], dim=3)


def _children(population: Tensor, height: Tensor, random: ImageRandom) -> Tensor:
    """A child of each candidate, shaped as the population; height (M, members) is what is to be
    raised."""
    import torch

    def members_at(index: Tensor) -> Tensor:
        return population.gather(1, index[:, :, None, None].expand_as(population))

    drawn = random.uniform((population.shape[1], 3)).to(population.device)
    base, first, second = (members_at(index) for index in three_others(drawn))
    best = members_at(height.argmax(dim=1, keepdim=True).expand_as(height))
    base[:, 1::2] = best[:, 1::2]
    child = base + _SCALE * (first - second)
    anew = random.uniform(tuple(population.shape[1:])).to(population)
    # A place of exactly 1 would be one pixel beyond the image; a colour of 1 is white.
    inside = (child >= 0) & (child <= 1)
    inside[..., :2] &= child[..., :2] < 1
    return torch.where(inside, child, anew)


def three_others(drawn: Tensor) -> list[Tensor]:
    """For each member three other ones, all different, each int64 (M, members).

    Args:
        drawn: uniform numbers in [0, 1), (M, members, 3).
    """
    import torch

    members = drawn.shape[1]
    taken = [torch.arange(members, device=drawn.device).expand(drawn.shape[:2])]
    for number in range(3):
        free = members - len(taken)
        place = (drawn[..., number].double() * free).long().clamp_max(free - 1)
        for before in torch.stack(taken, dim=2).sort(dim=2).values.unbind(dim=2):
            place = place + (place >= before)
        taken.append(place)
    return taken[1:]


def applied(images: Tensor, candidates: Tensor, quantize: bool) -> Tensor:
    """The images (M, C, H, W), each with the pixels of its candidate (M, count, 2 + C) painted.

    Of two pixels at one place the later counts.

    Args:
        quantize: whether colours are rounded to grey levels k / 255.
    """
    from advlab.data.pixels import to_unit

    height, width = images.shape[2:]
    row = (candidates[..., 0] * height).long().clamp(0, height - 1)
    column = (candidates[..., 1] * width).long().clamp(0, width - 1)
    place, colours = row * width + column, candidates[..., 2:]
    if quantize:
        colours = to_unit((255 * colours).round(), colours.dtype)
    moved = images.flatten(2)
    for pixel in range(candidates.shape[1]):
        colour = colours[:, pixel, :, None]
        moved = moved.scatter(2, place[:, pixel, None, None].expand_as(colour), colour)
    return moved.view_as(images)


def _judged(
    victim: Victim, images: Tensor, goal: Goal, candidates: Tensor, options: Options
) -> tuple[Tensor, Tensor]:
    """The log-odds to be raised and whether the goal is reached, for each candidate, (M, K)."""
    import torch

    some, members = candidates.shape[:2]
    owner = torch.arange(some, device=images.device).repeat_interleave(members)
    flat = candidates.flatten(0, 1)
    losses, reached = [], []
    for part in torch.arange(len(owner), device=images.device).split(_AT_ONCE):
        moved = applied(images[owner[part]], flat[part], options.quantize)
        logits, selected_goal = victim.logits(moved), goal.select(owner[part])
        losses.append(selected_goal.loss(logits, "ce"))
        reached.append(selected_goal.reached(logits))
    return torch.cat(losses).view(some, members), torch.cat(reached).view(some, members)
