"""C&W: the smallest weighted sum of squared distance and margin.

Carlini and Wagner 2017, arXiv:1608.04644.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from advlab.config import fields as f
from advlab.config.options.run import MinimumNormOptions

if TYPE_CHECKING:
    from torch import Tensor

    from advlab.perturbation.goal import Goal
    from advlab.perturbation.nearest import Nearest
    from advlab.perturbation.randomness import ImageRandom
    from advlab.perturbation.victim import Victim

# The values of the paper and of the authors' code, for every network and data set.
_INSIDE = 0.999999  # of the box: at its ends the tanh has no slope
_DECAY_1, _DECAY_2, _SMALL = 0.9, 0.999, 1e-8  # Adam


class Options(MinimumNormOptions):
    """C&W: minimises squared L2 distance plus weighted margin, with a search for the weight."""

    checked_against: ClassVar[str] = "foolbox; the closed form on linear networks"

    norm: f.NormL2 = "l2"
    eps: f.Eps = [2.0]
    steps: f.Steps = 200
    lr: Annotated[
        float, Field(gt=0, le=10, description="learning rate of Adam"), f.PERTURBATION
    ] = 0.05
    search_steps: f.SearchSteps = 9
    margin: f.Margin = 0.0
    eot: f.GradientSamples = 1


def perturb(
    victim: Victim, images: Tensor, goal: Goal, random: ImageRandom, eps: float, options: Options
) -> Tensor:
    """The nearest images (N, C, H, W) in [0, 1] that reach their goal within eps; else the images.

    For each image the weight c of the margin grows tenfold until the goal is reached, and is then
    halved towards the smallest c that reaches it. Only successes with ``margin`` count. The paper
    takes 10,000 steps at a learning rate of 0.01; fewer and larger ones are the default here.
    """
    from advlab.perturbation.nearest import Nearest, search_weight

    nearest = Nearest(victim, images, goal, eps, options, options.margin)

    def descend(index: Tensor, weight: Tensor) -> Tensor:
        return _descend(victim, nearest, index, weight, options)

    return search_weight(nearest, descend, options.search_steps)


def _descend(
    victim: Victim, nearest: Nearest, index: Tensor, weight: Tensor, options: Options
) -> Tensor:
    """Minimise ‖x - image‖² + c · max(margin - lead, 0) over x = (tanh(w) + 1) / 2, by Adam.

    Args:
        index: positions of the images, (M,).
        weight: c of each, (M,).

    Returns:
        Which of the images reached their goal on the way; bool (M,).
    """
    import torch

    clean, goal = nearest.images[index], nearest.goal.select(index)
    successful = torch.zeros_like(index, dtype=torch.bool)
    w = torch.atanh((2 * clean - 1) * _INSIDE)
    first, second = torch.zeros_like(w), torch.zeros_like(w)
    for number in range(1, options.steps + 1):
        x = (torch.tanh(w) + 1) / 2
        gradient, logits = victim.gradient(x, goal, "margin")
        reached = nearest.succeeds(logits, index)
        nearest.offer(x[reached], index[reached])
        successful |= reached
        pull = torch.where(goal.loss(logits, "margin") < options.margin, weight, 0.0)
        slope = 2 * (x - clean) - pull.view(-1, 1, 1, 1) * gradient
        slope = slope * 2 * x * (1 - x)  # dx/dw
        first = _DECAY_1 * first + (1 - _DECAY_1) * slope
        second = _DECAY_2 * second + (1 - _DECAY_2) * slope**2
        mean, square = first / (1 - _DECAY_1**number), second / (1 - _DECAY_2**number)
        w = w - options.lr * mean / (square.sqrt() + _SMALL)
    return successful
