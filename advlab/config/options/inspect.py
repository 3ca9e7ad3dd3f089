"""The options of ``advlab inspect``: which network, which image, what to look at."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from advlab.config import fields as f
from advlab.config.base import Flag, Options
from advlab.config.options import target_network
from advlab.config.options.run import TargetOptions
from advlab.config.radii import ACCEPTED, Fraction

_VIEW = Flag(group="view")

Top = Annotated[
    int, Field(ge=1, le=1000, description=("number of classes shown, the most likely first")), _VIEW
]
Layer = Annotated[
    str | None,
    Field(
        min_length=1,
        description=(
            "layer, by its name in the network: a convolution, or for Grad-CAM any layer that "
            "returns a map"
        ),
    ),
    _VIEW,
]
Count = Annotated[
    int, Field(ge=1, le=1024, description="number of filters drawn, from the first"), _VIEW
]
Explained = Annotated[
    str | None,
    Field(
        min_length=1,
        description=("class to explain, by name or number; by default the predicted class"),
    ),
    _VIEW,
]
Samples = Annotated[
    int,
    Field(ge=1, le=100_000, description="SmoothGrad: noisy copies whose gradients are averaged"),
    _VIEW,
]
Spread = Annotated[
    float,
    Field(
        ge=0,
        le=10,
        description=(
            "SmoothGrad: standard deviation of the noise, as a fraction of the image's range"
        ),
    ),
    _VIEW,
]


class InspectOptions(TargetOptions):
    """Options of every view: a network and one image."""

    image: target_network.Shown = "0"


class PredictOptions(InspectOptions):
    """Predict: the most likely classes of an image and their probabilities."""

    top: Top = 5


class FiltersOptions(InspectOptions):
    """Filters: the weights of a convolution and its responses to an image."""

    layer: Layer = None
    count: Count = 64


class SaliencyOptions(InspectOptions):
    """Saliency: input gradient, SmoothGrad and Grad-CAM, before and after a PGD attack."""

    layer: Layer = None
    explain: Explained = None
    samples: Samples = 50
    spread: Spread = 0.15
    norm: f.Norm = "linf"
    eps: Annotated[
        float,
        Field(
            ge=0,
            le=1e6,
            description=(
                "radius of the attack, in pixel units at the network's own size; 0 for none; "
                f"{ACCEPTED}"
            ),
        ),
        Fraction,
        Flag(group="attack"),
    ] = 0.1
    steps: Annotated[
        int,
        Field(ge=1, le=100_000, description="gradient steps of the attack"),
        Flag(group="attack"),
    ] = 12
    target: Annotated[
        str | None,
        Field(
            min_length=1,
            description=("target class of the attack, by name or number; by default untargeted"),
        ),
        Flag(group="attack"),
    ] = None


VIEWS: dict[str, type[Options]] = {
    "filters": FiltersOptions,
    "predict": PredictOptions,
    "saliency": SaliencyOptions,
}
"""What ``advlab inspect`` can show, by the word that is typed."""
