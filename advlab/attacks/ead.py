"""EAD: the smallest elastic-net sum of L1 norm, squared L2 norm and weighted margin.

Chen et al. 2018, arXiv:1709.04114.
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


class Options(MinimumNormOptions):
    """EAD: minimises L1 norm, squared L2 norm and weighted margin, with a search for the weight."""

    checked_against: ClassVar[str] = "foolbox; the closed form on linear networks"

    norm: f.NormL1 = "l1"
    eps: f.Eps = [10.0]
    steps: f.Steps = 200
    lr: Annotated[
        float,
        Field(gt=0, le=10, description="size of the first step; it falls to zero"),
        f.PERTURBATION,
    ] = 0.01
    l1_weight: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="weight of the L1 norm (beta); a step sets changes up to it to zero",
        ),
        f.PERTURBATION,
    ] = 0.01
    search_steps: f.SearchSteps = 9
    margin: f.Margin = 0.0
    eot: f.GradientSamples = 1


def perturb(
    victim: Victim, images: Tensor, goal: Goal, random: ImageRandom, eps: float, options: Options
) -> Tensor:
    """The nearest images (N, C, H, W) in [0, 1] that reach their goal within eps; else the images.

    Algorithm 1 of the paper with the decision rule for L1: of all successes on the way, the one of
    the smallest L1 norm. The weight c of the margin is searched for as in C&W.
    """
    from advlab.perturbation.nearest import Nearest, search_weight

    nearest = Nearest(victim, images, goal, eps, options, options.margin)

    def descend(index: Tensor, weight: Tensor) -> Tensor:
        return _descend(victim, nearest, index, weight, options)

    return search_weight(nearest, descend, options.search_steps)


def _descend(
    victim: Victim, nearest: Nearest, index: Tensor, weight: Tensor, options: Options
) -> Tensor:
    """Minimise c · max(margin - lead, 0) + ‖x - image‖² + beta ‖x - image‖₁ by FISTA.

    Args:
        index: positions of the images, (M,).
        weight: c of each, (M,).

    Returns:
        Which of the images reached their goal on the way; bool (M,).
    """
    import torch

    clean, goal = nearest.images[index], nearest.goal.select(index)
    successful = torch.zeros_like(index, dtype=torch.bool)
    x = y = clean
    for number in range(options.steps):
        gradient, logits = victim.gradient(y, goal, "margin")
        pull = torch.where(goal.loss(logits, "margin") < options.margin, weight, 0.0)
        slope = 2 * (y - clean) - pull.view(-1, 1, 1, 1) * gradient
        size = options.lr * (1 - number / options.steps) ** 0.5
        before, x = x, shrunk(y - size * slope, clean, options.l1_weight)
        y = x + number / (number + 3) * (x - before)
        reached = nearest.succeeds(victim.logits(x), index)
        nearest.offer(x[reached], index[reached], confirmed=True)
        successful |= reached
    return successful


def shrunk(moved: Tensor, images: Tensor, level: float) -> Tensor:
    """``moved`` in [0, 1], nearer to the images by ``level`` in each entry; the image where it is
    no farther away than that (equation 5 of the paper)."""
    import torch

    r = moved - images
    nearer = (moved - level * r.sign()).clamp(0, 1)
    return torch.where(r.abs() > level, nearer, images)
