"""Options that name a target network, say how images are prepared for it, and choose one image."""

from __future__ import annotations

import re
from typing import Annotated, TypeVar

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from advlab.config.base import Flag, always
from advlab.config.fields import image_models, text_models
from advlab.config.references import ENSEMBLE, LIBRARIES, is_target, names_code

_Place = TypeVar("_Place", str, "str | None")
_TARGET = "target model"
_FIXED = Flag(group=_TARGET, grid=False)


def _names() -> list[str]:
    """The names that ``--model`` takes, and the beginnings of names."""
    return ["auto", *image_models(), *LIBRARIES, ENSEMBLE]


def _text_networks() -> dict[str, str]:
    return dict.fromkeys(text_models(), ", which reads texts; images are taken here")


def _number_or_file(image: _Place) -> _Place:
    """A test image's number is written plainly, 7 and not 07 or -7; whatever is no number is a
    file's place."""
    if image is not None and re.fullmatch(r"[+-]?\d+", image):
        if image.startswith("-") or not image.isascii():
            raise PydanticCustomError("image_number", "must be at least 0, or the file of a photo")
        return str(int(image))
    return image


Model = Annotated[
    str,
    Field(
        min_length=1,
        description=(
            "target model: a checkpoint or the folder of a run; torchvision:NAME, timm:NAME or "
            "robustbench:NAME (or robustbench:DATASET/THREAT/NAME, judged by default as there); "
            "your own code as FILE.py:FUNCTION or package.module:FUNCTION; ensemble:RUN,RUN for "
            "the mean of the probabilities of several runs or checkpoints; a network such as cnn "
            "for its newest run on the data set, auto for the newest of any network. Without a "
            "run, the network is trained first (cnn for auto)"
        ),
    ),
    Flag(
        group=_TARGET,
        words=_names,
        accepts=is_target,
        others="a checkpoint, the folder of a run, FILE.py:FUNCTION or package.module:FUNCTION",
        hints=_text_networks,
        code=names_code,
        place=True,
    ),
]
Checkpoint = Annotated[
    str | None,
    Field(min_length=1, description="the same as --model with a checkpoint or a run's folder"),
    Flag(group=_TARGET, in_help=False, place=True, by_content=always),
]
Factory = Annotated[
    str | None,
    Field(
        pattern=r"^(?:[A-Za-z_][\w.]*|.+\.py):[A-Za-z_]\w*$",
        description="the same as --model with package.module:FUNCTION or FILE.py:FUNCTION",
    ),
    Flag(
        group=_TARGET,
        grid=False,
        in_help=False,
        code=always,
        by_content=always,
        form="module:function, package.module:function or FILE.py:function, as in mine:make",
    ),
]
Surrogate = Annotated[
    str | None,
    Field(
        min_length=1,
        description=(
            "make the images on this other network, named as for --model, then test them on the "
            "target model (black-box transfer)"
        ),
    ),
    Flag(group=_TARGET, code=names_code, place=True, by_content=always),
]
Reference = Annotated[
    str | None,
    Field(
        min_length=1,
        description=(
            "network by whose errors under each corruption those of the target model are divided: "
            "a run, a checkpoint, a library's network or your own code, named as for --model; by "
            "default they are not divided"
        ),
    ),
    Flag(group=_TARGET, grid=False, code=names_code),
]
TransferFrom = Annotated[
    str | None,
    Field(
        min_length=1,
        description=(
            "network on which transferred images are made, named as for --model; by default the "
            "newest other one on the data set"
        ),
    ),
    Flag(group=_TARGET, grid=False, code=names_code, place=True, by_content=always),
]
Weights = Annotated[
    str | None,
    Field(
        min_length=1,
        description=(
            "file of the weights, .pt, .pth or .safetensors, for a library's network or your own "
            "code; by default a library's own weights are downloaded"
        ),
    ),
    Flag(group=_TARGET, grid=False, place=True, by_content=always),
]
ClassNames = Annotated[
    str | None,
    Field(
        min_length=1,
        description=(
            "file of the network's class names, one per line or ImageNet's class index; or "
            "classes of the data set that count as one, as in 0,1,2,3,4/5,6,7,8,9"
        ),
    ),
    Flag(group=_TARGET, grid=False, by_content=always),
]
Output = Annotated[
    str | None,
    Field(
        min_length=1,
        description=(
            "key or number of the logits where your own network returns several tensors; by "
            "default 'logits', else the first"
        ),
    ),
    _FIXED,
]
Mean = Annotated[
    list[Annotated[float, Field(ge=0, le=1)]] | None,
    Field(
        min_length=1,
        max_length=4,
        description=(
            "mean that is subtracted from pixels in [0, 1], one number or one for each channel; "
            "by default the library's; your own code gets pixels in [0, 1]"
        ),
    ),
    _FIXED,
]
Std = Annotated[
    list[Annotated[float, Field(gt=0, le=1)]] | None,
    Field(
        min_length=1,
        max_length=4,
        description="standard deviation that pixels are divided by, as for --mean",
    ),
    _FIXED,
]
Resize = Annotated[
    int | None,
    Field(
        ge=0,
        le=4096,
        description=(
            "side in pixels that the shorter side of an image is scaled to inside the network; 0 "
            "for none; by default the library's"
        ),
    ),
    _FIXED,
]
Crop = Annotated[
    int | None,
    Field(
        ge=0,
        le=4096,
        description=(
            "side in pixels of the central square that the network sees after --resize; 0 for "
            "none; by default the library's"
        ),
    ),
    _FIXED,
]
Image = Annotated[
    str | None,
    Field(
        min_length=1,
        description="number of a test image to attack alone, or the file of a photo",
    ),
    AfterValidator(_number_or_file),
    Flag(group="data", place=True),
]
Shown = Annotated[
    str,
    Field(min_length=1, description="number of a test image, or the file of a photo"),
    AfterValidator(_number_or_file),
    Flag(group="data", place=True),
]
