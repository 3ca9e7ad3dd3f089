"""DeepFool: steps to the nearest boundary of the linearised classifier.

Moosavi-Dezfooli, Fawzi and Frossard 2016, arXiv:1511.04599.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from advlab.config import fields as f
from advlab.config.options.run import MinimumNormOptions

if TYPE_CHECKING:
    from torch import Tensor

    from advlab.perturbation.goal import Goal
    from advlab.perturbation.randomness import ImageRandom
    from advlab.perturbation.victim import Victim

# Added to the length of each step, as in the authors' code: steps that the box cuts short would
# come ever nearer to the boundary and never cross it.
_FARTHER = 1e-4


class Options(MinimumNormOptions):
    """DeepFool: steps to the nearest boundary of the linearised network, until one is crossed."""

    checked_against: ClassVar[str] = "foolbox; the closed form on linear networks"

    norm: f.NormLinfOrL2 = "linf"
    steps: f.Steps = 50
    overshoot: Annotated[
        float,
        Field(ge=0, le=10, description="how much longer each step is than the way to the boundary"),
        f.PERTURBATION,
    ] = 0.02
    eot: f.GradientSamples = 1
    target_classes: f.TargetClasses = None


def perturb(
    victim: Victim, images: Tensor, goal: Goal, random: ImageRandom, eps: float, options: Options
) -> Tensor:
    """The first images (N, C, H, W) in [0, 1] at their goal, if within eps; else the images.

    Algorithm 2 of the paper: each step goes to the nearest of the boundaries between the linearised
    logits of the class to leave and ``target_classes`` other classes, and beyond it by the share
    ``overshoot``. The paper has no bounds for the pixels; here each step is cut to [0, 1]. A
    targeted goal has its own class only.
    """
    from advlab.perturbation.nearest import Nearest, targets_of

    nearest = Nearest(victim, images, goal, eps, options)
    targets = targets_of(goal, nearest.logits, options.target_classes)
    index = nearest.to_attack()
    x = images[index]
    for _ in range(options.steps):
        if len(index) == 0:
            break
        step = _to_nearest_boundary(victim, x, goal.select(index), targets[index], options.norm)
        x = (x + (1 + options.overshoot) * step).clamp(0, 1)
        reached = nearest.succeeds(victim.logits(x), index)
        nearest.offer(x[reached], index[reached], confirmed=True)
        unbroken = nearest.distance[
            index
        ].isinf()  # a success may be lost when it is rounded to bytes
        x, index = x[unbroken], index[unbroken]
    return nearest.within_eps()


def _to_nearest_boundary(
    victim: Victim, x: Tensor, goal: Goal, targets: Tensor, norm_name: str
) -> Tensor:
    """The step from x (M, C, H, W) to the nearest linearised boundary with one of the classes in
    ``targets``, (M, R)."""
    import torch

    from advlab.perturbation.geometry import DUAL, P, steepest
    from advlab.perturbation.nearest import nearest_boundary

    normal, _, distance = nearest_boundary(victim, x, goal, targets, DUAL[norm_name])
    length = torch.where(distance.isfinite(), distance + _FARTHER, 0.0)
    return length.view(-1, 1, 1, 1) * steepest(normal, P[norm_name])
