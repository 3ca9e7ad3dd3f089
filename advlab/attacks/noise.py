"""Noise: random perturbations of the same norm, the control for every other attack."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from advlab.config import fields as f
from advlab.config.options.run import AttackOptions, Sees

if TYPE_CHECKING:
    from torch import Tensor

    from advlab.perturbation.goal import Goal
    from advlab.perturbation.randomness import ImageRandom
    from advlab.perturbation.victim import Victim


class Options(AttackOptions):
    """Noise: random perturbations of the same norm, the control for every other attack."""

    sees: ClassVar[Sees] = "nothing"
    checked_against: ClassVar[str] = "none: it is the control of the others"

    precision: f.Precision = "fp32"  # there is no gradient to be quick about
    norm: f.Norm = "linf"
    restarts: f.Restarts = 1


def perturb(
    victim: Victim, images: Tensor, goal: Goal, random: ImageRandom, eps: float, options: Options
) -> Tensor:
    """Images (N, C, H, W) in [0, 1] moved by eps in a random direction.

    Of ``restarts`` draws, the first that reaches the goal is returned.

    L∞: each pixel up or down by eps, as FGSM moves them. L2: a Gaussian direction. L1: random signs
    and exponential sizes.
    """
    from advlab.perturbation import geometry

    p = geometry.P[options.norm]
    shape = tuple(images.shape[1:])
    result = images.clone()
    waiting = ~goal.reached(victim.logits(images))
    for _ in range(options.restarts):
        if p == float("inf"):
            drawn = (images + eps * random.signs(shape).to(images)).clamp(0, 1)
        else:
            direction = (
                random.normal(shape) if p == 2 else random.signs(shape) * random.exponential(shape)
            )
            drawn = geometry.on_sphere(images, direction.to(images), eps, p)
        if options.quantize:
            drawn = geometry.round_to_bytes(drawn, images, eps, p)
        result[waiting] = drawn[waiting]
        waiting &= ~goal.reached(victim.logits(result))
        if not waiting.any():
            break
    return result
