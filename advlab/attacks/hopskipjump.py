"""HopSkipJump: a black-box attack that sees only the predicted class.

Chen, Jordan and Wainwright 2020, arXiv:1904.02144.
"""

from __future__ import annotations

import math
from itertools import count
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from advlab.config import fields as f
from advlab.config.options.run import AttackOptions, Sees

if TYPE_CHECKING:
    from torch import Tensor

    from advlab.perturbation.decisions import Decisions
    from advlab.perturbation.goal import Goal
    from advlab.perturbation.randomness import ImageRandom
    from advlab.perturbation.victim import Victim

_JUMPS = 6  # questions kept for a jump and the look into the ball after it
_LONGEST = 20  # halvings of a jump


class Options(AttackOptions):
    """HopSkipJump: follows the decision boundary; it sees only the predicted class."""

    sees: ClassVar[Sees] = "predicted class"
    checked_against: ClassVar[str] = "foolbox"

    norm: f.NormLinfOrL2 = "linf"
    queries: f.Queries = 2000
    initial_samples: Annotated[
        int,
        Field(
            ge=1,
            le=100_000,
            description=(
                "queries for the first estimate of a direction; iteration t uses √t times as many"
            ),
        ),
        f.PERTURBATION,
    ] = 100


def perturb(
    victim: Victim, images: Tensor, goal: Goal, random: ImageRandom, eps: float, options: Options
) -> Tensor:
    """Images (N, C, H, W) in [0, 1] within eps, after at most ``queries`` queries each.

    An image for which none was found, because no pattern reached the goal or the walk ended too far
    away, comes back as it was. So does one that is at its goal already.
    """
    import torch

    from advlab.perturbation.decisions import Decisions, starting_points, to_boundary, towards
    from advlab.perturbation.geometry import P, norm, round_to_bytes

    p, pixels = P[options.norm], images.shape[1:].numel()
    # Noise of length distance / √pixels crosses a plane by distance / pixels, as a rule: an eighth
    # of it is near enough.
    halvings = 3 + math.ceil(math.log2(pixels))
    ask = Decisions(victim, goal, torch.full((len(images),), options.queries, device=images.device))
    result = images.clone()
    todo = (~ask(images, torch.arange(len(images), device=images.device))).nonzero().squeeze(1)
    random = random.select(todo)
    x, started = starting_points(ask, images[todo], todo, random)
    x, todo, random = x[started], todo[started], random.select(started)
    for hop in count(1):
        clean = images[todo]
        inside = towards(clean, x, torch.full_like(clean[:, 0, 0, 0], eps), p)
        final = round_to_bytes(inside, clean, eps, p) if options.quantize else inside
        reached = ask(final, todo)
        result[todo[reached]] = final[reached]
        votes = (ask.remaining[todo] - halvings - _JUMPS).clamp_max(
            round(options.initial_samples * math.sqrt(hop))
        )
        on = (~reached & (votes > 0)).nonzero().squeeze(1)
        if len(on) == 0:
            return result
        x, todo, votes, random, clean = x[on], todo[on], votes[on], random.select(on), clean[on]
        x = to_boundary(ask, clean, x, todo, eps, p, halvings)
        distance = norm(x - clean, p)
        direction = _direction(ask, x, todo, random, distance / math.sqrt(pixels), votes, p)
        x = _jump(ask, x, todo, direction, distance / math.sqrt(hop))
    return result


def _direction(
    ask: Decisions,
    x: Tensor,
    index: Tensor,
    random: ImageRandom,
    radius: Tensor,
    votes: Tensor,
    p: float,
) -> Tensor:
    """The estimated direction into the goal's region, a unit vector of norm p.

    Args:
        radius: how far from x to ask, L2, (N,).
        votes: how many to ask, int64 (N,).
    """
    from advlab.perturbation.decisions import weighed_directions
    from advlab.perturbation.geometry import steepest

    def draw(some: int) -> Tensor:
        shape = some, *x.shape[1:]
        return random.normal(shape) if p == 2 else random.uniform(shape) * 2 - 1

    return steepest(weighed_directions(ask, x, index, draw, radius, votes), p)


def _jump(ask: Decisions, x: Tensor, index: Tensor, direction: Tensor, size: Tensor) -> Tensor:
    """x moved along ``direction`` by ``size`` (N,), halved until the goal is still reached.

    x itself where no length works.
    """
    import torch

    result, remaining = x.clone(), torch.arange(len(x), device=x.device)
    for _ in range(_LONGEST):
        moved = (x[remaining] + size[remaining].view(-1, 1, 1, 1) * direction[remaining]).clamp(
            0, 1
        )
        reached = ask(moved, index[remaining])
        result[remaining[reached]] = moved[reached]
        remaining, size = remaining[~reached], size / 2
    return result
