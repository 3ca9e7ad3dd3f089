"""GeoDA: steps along estimated normals of the decision boundary; it sees only the predicted class.

Rahmati, Moosavi-Dezfooli, Frossard and Dai 2020, arXiv:2003.06468.
"""

from __future__ import annotations

import math
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field, model_validator

from advlab.config import fields as f
from advlab.config.options.run import MinimumNormOptions, Sees

if TYPE_CHECKING:
    from torch import Tensor

    from advlab.perturbation.decisions import Decisions
    from advlab.perturbation.goal import Goal
    from advlab.perturbation.randomness import ImageRandom
    from advlab.perturbation.victim import Victim

_GROWTH = 0.6 ** (-2 / 3)  # of the queries for a normal, from one to the next: the authors'
_FEWEST = 50  # queries for the first normal, at least: the authors'
_LINF_RADIUS = 0.1  # where --eps does not say
_DOUBLINGS = 3  # of the distance along a normal until the goal is reached


class Options(MinimumNormOptions):
    """GeoDA: steps along estimated normals of the decision boundary; it sees the class alone."""

    sees: ClassVar[Sees] = "predicted class"
    checked_against: ClassVar[str] = "a naive version"

    norm: f.NormLinfOrL2 = "l2"
    eps: f.Eps = [2.0]
    queries: f.Queries = 2000
    low_frequencies: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description=(
                "fraction of the frequencies along each side, the lowest, that normals are made of"
            ),
        ),
        f.PERTURBATION,
    ] = 1 / 3

    @model_validator(mode="before")
    @classmethod
    def _radius_of_the_norm(cls, values: Any) -> Any:
        """Where no radius is given, one that suits the norm."""
        if isinstance(values, dict) and values.get("norm") == "linf":
            return {"eps": [_LINF_RADIUS], **values}
        return values


def perturb(
    victim: Victim, images: Tensor, goal: Goal, random: ImageRandom, eps: float, options: Options
) -> Tensor:
    """The nearest images (N, C, H, W) in [0, 1] at their goal within eps, after at most ``queries``
    queries each; else the images.

    At a point of the boundary random directions of low frequencies are tried. Their sum, each with
    the sign of the answer, estimates the normal; it is added to those of the points before, since
    the boundary is nearly flat. The next point is where the ray from the image along the normal (in
    L∞ along its signs) meets the boundary. Queries for a normal grow from point to point by the
    paper's optimal factor.
    """
    import torch

    from advlab.perturbation.decisions import (
        NearestByDecisions,
        to_boundary,
        weighed_directions,
    )
    from advlab.perturbation.geometry import P, norm

    p, pixels = P[options.norm], images.shape[1:].numel()
    halvings = 3 + math.ceil(math.log2(pixels))
    nearest = NearestByDecisions(victim, images, goal, random, p, options.queries, options.quantize)
    ask, random = nearest.ask, nearest.random
    waves = _Waves(images, options.low_frequencies)
    place = torch.arange(len(nearest.index), device=images.device)
    x, normal = nearest.points.clone(), torch.zeros_like(nearest.points)
    search = halvings + _DOUBLINGS
    first = _first_votes(options.queries, search)
    for number in count():
        # As many for all images, or what one draws would hang on the others; only the last normal
        # of an image has fewer, those that its budget still has.
        remaining = ask.remaining[nearest.index[place]] - search
        votes = remaining.clamp_max(round(first * _GROWTH**number))
        on = votes > 0
        place, random, votes = place[on], random.select(on.nonzero().squeeze(1)), votes[on]
        if len(place) == 0:
            break
        clean, index, here = nearest.clean[place], nearest.index[place], x[place]
        radius = norm(here - clean, 2) / math.sqrt(pixels)
        draw = partial(waves.draw, random)
        normal[place] += weighed_directions(ask, here, index, draw, radius, votes)
        ahead, reached = _along(ask, clean, normal[place], nearest.distance[place], index, p)
        place_ahead = place[reached]
        met = to_boundary(ask, clean[reached], ahead[reached], index[reached], 0.0, p, halvings)
        x[place_ahead] = met
        nearest.offer(met, place_ahead)
    return nearest.within(eps)


def _first_votes(queries: int, search: int) -> float:
    """How many queries the first normal gets, so that the last one about ends the budget.

    Args:
        queries: the budget of an image.
        search: queries for the point of the boundary that follows a normal.

    Returns:
        At least ``_FEWEST``, and as few as whole numbers of normals allow.
    """
    first, total = float(_FEWEST), 0.0
    for points in count(1):
        total += _GROWTH ** (points - 1)
        shared = (queries - points * search) / total
        if shared < _FEWEST:
            break
        first = shared
    return first


def _along(
    ask: Decisions, clean: Tensor, normal: Tensor, distance: Tensor, index: Tensor, p: float
) -> tuple[Tensor, Tensor]:
    """A point at the goal on the ray from each image along its normal, and where there is one.

    It is looked for at the distance of the nearest point so far, then at twice that, and so on.

    Returns:
        Points (M, C, H, W), and bool (M,).
    """
    import torch

    from advlab.perturbation.geometry import steepest, useful

    direction = steepest(useful(normal, clean), p)
    ahead, seen = clean.clone(), torch.zeros_like(index, dtype=torch.bool)
    for _ in range(_DOUBLINGS):
        todo = (~seen).nonzero().squeeze(1)
        if len(todo) == 0:
            break
        length = distance[todo].view(-1, 1, 1, 1)
        moved = (clean[todo] + length * direction[todo]).clamp(0, 1)
        reached = ask(moved, index[todo])
        ahead[todo[reached]], seen[todo[reached]] = moved[reached], True
        distance = 2 * distance
    return ahead, seen


class _Waves:
    """Random sums of the cosine waves of the lowest frequencies."""

    def __init__(self, images: Tensor, fraction: float) -> None:
        from advlab.perturbation.frequencies import cosines

        self._channels, height, width = images.shape[1:]
        self._down, self._right = (
            cosines(side)[: max(1, round(fraction * side))].to(images) for side in (height, width)
        )

    def draw(self, random: ImageRandom, count: int) -> Tensor:
        """So many directions for each image, (N, count, C, H, W)."""
        import torch

        shape = count, self._channels, len(self._down), len(self._right)
        weights = random.normal(shape).to(self._down)
        return torch.einsum("nkcuv,uh,vw->nkchw", weights, self._down, self._right)
