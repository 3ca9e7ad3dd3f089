"""Checkpoints: weights as safetensors, and with them a card that says everything needed to rebuild
the network.

A checkpoint is data, never code: nothing here unpickles, and only networks that advlab itself knows
are rebuilt.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import nn

from advlab.components import load_component
from advlab.errors import UserError, WorldError
from advlab.input_files import is_plain
from advlab.networks.classifier import assemble
from advlab.networks.weights import read_fitting
from advlab.runs.files import read_json, write_atomically

FILE = "model.safetensors"
_KEY = "advlab"

GENERATOR_FILE, GENERATOR_KEY = "generator.safetensors", "advlab-gan"
ENCODER_FILE, ENCODER_KEY = "encoder.safetensors", "advlab-encoder"
TEXT_KEY = "advlab-text"
"""What marks the checkpoints of generators, of encoders and of networks that read texts, so that
none is taken for a damaged one of another kind."""


Side = Annotated[int, Field(ge=1, le=65_536)]


class Card(BaseModel):
    """What a checkpoint says of its network.

    Attributes:
        model: the network's name, a file of ``advlab/models``.
        architecture: the values of its ``Architecture``.
        shape: channels, height, width of its images.
        classes: names of its classes, by label.
        dataset: the data set it was trained on, as ``--dataset`` calls it.
        data: the other options that the data set was loaded with (split seed, image size).
        filters: what stands in front of the network, by name and strength (``bits``, ``jpeg``,
            ``median``).
        training: figures worth knowing without the run's folder, such as the epoch and validation
            accuracy.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    architecture: dict[str, JsonValue]
    shape: tuple[Side, Side, Side]
    classes: tuple[str, ...] = Field(min_length=2)
    dataset: str
    data: dict[str, JsonValue]
    filters: dict[Literal["bits", "jpeg", "median"], Annotated[int, Field(ge=1, le=95)]] = {}
    training: dict[str, JsonValue] = {}


def save(path: Path, model: nn.Module, card: Card) -> None:
    """Write the network and its card to ``path``, whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    tensors = {
        name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()
    }
    content = to_bytes(tensors, metadata={_KEY: card.model_dump_json()})
    write_atomically(path, lambda file: file.write(content))


def load(path: Path) -> tuple[nn.Module, Card]:
    """Rebuild the network of a checkpoint, on the CPU and in evaluation mode.

    Args:
        path: a ``.safetensors`` file that ``save`` wrote, or a run's folder that holds one.

    Raises:
        UserError: the file is missing, is not one of ours, or does not fit the network that it
            names.
    """
    file = locate(path)
    card = read_card(file)
    # Statistics and weights both come from the file; the zeros only give the buffers their shape.
    kind = load_component("advlab.models", card.model, "model").Architecture
    try:
        architecture = kind(**card.architecture)
    except ValidationError as error:
        reason = " ".join(line.strip() for line in str(error).splitlines()[:3])
        raise UserError(
            f"{file}: its weights do not fit the {card.model} that it names: {reason}"
        ) from error
    channels = card.shape[0]
    statistics = [0.0] * channels, [1.0] * channels
    filters = {str(key): value for key, value in card.filters.items()}

    def build() -> nn.Module:
        return assemble(
            card.model, architecture, card.shape, len(card.classes), *statistics, filters
        )

    state = read_fitting(file, card.model, lambda: build().state_dict())
    model = build()
    model.load_state_dict(state)
    return model.eval(), card


def locate(path: Path) -> Path:
    """The checkpoint file that ``path`` means: itself, or the one in the run's folder.

    Raises:
        UserError: there is none, or the finished run beside it left another one.
    """
    file = path / FILE if path.is_dir() else path
    if not is_plain(file):
        generator = (
            ", but a generator, and a classifier is asked for"
            if (path / GENERATOR_FILE).is_file()
            else ""
        )
        raise UserError(
            f"no checkpoint at {path}"
            + (f": the folder holds no {FILE}{generator}" if path.is_dir() else "")
        )
    check_hash(file)
    return file


def check_hash(file: Path) -> None:
    """Refuse a checkpoint that is not the one which the finished run beside it wrote down the hash
    of.

    Its figures stand in ``metrics.json``, and are those of the other network: one bit may have
    flipped, or a file was copied over it. Files of other names, and those beside no finished run,
    pass.

    Raises:
        UserError: the hashes differ; the line gives both, and the ways out.
        WorldError: the run's result cannot be read, so that nobody knows.
    """
    result = file.parent / "metrics.json"
    if file.name not in (FILE, GENERATOR_FILE, ENCODER_FILE) or not is_plain(result):
        return
    try:
        recorded = read_json(result).get("checkpoint_sha256")
    except (OSError, ValueError) as error:
        raise WorldError(
            f"{result} cannot be read, so that nothing tells whether {file.name} is that run's "
            f"({str(error).splitlines()[0]}); "
            f"run it again with --overwrite, or copy {file.name} to another folder"
        ) from error
    if recorded is not None and recorded != (here := sha256(file)):
        raise UserError(
            f"{file} is not the network of the run there: sha256 {str(recorded)[:12]}… in "
            f"{result.name}, {here[:12]}… of the file; "
            "it was damaged or replaced since. Run it again with --overwrite, or copy the file "
            "to another folder to use it as it is"
        )


def read_card(file: Path) -> Card:
    """The card of a checkpoint, without its weights.

    Raises:
        UserError: the file is not a safetensors file with an advlab card.
    """
    try:
        with safe_open(file, framework="pt") as content:
            metadata = content.metadata() or {}
            text = metadata.get(_KEY)
        if GENERATOR_KEY in metadata:
            raise UserError(
                f"{file} is a generator, made by 'advlab gan'; a classifier is asked for"
            )
        if ENCODER_KEY in metadata:
            raise UserError(
                f"{file} is an encoder without classes, made by 'advlab contrast'; a classifier "
                "is asked for"
            )
        if TEXT_KEY in metadata:
            raise UserError(f"{file} is a network that reads texts; one for images is asked for")
        if text is None:
            raise UserError(
                f"{file} is a safetensors file, but not a checkpoint of advlab: it carries no card"
            )
        return Card.model_validate(json.loads(text))
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{file} is not a checkpoint of advlab (a .safetensors file that 'advlab train' "
            f"wrote): {error}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{file}: the card in this checkpoint is damaged: {str(error).splitlines()[0]}"
        ) from error


def sha256_of(network: nn.Module) -> str:
    """Hash of a network's weights and buffers, for one that has no file of ours."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def sha256(file: Path) -> str:
    """Hash of a file, by which a result names the network it was measured on."""
    return hashlib.sha256(file.read_bytes()).hexdigest()
