"""Boundary attack: a random walk along the decision boundary; it sees only the predicted class.

Brendel, Rauber and Bethge 2018, arXiv:1712.04248.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from advlab.config import fields as f
from advlab.config.options.run import MinimumNormOptions, Sees

if TYPE_CHECKING:
    from torch import Tensor

    from advlab.perturbation.goal import Goal
    from advlab.perturbation.randomness import ImageRandom
    from advlab.perturbation.victim import Victim

_STEP = 0.01  # the first length of either step, as a fraction of the distance: the authors'
_CHANGE = 1.5  # by which steps grow and shrink: the authors'
_LOOK = 10  # at every tenth step the point on the sphere is asked about as well: the authors'
_ON_SPHERE = 10, 0.2, 0.5  # so many answers, and the success rates to keep both steps between
_TOWARDS = 30, 0.1, 0.25  # the same of the step towards the image
_CONVERGED = 1e-7  # the step towards the image below which nothing changes any more


class Options(MinimumNormOptions):
    """Boundary attack: random steps along the decision boundary; it sees the class alone."""

    sees: ClassVar[Sees] = "predicted class"
    checked_against: ClassVar[str] = "foolbox"

    norm: f.NormL2 = "l2"
    eps: f.Eps = [2.0]
    queries: f.Queries = 5000


def perturb(
    victim: Victim, images: Tensor, goal: Goal, random: ImageRandom, eps: float, options: Options
) -> Tensor:
    """The nearest images (N, C, H, W) in [0, 1] at their goal within eps, after at most ``queries``
    queries each; else the images.

    A step is one of random direction on the sphere around the image, then one towards the image.
    Both are proportional to the distance. The walk begins at the boundary between the image and
    noise. The authors adapt the lengths of steps after 100 and 30 looks; here they are adapted
    after 10 looks and 30 steps, so that a few thousand queries are enough for it.
    """
    import torch

    from advlab.perturbation.decisions import NearestByDecisions
    from advlab.perturbation.geometry import P

    nearest = NearestByDecisions(
        victim, images, goal, random, P[options.norm], options.queries, options.quantize
    )
    random, ask = nearest.random, nearest.ask
    place = torch.arange(len(nearest.index), device=images.device)
    spherical, source = (torch.full_like(nearest.distance, _STEP) for _ in range(2))
    on_sphere, towards = _Rate(len(place), *_ON_SPHERE), _Rate(len(place), *_TOWARDS)
    step = 0
    while len(place):
        step += 1
        clean, index = nearest.clean[place], nearest.index[place]
        drawn = random.normal(tuple(clean.shape[1:])).to(clean)
        sphere, nearer = _proposals(
            clean, nearest.points[place], drawn, spherical[place], source[place]
        )
        if step % _LOOK == 0:
            change = on_sphere.change(place, ask(sphere, index))
            spherical[place] *= change
            source[place] *= change
        reached = ask(nearer, index)
        nearest.offer(nearer[reached], place[reached])
        source[place] *= towards.change(place, reached)
        on = (ask.remaining[index] > 0) & (source[place] >= _CONVERGED)
        place, random = place[on], random.select(on.nonzero().squeeze(1))
    return nearest.within(eps)


class _Rate:
    """How often a kind of step succeeds, for each image, and how its length changes with it."""

    def __init__(self, images: int, answers: int, low: float, high: float) -> None:
        import torch

        self._answers, self._low, self._high = answers, low, high
        self._tried, self._reached = torch.zeros(2, images, dtype=torch.int64).unbind()

    def change(self, place: Tensor, reached: Tensor) -> Tensor:
        """Count these answers (K,) of the images at ``place``; the factor of each step's length."""
        import torch

        where, yes = place.cpu(), reached.cpu()
        self._tried[where] += 1
        self._reached[where] += yes
        full = self._tried[where] >= self._answers
        rate = self._reached[where] / self._tried[where]
        change = torch.ones(len(where))
        change[full & (rate > self._high)] = _CHANGE
        change[full & (rate < self._low)] = 1 / _CHANGE
        again = where[change != 1]
        self._tried[again], self._reached[again] = 0, 0
        old = where[full]
        self._tried[old], self._reached[old] = 0, 0
        return change.to(place.device)


def _proposals(
    clean: Tensor, x: Tensor, drawn: Tensor, spherical: Tensor, source: Tensor
) -> tuple[Tensor, Tensor]:
    """The point on the sphere around the image, and the one nearer to the image.

    Args:
        drawn: normal noise, shaped as the images.
        spherical, source: lengths of the two steps as fractions of the distance, (M,).
    """
    from advlab.perturbation.geometry import norm

    def wide(numbers: Tensor) -> Tensor:
        return numbers.view(-1, 1, 1, 1)

    back = clean - x
    distance = norm(back, 2).clamp_min(1e-30)
    unit = back / wide(distance)
    across = drawn - wide((drawn * unit).flatten(1).sum(1)) * unit
    across = wide(spherical * distance / norm(across, 2).clamp_min(1e-30)) * across
    on_sphere = clean + (across - back) / wide((spherical**2 + 1).sqrt())
    on_sphere = on_sphere.clamp(0, 1)
    back = clean - on_sphere
    left_over = norm(back, 2).clamp_min(1e-30)
    length = (source * distance + left_over - distance).clamp_min(0) / left_over
    return on_sphere, (on_sphere + wide(length) * back).clamp(0, 1)
