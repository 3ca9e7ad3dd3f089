"""FGSM: one step to the maximum of the linearised loss.

Goodfellow, Shlens and Szegedy 2015, arXiv:1412.6572.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from advlab.config import fields as f
from advlab.config.options.run import AttackOptions

if TYPE_CHECKING:
    from torch import Tensor

    from advlab.perturbation.goal import Goal
    from advlab.perturbation.randomness import ImageRandom
    from advlab.perturbation.victim import Victim


class Options(AttackOptions):
    """FGSM: one step along the sign of the gradient, or its L2 and L1 counterparts."""

    checked_against: ClassVar[str] = "foolbox, image by image"

    precision: f.Precision = "fp32"  # one step has no later one to mend a wrong sign
    norm: f.Norm = "linf"
    loss: f.AttackLoss = "ce"
    eot: f.GradientSamples = 1


def perturb(
    victim: Victim, images: Tensor, goal: Goal, random: ImageRandom, eps: float, options: Options
) -> Tensor:
    """Images (N, C, H, W) in [0, 1] after one step of at most eps.

    For L∞ this is the paper's ``image + eps · sign(gradient)``, cut to [0, 1]. For L2 and L1 it is
    the same idea, the maximiser of the linearised loss over the ball and the box.
    """
    from advlab.perturbation.geometry import P, best_linear, round_to_bytes

    gradient, _ = victim.gradient(images, goal, options.loss)
    p = P[options.norm]
    perturbed = best_linear(images, gradient, eps, p)
    return round_to_bytes(perturbed, images, eps, p) if options.quantize else perturbed
