"""Checkpoints of encoders: encoder and projection head as safetensors, with a card that rebuilds
them. Data, never code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from safetensors import SafetensorError, safe_open

from advlab.errors import UserError
from advlab.networks import checkpoint

FILE, KEY = checkpoint.ENCODER_FILE, checkpoint.ENCODER_KEY


class Card(BaseModel):
    """What an encoder's checkpoint says of its networks.

    Attributes:
        encoder: a file of ``advlab/encoders``.
        width: its width, as ``--width`` has it.
        projection: widths of the projection head's layers.
        shape: channels, height, width of the images.
        classes: class names of the data set, by label; the encoder has seen none of them.
        dataset: the data set it was trained on, as ``--dataset`` calls it.
        data: the other options that the data set was loaded with (split seed, image size).
        training: figures worth knowing without the run's folder, such as seed, epochs and loss.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    encoder: str
    width: Annotated[int, Field(ge=2, le=1024)]
    projection: tuple[Annotated[int, Field(ge=2, le=65_536)], ...] = Field(
        min_length=1, max_length=8
    )
    shape: tuple[checkpoint.Side, checkpoint.Side, checkpoint.Side]
    classes: tuple[str, ...]
    dataset: str
    data: dict[str, JsonValue] = {}
    training: dict[str, JsonValue] = {}


def read_card(file: Path) -> Card:
    """The card of an encoder's checkpoint, without its weights.

    Raises:
        UserError: the file is no checkpoint of an encoder.
    """
    try:
        with safe_open(file, framework="pt") as content:
            text = (content.metadata() or {}).get(KEY)
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{file} is not an encoder of advlab (a .safetensors file that 'advlab contrast' "
            f"wrote): {error}"
        ) from error
    if text is None:
        raise UserError(
            f"{file} is a safetensors file, but not an encoder of advlab: 'advlab contrast' "
            "trains one"
        )
    try:
        return Card.model_validate(json.loads(text))
    except (ValidationError, ValueError, RecursionError) as error:
        raise UserError(
            f"{file}: the card in this checkpoint is damaged: {str(error).splitlines()[0]}"
        ) from error
