"""The metadata of checkpoints: what each kind of file says about its networks.

A checkpoint is a safetensors file. Its metadata are JSON text under a key of its kind, so that one
kind is never taken for a damaged file of another.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator
from safetensors import SafetensorError, safe_open

from advlab.errors import UsageError
from advlab.networks.sketch import Sketch

Side = Annotated[int, Field(ge=1, le=65_536)]
Shape = tuple[Side, Side, Side]
"""Channels, height and width of an image."""


class Metadata(BaseModel):
    """What all checkpoints say.

    Attributes:
        classes: class names of the data set, by label.
        dataset: the data set that the networks were trained on, as ``--dataset`` names it.
        training: figures of the training, such as epoch, seed and validation accuracy.
        examples: which examples they were trained on, the text of a ``Sketch``; empty in files of
            earlier versions, and where that is not recorded.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    classes: tuple[str, ...]
    dataset: str
    training: dict[str, JsonValue] = {}
    examples: str = Field(default="", max_length=50_000)

    @field_validator("examples")
    @classmethod
    def _readable(cls, text: str) -> str:
        Sketch.read(text)
        return text


class ImageClassifierMetadata(Metadata):
    """The metadata of a classifier of images.

    Attributes:
        model: the network, a file of ``advlab/models``.
        architecture: the values of its ``Architecture``.
        shape: channels, height and width of its images.
        data: the other options that the data set was loaded with (split seed, image size).
        filters: filters in front of the network, by name and strength.
    """

    model: str
    architecture: dict[str, JsonValue]
    shape: Shape
    classes: tuple[str, ...] = Field(min_length=2)
    data: dict[str, JsonValue]
    filters: dict[Literal["bits", "jpeg", "median"], Annotated[int, Field(ge=1, le=95)]] = {}


class TextClassifierMetadata(Metadata):
    """The metadata of a classifier of texts.

    Attributes:
        model: the network, a file of ``advlab/models``.
        architecture: the values of its ``Architecture``.
        words: the vocabulary in the order of the words' numbers, without the two special ones.
        merges: pairs of subwords that are joined, in this order, where the vocabulary is one of
            subwords; None for one of words.
        max_words: how many words of a text the network reads.
        data: the other options that the data set was loaded with (split seed, columns); empty in
            files of earlier versions.
    """

    model: str
    architecture: dict[str, JsonValue]
    words: tuple[str, ...] = Field(max_length=2_000_000)
    merges: tuple[tuple[str, str], ...] | None = Field(default=None, max_length=2_000_000)
    max_words: Annotated[int, Field(ge=1, le=5000)]
    classes: tuple[str, ...] = Field(min_length=2)
    data: dict[str, JsonValue] = {}

    @model_validator(mode="after")
    def _merges_of_subwords(self) -> TextClassifierMetadata:
        """Refuse merges of what is no subword, or into what is none."""
        if self.merges is None:
            return self
        known = set(self.words)
        if len(known) < len(self.words):
            raise ValueError("a subword stands there twice")
        for first, second in self.merges:
            for part in (first, second, first + second):
                if part not in known:
                    raise ValueError(f"the merges hold {part!r}, which is no subword")
        return self


class GeneratorMetadata(Metadata):
    """The metadata of a generator and its discriminator.

    Attributes:
        arch: the architecture, a file of ``advlab/gan/generators``.
        zdim: length of the latent vector z.
        width: the value of ``--width``.
        critic_norm: normalisation of the discriminator.
        packing: how many images the discriminator sees at a time.
        loss: the loss that both were trained on.
        averaged: whether the file also holds a running average of the generator's weights.
        shape: channels, height and width of the images.
    """

    arch: str
    zdim: Annotated[int, Field(ge=1, lt=2**40)]
    width: Annotated[int, Field(ge=1, le=4096)]
    critic_norm: Literal["batch", "layer", "spectral", "none"]
    packing: Annotated[int, Field(ge=1, le=16)]
    loss: Literal["bce", "nonsaturating", "wgan", "wgan-gp", "hinge"]
    averaged: bool
    shape: Shape


class EncoderMetadata(Metadata):
    """The metadata of an encoder and its projection head. Its classes were not used in training.

    Attributes:
        encoder: the encoder, a file of ``advlab/contrastive/encoders``, or the classifier whose
            last layer was taken off, as ``ImageClassifierMetadata.model``.
        width: the value of ``--width``; None for a classifier.
        architecture: the values of a classifier's ``Architecture``.
        projection: widths of the projection head's layers.
        shape: channels, height and width of the images.
        data: the other options that the data set was loaded with (split seed, image size).
    """

    encoder: str
    width: Annotated[int, Field(ge=2, le=1024)] | None
    architecture: dict[str, JsonValue] = {}
    projection: tuple[Annotated[int, Field(ge=2, le=65_536)], ...] = Field(
        min_length=1, max_length=8
    )
    shape: Shape
    data: dict[str, JsonValue] = {}


M = TypeVar("M", bound=Metadata)


@dataclass(frozen=True)
class Kind(Generic[M]):
    """A kind of checkpoint.

    Attributes:
        noun: what its network is called in messages, with the article.
        command: the command that writes it.
        file: its name in the folder of a run.
        key: the key of its metadata in the safetensors file.
        metadata: the class of its metadata.
    """

    noun: str
    command: str
    file: str
    key: str
    metadata: type[M]


IMAGE_CLASSIFIER = Kind(
    "an image classifier", "advlab train", "model.safetensors", "advlab", ImageClassifierMetadata
)
TEXT_CLASSIFIER = Kind(
    "a text classifier",
    "advlab train",
    "model.safetensors",
    "advlab-text",
    TextClassifierMetadata,
)
GENERATOR = Kind(
    "a generator", "advlab gan", "generator.safetensors", "advlab-gan", GeneratorMetadata
)
ENCODER = Kind(
    "an encoder", "advlab contrast", "encoder.safetensors", "advlab-encoder", EncoderMetadata
)
KINDS: tuple[Kind[Any], ...] = (IMAGE_CLASSIFIER, TEXT_CLASSIFIER, GENERATOR, ENCODER)
"""Every kind of checkpoint. A new kind is added here."""


_OF_TORCH = (
    ", but looks like one of torch.save; a state dict goes with the code of its network: "
    "FILE.py:FUNCTION, and --weights FILE.pt"
)


def kind_of(metadata: Metadata) -> Kind[Any]:
    """The kind of checkpoint that such metadata belong to."""
    return next(kind for kind in KINDS if type(metadata) is kind.metadata)


def kind_in(file: Path) -> Kind[Any] | None:
    """The kind of checkpoint that a file says it is; None where it is none, or cannot be read."""
    try:
        with safe_open(file, framework="np") as content:
            texts = content.metadata() or {}
    except (SafetensorError, OSError):
        return None
    return next((kind for kind in KINDS if kind.key in texts), None)


def read_metadata(file: Path, kind: Kind[M]) -> M:
    """The metadata of a checkpoint, without its weights.

    Raises:
        UsageError: the file is not a safetensors file, is a checkpoint of another kind or of no
            kind, or its metadata are damaged.
    """
    try:
        with safe_open(file, framework="np") as content:
            texts = content.metadata() or {}
    except (SafetensorError, OSError) as error:
        why = _OF_TORCH if file.is_file() and zipfile.is_zipfile(file) else f": {error}"
        raise UsageError(
            f"{file} is not a checkpoint of advlab (a .safetensors file that '{kind.command}' "
            f"wrote){why}"
        ) from error
    if kind.key not in texts:
        for other in KINDS:
            if other.key in texts:
                raise UsageError(
                    f"{file} is {other.noun}, written by '{other.command}'; {kind.noun} is needed"
                )
        raise UsageError(
            f"{file} is a safetensors file, but not a checkpoint of advlab: it carries no metadata"
        )
    try:
        return kind.metadata.model_validate(json.loads(texts[kind.key]))
    except (ValueError, RecursionError) as error:  # pydantic's ValidationError is a ValueError
        raise UsageError(
            f"{file}: the metadata of this checkpoint are damaged: {str(error).splitlines()[0]}"
        ) from error
