"""Options of what can be shown to a network: a test image, or a photo; and the networks that know
photos."""

from __future__ import annotations

import re
from typing import Annotated, TypeVar

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from advlab.config.base import Flag
from advlab.config.fields import target_models

_Place = TypeVar("_Place", str, "str | None")


def photo_models() -> list[str]:
    """What ``--model`` takes where a network may also be one of torchvision's."""
    return [*target_models(), "torchvision:"]


def _number_or_file(image: _Place) -> _Place:
    """A test image's number is written plainly, 7 and not 07 or -7; whatever is no number is a
    file's place."""
    if image is not None and re.fullmatch(r"[+-]?\d+", image):
        if image.startswith("-") or not image.isascii():
            raise PydanticCustomError("image_number", "must be at least 0, or the file of a photo")
        return str(int(image))
    return image


Image = Annotated[
    str | None,
    Field(
        min_length=1,
        description=(
            "number of a test image to attack alone; for torchvision:NAME the file of a photo"
        ),
    ),
    AfterValidator(_number_or_file),
    Flag(group="data"),
]
Shown = Annotated[
    str,
    Field(min_length=1, description="number of a test image, or the file of a photo"),
    AfterValidator(_number_or_file),
    Flag(group="data"),
]
Model = Annotated[
    str,
    Field(
        min_length=1,
        description=(
            "target model where no checkpoint is given: the newest finished training of this "
            "network on the data set; auto: of any network. Without one, it is trained first (cnn "
            "for auto). For a photo: torchvision:NAME"
        ),
    ),
    Flag(group="target model", words=photo_models),
]
Weights = Annotated[
    str | None,
    Field(
        min_length=1,
        description=(
            "torchvision:NAME: file of its weights, .pth or .safetensors; by default "
            "torchvision's are downloaded"
        ),
    ),
    Flag(group="target model", grid=False),
]
ClassNames = Annotated[
    str | None,
    Field(
        min_length=1,
        description=(
            "torchvision:NAME: file of class names, one per line or ImageNet's class index"
        ),
    ),
    Flag(group="target model", grid=False),
]
