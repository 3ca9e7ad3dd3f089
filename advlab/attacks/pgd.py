"""PGD: projected gradient ascent with random starts (Madry et al. 2018, arXiv:1706.06083)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from advlab.config import fields as f
from advlab.config.base import Conditions
from advlab.config.options.run import AttackOptions

if TYPE_CHECKING:
    from torch import Tensor

    from advlab.perturbation.goal import Goal
    from advlab.perturbation.randomness import ImageRandom
    from advlab.perturbation.victim import Victim


class Options(AttackOptions):
    """PGD: many small gradient steps, each projected back into the ball."""

    checked_against: ClassVar[str] = "foolbox; the closed form on linear networks"
    goes_with: ClassVar[Conditions] = {"sparsity": ("norm", ("l1",))}

    norm: f.Norm = "linf"
    loss: f.AttackLoss = "ce"
    steps: f.Steps = 12
    step_size: f.StepSize = None
    step_schedule: f.StepSchedule = "cosine"
    step_momentum: f.StepMomentum = 0.0
    random_start: f.RandomStart = True
    restarts: f.Restarts = 1
    eot: f.GradientSamples = 1
    smoothing: Annotated[
        int,
        Field(
            ge=0,
            le=10_000,
            description=(
                "random points of the ball of radius ε around the image that each gradient is the "
                "average over; 0 for the gradient at the image itself"
            ),
        ),
        f.PERTURBATION,
    ] = 0
    sparsity: f.Sparsity = 0.02
    confidence: f.Confidence = None


def perturb(
    victim: Victim, images: Tensor, goal: Goal, random: ImageRandom, eps: float, options: Options
) -> Tensor:
    """Images (N, C, H, W) in [0, 1] moved within the ball of radius eps.

    With ``step_momentum`` this is MI-FGSM (Dong et al. 2018, arXiv:1710.06081); without it, without
    a random start and with a constant step it is the basic iterative method (Kurakin et al. 2017,
    arXiv:1607.02533). Where no step size is given, the steps of a constant schedule are 2.5 · eps /
    steps, and the first of one that shrinks is eps. With ``smoothing`` the gradient of an image is
    the average of those at random points around it, which leads on where a network jumps or its
    gradient turns within short distances (Tramèr et al. 2020, arXiv:2002.08347, section 5.1).
    """
    import torch

    from advlab.perturbation import geometry
    from advlab.perturbation.ascent import ascend, images_to_keep, projected_step

    p = geometry.P[options.norm]
    first = options.step_size or (
        2.5 * eps / options.steps if options.step_schedule == "constant" else eps
    )
    result = images.clone()
    todo = torch.arange(len(images), device=images.device)

    def finish(perturbed: Tensor, index: Tensor) -> Tensor:
        return (
            geometry.round_to_bytes(perturbed, images[todo[index]], eps, p)
            if options.quantize
            else perturbed
        )

    def step(
        current: Tensor, gradient: Tensor, logits: Tensor, index: Tensor, number: int
    ) -> Tensor:
        clean = images[todo[index]]
        if options.step_momentum:
            size = (
                gradient.flatten(1)
                .abs()
                .sum(1)
                .clamp_min(torch.finfo(gradient.dtype).tiny)
                .view(-1, 1, 1, 1)
            )
            velocity[index] = options.step_momentum * velocity[index] + gradient / size
            gradient = velocity[index]
        decay = (
            (1 + math.cos(math.pi * number / options.steps)) / 2
            if options.step_schedule == "cosine"
            else 1.0
        )
        return projected_step(clean, current, gradient, first * decay, eps, p, options.sparsity)

    for _ in range(options.restarts):
        clean = images[todo]
        start = clean
        if options.random_start:
            start = (clean + geometry.random_point(random, clean, eps, p)).clamp(0, 1)
        velocity = torch.zeros_like(clean) if options.step_momentum else clean[:0]
        result[todo] = ascend(
            victim,
            start,
            goal.select(todo),
            options.loss,
            options.steps,
            step,
            finish,
            keep=images_to_keep(options),
        )
        unbroken = ~goal.select(todo).reached(victim.logits(result[todo]))
        todo, random = todo[unbroken], random.select(unbroken.nonzero().squeeze(1))
        if len(todo) == 0:
            break
    return result
