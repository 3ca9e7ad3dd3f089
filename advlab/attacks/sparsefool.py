"""SparseFool: the entries along which a linearised boundary is crossed soonest, one by one.

Modas, Moosavi-Dezfooli and Frossard 2019, arXiv:1811.02248.
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

# The values of the authors' code.
_DEEPFOOL_STEPS = 50
_DEEPFOOL_OVERSHOOT = 0.02
_SHORTEST = 1e-4  # step of DeepFool
_BEYOND = 1e-3  # by how much the plane is crossed, along its normal of length 1


class Options(MinimumNormOptions):
    """SparseFool: crosses linearised boundaries along as few entries as it can."""

    checked_against: ClassVar[str] = "torchattacks; the algorithm as a naive loop"

    norm: f.NormL0 = "l0"
    eps: f.Eps = [10.0]
    steps: f.Steps = 20
    plane_factor: Annotated[
        float,
        Field(
            ge=1,
            le=100,
            description=(
                "how many times as far as the boundary the plane is that a step crosses (lambda); "
                "more breaks images in fewer steps, with more pixels"
            ),
        ),
        f.PERTURBATION,
    ] = 3.0
    overshoot: Annotated[
        float,
        Field(ge=0, le=10, description="how much longer the perturbation is made than the steps"),
        f.PERTURBATION,
    ] = 0.02
    eot: f.GradientSamples = 1
    target_classes: f.TargetClasses = None


def perturb(
    victim: Victim, images: Tensor, goal: Goal, random: ImageRandom, eps: float, options: Options
) -> Tensor:
    """The first images (N, C, H, W) in [0, 1] at their goal, if within eps; else the images.

    Algorithm 2 of the paper. Each step finds a point of the boundary by DeepFool, in L2 and without
    bounds for the pixels, and the normal of the boundary there. It then goes to the plane with that
    normal ``plane_factor`` times as far away, within [0, 1] and by the shortest way in L1: each
    entry in turn, the steepest first, to the end of its room. A pixel counts once however many of
    its entries change. The paper has no targets; a targeted goal has its own class only.
    """
    import torch

    from advlab.perturbation.hyperplane import onto_hyperplane
    from advlab.perturbation.nearest import Nearest, targets_of
    from advlab.progress import with_progress

    nearest = Nearest(victim, images, goal, eps, options)
    targets = targets_of(goal, nearest.logits, options.target_classes)
    index = nearest.to_attack()
    x = images[index]
    for _ in with_progress(range(options.steps), "pixels of these images", "steps"):
        if len(index) == 0:
            break
        way, normal = _to_boundary(victim, x, goal.select(index), targets[index])
        length = normal.flatten(1).norm(dim=1)
        unit = normal / length.clamp_min(torch.finfo(x.dtype).tiny).view(-1, 1, 1, 1)
        short_of_plane = options.plane_factor * (unit * way).flatten(1).sum(1) + _BEYOND
        x = (x + onto_hyperplane(x, unit, -short_of_plane, x, 1)).clamp(0, 1)
        clean = images[index]
        farther = (clean + (1 + options.overshoot) * (x - clean)).clamp(0, 1)
        reached = goal.select(index).reached(victim.logits(farther))
        nearest.offer(farther[reached], index[reached], confirmed=True)
        unbroken = nearest.distance[index].isinf()
        x, index = x[unbroken], index[unbroken]
    return nearest.within_eps()


def _to_boundary(victim: Victim, x: Tensor, goal: Goal, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The way from x (M, C, H, W) to the boundary by DeepFool, and the boundary's normal there, the
    slope of the lead of the class beyond it; both shaped as x, the normal of any length.

    Args:
        targets: the other classes, (M, R).
    """
    import torch

    from advlab.perturbation.nearest import nearest_boundary

    way, beyond = torch.zeros_like(x), targets[:, 0].clone()
    todo = torch.arange(len(x), device=x.device)
    for _ in range(_DEEPFOOL_STEPS):
        some = goal.select(todo)
        slope, _, distance = nearest_boundary(victim, x[todo] + way[todo], some, targets[todo], 2.0)
        steepness = slope.flatten(1).norm(dim=1).clamp_min(torch.finfo(x.dtype).tiny)
        length = torch.where(distance.isfinite(), distance.clamp_min(_SHORTEST), 0.0)
        way[todo] += (length / steepness).view(-1, 1, 1, 1) * slope
        logits = victim.logits(x[todo] + (1 + _DEEPFOOL_OVERSHOOT) * way[todo])
        reached = some.reached(logits)
        if not goal.targeted:
            beyond[todo[reached]] = logits.argmax(1)[reached]
        todo = todo[~reached]
        if len(todo) == 0:
            break
    normal, _, _ = nearest_boundary(victim, x + way, goal, beyond[:, None], 2.0)
    return way, normal
