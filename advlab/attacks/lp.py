"""Lp: gradient steps on a perturbation of fixed p-norm, for any p from 1 to infinity."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from advlab.config import fields as f
from advlab.config.base import Flag
from advlab.config.options.run import AttackOptions

if TYPE_CHECKING:
    from torch import Tensor

    from advlab.perturbation.goal import Goal
    from advlab.perturbation.randomness import ImageRandom
    from advlab.perturbation.victim import Victim


def _not_between_100_and_infinity(p: float) -> float:
    """Beyond 100 the powers leave float64's range, and the ball is L∞'s to the eye."""
    if 100 < p < math.inf:
        raise PydanticCustomError("p_range", "must be between 1 and 100, or inf")
    return p


class Options(AttackOptions):
    """Lp: gradient steps on a perturbation of fixed p-norm, for any p from 1 to infinity."""

    checked_against: ClassVar[str] = "the closed form on linear networks"

    p: Annotated[
        float,
        Field(ge=1, allow_inf_nan=True, description="exponent of the norm, from 1 to 100, or inf"),
        AfterValidator(_not_between_100_and_infinity),
        Flag(group="perturbation"),
    ] = 2.0
    eps: f.Eps = [2.0]
    loss: f.AttackLoss = "ce"
    steps: f.Steps = 50
    step_size: f.StepSize = None
    sparsity: f.Sparsity = 0.02
    eot: f.GradientSamples = 1
    confidence: f.Confidence = None


def perturb(
    victim: Victim, images: Tensor, goal: Goal, random: ImageRandom, eps: float, options: Options
) -> Tensor:
    """Images (N, C, H, W) in [0, 1] at a distance of eps in the p-norm, where the box has room.

    Each step adds the loss's steepest direction of unit p-norm times ``step_size`` (5 · eps / steps
    where not given) to r, then scales r back to norm eps along its ray, each pixel no further than
    0 or 1.
    """
    from advlab.perturbation import geometry
    from advlab.perturbation.ascent import ascend, images_to_keep

    size = options.step_size or 5 * eps / options.steps

    def step(
        current: Tensor, gradient: Tensor, logits: Tensor, index: Tensor, number: int
    ) -> Tensor:
        clean = images[index]
        # The first step goes all the way: from r = 0 any length leads to the same point of the
        # sphere.
        r = (
            current
            - clean
            + size
            * geometry.steepest(geometry.useful(gradient, current), options.p, options.sparsity)
        )
        return geometry.on_sphere(clean, r, eps, options.p)

    def finish(perturbed: Tensor, index: Tensor) -> Tensor:
        return (
            geometry.round_to_bytes(perturbed, images[index], eps, options.p)
            if options.quantize
            else perturbed
        )

    return ascend(
        victim,
        images,
        goal,
        options.loss,
        options.steps,
        step,
        finish,
        keep=images_to_keep(options),
    )
