"""FMN: gradient steps within a ball whose radius follows the distance to the decision boundary.

Pintor et al. 2021, arXiv:2102.12827.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from advlab.config import fields as f
from advlab.config.options.run import MinimumNormOptions

if TYPE_CHECKING:
    from torch import Tensor

    from advlab.perturbation.goal import Goal
    from advlab.perturbation.randomness import ImageRandom
    from advlab.perturbation.victim import Victim

# The paper's values, for every norm, network and data set.
_FIRST_CHANGE, _LAST_CHANGE = 0.05, 1e-4  # gamma: the share by which a step changes the radius
_FIRST_STEP, _LAST_STEP = 1.0, 0.01  # alpha: the L2 length of a step


class Options(MinimumNormOptions):
    """FMN: follows the gradient in a ball that shrinks after a success and grows otherwise."""

    checked_against: ClassVar[str] = "foolbox; the closed form on linear networks"

    norm: f.NormOrL0 = "linf"
    steps: f.Steps = 100
    eot: f.GradientSamples = 1


def perturb(
    victim: Victim, images: Tensor, goal: Goal, random: ImageRandom, eps: float, options: Options
) -> Tensor:
    """The nearest images (N, C, H, W) in [0, 1] that reach their goal within eps; else the images.

    Algorithm 1 of the paper. Until the first success the radius is the distance of the linearised
    boundary; in L0, where there is none, it starts from one pixel. Entries whose pixel is at the
    end of its range count as zero in the gradient, since the paper has no box. It takes all
    ``steps``, whatever eps is.
    """
    import torch

    from advlab.perturbation.ascent import annealed
    from advlab.perturbation.geometry import DUAL, P, norm, project, steepest, useful
    from advlab.perturbation.nearest import Nearest

    p = P[options.norm]
    nearest = Nearest(victim, images, goal, eps, options)
    index = nearest.to_attack()
    if len(index) == 0:
        return nearest.within_eps()
    clean, goal = images[index], goal.select(index)
    x, radius = clean, torch.full_like(clean[:, 0, 0, 0], 1.0 if p == 0 else torch.inf)
    for number in range(options.steps):
        gradient, logits = victim.gradient(x, goal, "margin")
        # A pixel at the end of its range would make the boundary look nearer than it is, and in L1
        # take the whole step.
        gradient = useful(gradient, x)
        reached = goal.reached(logits)
        nearest.offer(x[reached], index[reached])
        best, r = nearest.distance[index], x - clean
        change = annealed(_FIRST_CHANGE, _LAST_CHANGE, number / options.steps)
        if p == 0:
            radius = _pixels(radius, best, reached, change)
        else:
            slope = norm(gradient, DUAL[options.norm]).clamp_min(torch.finfo(r.dtype).tiny)
            # Beyond the boundary by twice what counts, or a linear network is met on it exactly.
            way = goal.loss(logits, "margin").abs() + 2 * nearest.resolution(logits)
            linear = norm(r, p) + way / slope
            larger = torch.where(best.isfinite(), radius * (1 + change), linear)
            radius = torch.where(reached, torch.minimum(radius * (1 - change), best), larger)
        length = annealed(_FIRST_STEP, _LAST_STEP, number / options.steps)
        r = project(r + length * steepest(gradient, 2), radius, p)
        x = (clean + r).clamp(0, 1)
    nearest.offer(x, index)
    return nearest.within_eps()


def _pixels(radius: Tensor, best: Tensor, reached: Tensor, change: float) -> Tensor:
    """The next L0 radius (N,): by the share ``change`` and by one pixel at least, but never 0.

    Args:
        best: the distance of the nearest success so far, (N,), infinite where there is none.
        reached: where the current image is a success, bool (N,).
    """
    import torch

    smaller = torch.minimum(torch.minimum(radius - 1, (radius * (1 - change)).floor()), best)
    larger = torch.maximum(radius + 1, (radius * (1 + change)).floor())
    return torch.where(reached, smaller, larger).clamp_min(1)
