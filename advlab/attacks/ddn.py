"""DDN: gradient steps whose direction and whose norm are chosen apart from each other.

Rony et al. 2019, arXiv:1811.09600.
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

# The paper's values, for every network and data set.
_FIRST_RADIUS = 1.0  # epsilon_0
_CHANGE = 0.05  # gamma: the share by which a step changes the radius
_FIRST_STEP, _LAST_STEP = 1.0, 0.01  # alpha, along half a cosine


class Options(MinimumNormOptions):
    """DDN: follows the gradient on a sphere that shrinks after a success and grows otherwise."""

    checked_against: ClassVar[str] = "foolbox; the closed form on linear networks"

    norm: f.NormL2 = "l2"
    eps: f.Eps = [2.0]
    steps: f.Steps = 100
    eot: f.GradientSamples = 1


def perturb(
    victim: Victim, images: Tensor, goal: Goal, random: ImageRandom, eps: float, options: Options
) -> Tensor:
    """The nearest images (N, C, H, W) in [0, 1] that reach their goal within eps; else the images.

    Algorithm 1 of the paper. It takes all ``steps``, whatever eps is.
    """
    import torch

    from advlab.perturbation.ascent import annealed
    from advlab.perturbation.geometry import norm, steepest
    from advlab.perturbation.nearest import Nearest

    nearest = Nearest(victim, images, goal, eps, options)
    index = nearest.to_attack()
    if len(index) == 0:
        return nearest.within_eps()
    clean, goal = images[index], goal.select(index)
    x, radius = clean, torch.full_like(clean[:, 0, 0, 0], _FIRST_RADIUS)
    for number in range(options.steps):
        gradient, logits = victim.gradient(x, goal, "ce")
        reached = goal.reached(logits)
        nearest.offer(x[reached], index[reached])
        length = annealed(_FIRST_STEP, _LAST_STEP, number / options.steps)
        r = x - clean + length * steepest(gradient, 2)
        radius = radius * torch.where(reached, 1 - _CHANGE, 1 + _CHANGE)
        scale = radius / norm(r, 2).clamp_min(torch.finfo(r.dtype).tiny)
        x = (clean + scale.view(-1, 1, 1, 1) * r).clamp(0, 1)
    nearest.offer(x, index)
    return nearest.within_eps()
