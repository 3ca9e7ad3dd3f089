"""The options of randomised smoothing, whoever certifies with it."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from advlab.config import fields as f
from advlab.config.base import Flag, Options
from advlab.config.options.run import TargetOptions
from advlab.config.radii import ACCEPTED, Fraction

_SMOOTHING = Flag(group="smoothing")


class SmoothingOptions(Options):
    """The noise and the votes of a smoothed network."""

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

    @model_validator(mode="after")
    def _certifiable(self) -> SmoothingOptions:
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


class CertificationOptions(SmoothingOptions, TargetOptions):
    """Options of ``advlab evaluate certification``: the network, the noise and the images."""

    limit: f.Limit = 200
