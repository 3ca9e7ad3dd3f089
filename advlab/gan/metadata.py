"""The card of a generator's checkpoint: what rebuilds its networks, and where it came from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from safetensors import SafetensorError, safe_open

from advlab.errors import UserError
from advlab.networks import checkpoint

FILE, KEY = checkpoint.GENERATOR_FILE, checkpoint.GENERATOR_KEY


class Card(BaseModel):
    """What a generator's checkpoint says of its networks.

    Attributes:
        arch: a file of ``advlab/generators``.
        width: its width, as ``--width`` has it.
        critic_norm: the discriminator's normalisation.
        packing: images that the discriminator sees at a time.
        averaged: whether a running average of the generator's weights is there as well.
        shape: channels, height, width of the images.
        classes: class names of the data set, by label.
        dataset: the data set it was trained on, as ``--dataset`` calls it.
        training: figures worth knowing without the run's folder, such as seed and epoch.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    arch: str
    zdim: Annotated[int, Field(ge=1, lt=2**40)]
    width: Annotated[int, Field(ge=1, le=4096)]
    critic_norm: Literal["batch", "layer", "spectral", "none"]
    packing: Annotated[int, Field(ge=1, le=16)]
    loss: Literal["bce", "nonsaturating", "wgan-gp", "hinge"]
    averaged: bool
    shape: tuple[checkpoint.Side, checkpoint.Side, checkpoint.Side]
    classes: tuple[str, ...]
    dataset: str
    training: dict[str, JsonValue] = {}


def read_card(file: Path) -> Card:
    """The card of a generator's checkpoint, without its weights.

    Raises:
        UserError: the file is no checkpoint of a generator.
    """
    try:
        with safe_open(file, framework="pt") as content:
            text = (content.metadata() or {}).get(KEY)
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{file} is not a generator of advlab (a .safetensors file that 'advlab gan' wrote): "
            f"{error}"
        ) from error
    if text is None:
        try:
            model = checkpoint.read_card(file).model
        except UserError:
            raise UserError(
                f"{file} is a safetensors file, but not a generator of advlab: it carries no card"
            ) from None
        raise UserError(
            f"{file} is a classifier ({model}), not a generator; 'advlab gan' trains one"
        )
    try:
        return Card.model_validate(json.loads(text))
    except (ValidationError, ValueError, RecursionError) as error:
        raise UserError(
            f"{file}: the card in this checkpoint is damaged: {str(error).splitlines()[0]}"
        ) from error
