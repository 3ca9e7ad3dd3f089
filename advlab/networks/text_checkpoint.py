"""Checkpoints of networks that read texts: weights as safetensors, with a card that holds their
vocabulary. Data, never code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import nn

from advlab.components import load_component
from advlab.errors import UserError
from advlab.networks import checkpoint
from advlab.networks.text import assemble, takes_texts
from advlab.networks.weights import read_fitting
from advlab.runs.files import write_atomically


class TextCard(BaseModel):
    """What a checkpoint says of its network.

    Attributes:
        model: the network's name, a file of ``advlab/models``.
        architecture: the values of its ``Architecture``.
        words: its vocabulary, in the order of their numbers, without the two special ones.
        max_words: words of a text that it reads.
        classes: names of its classes, by label.
        dataset: the set it was trained on, as ``--dataset`` calls it.
        training: figures worth knowing without the run's folder.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    architecture: dict[str, JsonValue]
    words: tuple[str, ...] = Field(max_length=2_000_000)
    max_words: Annotated[int, Field(ge=1, le=5000)]
    classes: tuple[str, ...] = Field(min_length=2)
    dataset: str
    training: dict[str, JsonValue] = {}


def save(path: Path, model: nn.Module, card: TextCard) -> None:
    """Write the network and its card to ``path``, whole or not at all."""
    tensors = {
        name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()
    }
    content = to_bytes(tensors, metadata={checkpoint.TEXT_KEY: card.model_dump_json()})
    write_atomically(path, lambda file: file.write(content))


def load(path: Path) -> tuple[nn.Module, TextCard]:
    """Rebuild the network of a checkpoint, on the CPU and in evaluation mode.

    Raises:
        UserError: the file is missing, is not one of ours, or does not fit the network that it
            names.
    """
    file = checkpoint.locate(path)
    try:
        with safe_open(file, framework="pt") as content:
            text = (content.metadata() or {}).get(checkpoint.TEXT_KEY)
            if text is None:
                raise UserError(
                    f"{file} is no network that reads texts; 'advlab train bow' makes one"
                )
            card = TextCard.model_validate(json.loads(text))
            if not takes_texts(card.model):
                raise UserError(f"{file}: {card.model} reads no texts")
            architecture = load_component("advlab.models", card.model, "model").Architecture(
                **card.architecture
            )
    except (
        SafetensorError,
        OSError,
        RuntimeError,
        ValidationError,
        ValueError,
        RecursionError,
    ) as error:
        raise UserError(
            f"{file} is not a checkpoint of advlab, or damaged: {str(error).splitlines()[0]}"
        ) from error

    def build() -> nn.Module:
        return assemble(card.model, architecture, len(card.words) + 2, len(card.classes))

    state = read_fitting(file, card.model, lambda: build().state_dict())
    model = build()
    model.load_state_dict(state)
    return model.eval(), card
