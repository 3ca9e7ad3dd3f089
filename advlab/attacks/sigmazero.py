"""σ-zero: descends a smooth count of the changed pixels, and sets small changes to zero.

Cinà et al. 2025, arXiv:2402.01879.
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

# The values of the paper and of the authors' code, for every network and data set.
_FIRST_STEP, _LAST_STEP = 1.0, 0.1  # eta_0, along half a cosine to its tenth
_SOFTNESS = 1e-3  # sigma: a pixel counts as z / (z + sigma), z the square of its change
_FIRST_THRESHOLD = 0.3  # tau_0: smaller changes are set to zero
_THRESHOLD_RATE = 0.01  # t: by how much of the step the threshold moves
_DECAY_1, _DECAY_2, _SMALL = 0.9, 0.999, 1e-8  # Adam


class Options(MinimumNormOptions):
    """σ-zero: changes as few pixels as possible, by descent on a smooth count of them."""

    checked_against: ClassVar[str] = "the closed form on linear networks"

    norm: f.NormL0 = "l0"
    eps: f.Eps = [10.0]
    steps: f.Steps = 100
    eot: f.GradientSamples = 1


def perturb(
    victim: Victim, images: Tensor, goal: Goal, random: ImageRandom, eps: float, options: Options
) -> Tensor:
    """The images (N, C, H, W) in [0, 1] with the fewest changed pixels that reach their goal, if
    those are eps at most; else the images.

    Algorithm 1 of the paper, with the Adam of the authors' code. The paper counts entries; here
    the channels of a pixel form a group that counts once, so that in images of one channel the two
    are the same. It takes all ``steps``, whatever eps is.
    """
    import torch

    from advlab.perturbation.ascent import annealed
    from advlab.perturbation.geometry import norm
    from advlab.perturbation.nearest import Nearest

    nearest = Nearest(victim, images, goal, eps, options)
    index = nearest.to_attack()
    if len(index) == 0:
        return nearest.within_eps()
    clean, goal = images[index], goal.select(index)
    x, threshold = clean, torch.full_like(clean[:, 0, 0, 0], _FIRST_THRESHOLD)
    first, second = torch.zeros_like(x), torch.zeros_like(x)
    for number in range(options.steps):
        gradient, logits = victim.gradient(x, goal, "margin")
        reached = goal.reached(logits)
        nearest.offer(x[reached], index[reached])
        behind = (goal.loss(logits, "margin") < 0).view(-1, 1, 1, 1)
        slope = _slope_of_count(x - clean) - torch.where(behind, gradient, 0.0)
        largest = norm(slope, torch.inf).clamp_min(1e-12)
        slope = slope / largest.view(-1, 1, 1, 1)
        first = _DECAY_1 * first + (1 - _DECAY_1) * slope
        second = _DECAY_2 * second + (1 - _DECAY_2) * slope**2
        mean, square = (
            first / (1 - _DECAY_1 ** (number + 1)),
            second / (1 - _DECAY_2 ** (number + 1)),
        )
        size, next_size = (
            annealed(_FIRST_STEP, _LAST_STEP, done / options.steps) for done in (number, number + 1)
        )
        x = (x - size * mean / (square.sqrt() + _SMALL)).clamp(0, 1)
        change = _THRESHOLD_RATE * next_size
        threshold = torch.where(reached, threshold + change, threshold - change).clamp(0, 1)
        above = (x - clean).abs().amax(dim=1) >= threshold.view(-1, 1, 1)
        x = torch.where(above[:, None], x, clean)
    nearest.offer(x, index)
    return nearest.within_eps()


def _slope_of_count(r: Tensor) -> Tensor:
    """The gradient with respect to r (N, C, H, W) of the smooth share of changed pixels.

    A pixel whose squared L2 norm is z counts as z / (z + sigma).
    """
    z = r.square().sum(dim=1, keepdim=True)
    pixels = r.shape[2] * r.shape[3]
    return 2 * r * _SOFTNESS / (z + _SOFTNESS) ** 2 / pixels
