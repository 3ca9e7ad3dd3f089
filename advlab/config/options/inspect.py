"""The options of ``advlab inspect``: which network, which image, what to look at."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from advlab.config.base import Flag
from advlab.config.options import photo
from advlab.config.options.run import PhotoOptions

_LOOK = Flag(group="look")

Top = Annotated[int, Field(ge=1, le=1000, description="how many of the likeliest classes"), _LOOK]
Layer = Annotated[
    str | None,
    Field(min_length=1, description="the layer, by its name in the network; a convolution (for Grad-CAM any that gives a map)"),
    _LOOK,
]
Count = Annotated[int, Field(ge=1, le=1024, description="how many filters are drawn, the first ones"), _LOOK]
Explained = Annotated[
    str | None, Field(min_length=1, description="the class to explain, by name or number; the one that is predicted where not given"), _LOOK
]
Samples = Annotated[int, Field(ge=1, le=100_000, description="SmoothGrad: noisy copies whose gradients are averaged"), _LOOK]
Spread = Annotated[
    float, Field(ge=0, le=10, description="SmoothGrad: standard deviation of the noise, as a fraction of the image's range"), _LOOK
]


class InspectOptions(PhotoOptions):
    """``advlab inspect``: a network, and one image to show it."""

    image: photo.Shown = "0"
