"""Randomised smoothing: training under Gaussian noise, and certified L2 radii.

Cohen et al. 2019, arXiv:1902.02918.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from advlab.config import fields as f
from advlab.config.base import Flag
from advlab.config.options.run import DefendOptions
from advlab.config.radii import ACCEPTED, Fraction

if TYPE_CHECKING:
    from torch import Tensor, nn

    from advlab.runs.machine import Machine
    from advlab.training.objective import Objective

_SMOOTHING = Flag(group="defence")


class Options(DefendOptions):
    """Randomised smoothing: train under Gaussian noise, then certify L2 radii."""

    norm: f.Norm = "l2"
    eps: f.Radius = 0.5
    sigma: Annotated[
        float,
        Field(
            gt=0, le=10, description=f"standard deviation of the noise, in pixel units; {ACCEPTED}"
        ),
        Fraction,
        _SMOOTHING,
    ] = 0.25
    samples: Annotated[
        int,
        Field(ge=10, le=10_000_000, description="noisy copies of an image that vote"),
        _SMOOTHING,
    ] = 1000
    select: Annotated[
        int,
        Field(
            ge=1,
            le=1_000_000,
            description=("noisy copies from which the class to certify is chosen"),
        ),
        _SMOOTHING,
    ] = 100
    alpha: Annotated[
        float, Field(gt=0, lt=1, description="probability that a certificate is wrong"), _SMOOTHING
    ] = 0.001
    certify: Annotated[
        int,
        Field(ge=1, description="number of test images to certify, evenly spread over the set"),
        _SMOOTHING,
    ] = 200

    @model_validator(mode="after")
    def _certifiable(self) -> Options:
        """Refuse a vote that can certify nothing: where all samples agree the share behind them is
        still only alpha^(1/n)."""
        if self.alpha ** (1 / self.samples) > 0.5:
            return self
        needed = math.floor(math.log(1 / self.alpha, 2)) + 1
        context = {
            "option": "samples",
            "given": self.samples,
            "needed": needed,
            "alpha": f"{self.alpha:g}",
        }
        raise PydanticCustomError(
            "samples",
            "with --alpha {alpha}, {given} votes certify no radius even where all agree; at "
            "least {needed} are needed",
            context,
        )


def objective(options: Options, label_smoothing: float, machine: Machine) -> Objective:
    """Cross-entropy on images with fresh Gaussian noise, not clipped to [0, 1], as certified."""
    import torch

    from advlab.training import objective as training

    class Noisy(training.Objective):
        def __call__(
            self, model: nn.Module, inputs: Tensor, labels: Tensor, done: float
        ) -> tuple[Tensor, Tensor]:
            noisy = inputs + options.sigma * torch.randn(inputs.shape).to(inputs.device)
            return super().__call__(model, noisy, labels, done)

    return Noisy(label_smoothing)
