"""The encoder that ``--encoder`` names: one of advlab's own, or a classifier without its head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from advlab.config.fields import image_models
from advlab.config.model_modules import is_referenced, model_module
from advlab.config.options.contrast import ContrastOptions
from advlab.config.references import names_code, names_file
from advlab.contrastive import checkpoint as contrastive_checkpoint
from advlab.contrastive.networks import Contrast, is_classifier
from advlab.contrastive.settings import metadata_of
from advlab.data.image_set import Images
from advlab.errors import UsageError
from advlab.experiments.starting import (
    channel_statistics,
    settled_architecture,
    starting_contents,
    starting_network,
)
from advlab.logs import silenced
from advlab.networks import checkpoint
from advlab.networks.headless import without_head
from advlab.networks.metadata import (
    ENCODER,
    IMAGE_CLASSIFIER,
    EncoderMetadata,
    ImageClassifierMetadata,
    read_metadata,
)


@dataclass(frozen=True)
class StartingEncoder:
    """What the encoder is made of, and where its first weights are from.

    Attributes:
        metadata: of the networks that are trained.
        classifier: the options of a training that would start from the same classifier, with its
            weights; None for an encoder of advlab's own.
        file: the checkpoint of an encoder that the training starts from; None for any other.
    """

    metadata: EncoderMetadata
    classifier: Any = None
    file: Path | None = None

    @property
    def weights(self) -> str | None:
        """Where the first weights are from; None where advlab draws them."""
        if self.file is not None:
            return str(self.file)
        if self.classifier is None:
            return None
        text: str | None = self.classifier.weights
        name = self.metadata.encoder
        return text or (name if is_referenced(name) else None)

    def contents(self) -> dict[str, str]:
        """sha256 of what the training starts from; empty where the weights are random.

        Raises:
            UsageError: there is no such file.
            EnvironmentFailure: a library's weights cannot be downloaded.
        """
        if self.file is not None:
            return {"weights": checkpoint.sha256(self.file)}
        if self.classifier is None:
            return {}
        return starting_contents(self.metadata.encoder, self.classifier)


def starting_encoder(
    options: ContrastOptions, shape: tuple[int, int, int], classes: tuple[str, ...], dataset: str
) -> StartingEncoder:
    """What ``--encoder`` and ``--weights`` name, for images of this shape.

    Raises:
        UsageError: there is none, or an option is given that it has no use for.
    """
    metadata = metadata_of(options, shape, classes, dataset)
    name = metadata.encoder
    if not is_classifier(name):
        _refuse(options, ("resize", "mean", "std"), name)
        if options.weights is not None:
            raise UsageError(
                f"--weights: {name} starts from random weights; --encoder {options.weights} starts "
                "from those of a run"
            )
        return StartingEncoder(metadata)
    known = is_referenced(name) or name in image_models()
    if not known and names_file(name):
        return _of_file(name, options, metadata)
    return _of_classifier(name, options.weights, options, metadata)


def starting_network_of(start: StartingEncoder, images: Images) -> Contrast:
    """The encoder with its first weights, and a projection head with fresh weights from torch's
    global generator.

    Raises:
        UsageError: the weights are of another network, or it cannot take such images.
        EnvironmentFailure: a library's weights cannot be downloaded.
    """
    metadata = start.metadata
    generator = torch.get_rng_state()
    weights = _first_weights(start, images)
    torch.set_rng_state(generator)
    statistics = channel_statistics(images)
    if is_referenced(metadata.encoder):  # its own normalisation is part of it
        statistics = [0.0] * metadata.shape[0], [1.0] * metadata.shape[0]
    network = Contrast(metadata, *statistics)
    if weights is not None:
        try:
            network.encoder.load_state_dict(weights)
        except RuntimeError as error:
            reason = " ".join(line.strip() for line in str(error).splitlines()[1:2]) or str(error)
            size = " × ".join(map(str, metadata.shape))
            raise UsageError(
                f"--encoder {start.weights}: its weights are not for images of {size}: "
                f"{reason[:200]}"
            ) from error
    return network


def _first_weights(start: StartingEncoder, images: Images) -> Mapping[str, Any] | None:
    """The encoder's first weights by name; None where advlab draws them."""
    if start.file is not None:
        return contrastive_checkpoint.load(start.file)[0].encoder.state_dict()
    if start.weights is None:
        return None
    metadata = start.metadata
    classes = metadata.classes if len(metadata.classes) > 1 else ("0", "1")
    with silenced():  # its last layer, which is left out
        network: nn.Module = starting_network(
            metadata.encoder, start.classifier, metadata.shape, classes, images
        )
    return without_head(network, metadata.encoder, metadata.shape).state_dict()


def _of_file(place: str, options: ContrastOptions, metadata: EncoderMetadata) -> StartingEncoder:
    """The encoder or the classifier that a checkpoint holds."""
    if options.weights is not None:
        raise UsageError(f"--weights: the weights of {place} are in its checkpoint")
    stored, file = _stored(place)
    name = stored.model if isinstance(stored, ImageClassifierMetadata) else stored.encoder
    if names_code(name):
        raise UsageError(
            f"--encoder {place}: its network is made by code, which only the command line may "
            f"name; type --encoder {name} --weights {place}"
        )
    if isinstance(stored, ImageClassifierMetadata):
        return _of_classifier(name, place, options, metadata)
    _refuse(options, ("resize", "mean", "std", "width"), place)
    fields = {key: getattr(stored, key) for key in ("encoder", "width", "architecture")}
    return StartingEncoder(metadata.model_copy(update=fields), file=file)


def _stored(place: str) -> tuple[ImageClassifierMetadata | EncoderMetadata, Path]:
    path = Path(place)
    try:
        if path.is_dir() and (path / ENCODER.file).is_file():
            file = checkpoint.locate(path, ENCODER)
            checkpoint.warn_of_unfinished(file)
            return read_metadata(file, ENCODER), file
        file = checkpoint.locate(path)
        checkpoint.warn_of_unfinished(file)
        if checkpoint.is_image_classifier(file):
            return read_metadata(file, IMAGE_CLASSIFIER), file
        return read_metadata(file, ENCODER), file
    except UsageError as error:
        raise UsageError(f"--encoder: {error}") from error


def _of_classifier(
    name: str, weights: str | None, options: ContrastOptions, metadata: EncoderMetadata
) -> StartingEncoder:
    """A classifier by the name of its network, with the weights of a file where one is given."""
    _refuse(options, ("width",), name)
    values: dict[str, object] = {}
    if weights is not None and checkpoint.is_image_classifier(Path(weights)):
        stored = read_metadata(checkpoint.locate(Path(weights)), IMAGE_CLASSIFIER)
        if stored.model == name or (names_code(stored.model) and names_code(name)):
            values = dict(stored.architecture)
    if is_referenced(name):
        chosen = {key: getattr(options, key) for key in ("resize", "mean", "std")}
        values.update({key: value for key, value in chosen.items() if value is not None})
    else:
        _refuse(options, ("resize", "mean", "std"), name)
    try:
        kind: type[Any] = model_module(name).Options
        settings = kind(**values, seed=options.seed, weights=weights)
    except ValidationError as error:
        reason = " ".join(line.strip() for line in str(error).splitlines()[:3])
        raise UsageError(f"--encoder {name}: {weights} does not fit it: {reason}") from error
    architecture = settled_architecture(name, settings).model_dump()
    fields = {"encoder": name, "architecture": architecture}
    return StartingEncoder(metadata.model_copy(update=fields), settings)


def _refuse(options: ContrastOptions, names: tuple[str, ...], encoder: str) -> None:
    for name in names:
        if getattr(options, name) is not None:
            raise UsageError(f"--{name}: {encoder} has no such option")
