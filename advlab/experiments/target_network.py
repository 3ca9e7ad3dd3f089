"""The target model: the one named, the newest fitting one, or one trained first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from advlab.components import load_component
from advlab.config.options.run import AttackOptions, PhotoOptions, VictimOptions
from advlab.config.resolve import Config
from advlab.data import load_images as datasets
from advlab.data.image_set import ImageSet
from advlab.errors import EnvironmentFailure, UsageError
from advlab.experiments.fitting import epochs_of
from advlab.experiments.train import run as training
from advlab.networks import checkpoint
from advlab.networks.classifier import assemble
from advlab.networks.metadata import ImageClassifierMetadata
from advlab.networks.text import takes_texts
from advlab.results.train import TrainResult
from advlab.runs import results
from advlab.runs.results import NetworkRecord
from advlab.runs.table import counted

PREFIX = "torchvision:"
AUTO = "auto"  # the value of --model that stands for the newest network of any kind
"""What stands before the name of one of torchvision's networks."""


@dataclass(frozen=True)
class TargetModel:
    """A network from a checkpoint, with what a result must say of it.

    Attributes:
        sha256: hash of the file, as it was when the network was loaded.
    """

    network: nn.Module
    card: ImageClassifierMetadata
    file: Path
    sha256: str

    @property
    def place(self) -> Path:
        """The run's folder for a run's checkpoint, the file itself for any other."""
        return self.file.parent if self.file.name == checkpoint.FILE else self.file

    def describe(self) -> NetworkRecord:
        """What a result says of the network."""
        return NetworkRecord(
            model=self.card.model,
            sha256=self.sha256,
            path=str(self.file),
            trained_on=self.card.dataset,
            architecture=self.card.architecture,
        )

    @property
    def label(self) -> str:
        """A short name for titles: the run's folder for a run's checkpoint, the file's own name
        else."""
        return self.file.parent.name if self.file.name == checkpoint.FILE else self.file.stem


def load_target(path: str, option: str) -> TargetModel:
    """The network at ``path``, which the user gave with ``option``.

    Raises:
        UsageError: there is none, it is not one of ours, or it lies in a finished run's folder and
            is not what that run wrote.
    """
    try:
        network, card = checkpoint.load(Path(path))
    except UsageError as error:
        raise UsageError(f"{option}: {error}") from error
    file = checkpoint.locate(Path(path))
    return TargetModel(network, card, file, checkpoint.sha256(file))


def data_for(options: VictimOptions, subject: TargetModel | None) -> ImageSet:
    """The images to attack with: the data set of the checkpoint given, unless ``--dataset`` names
    another one.

    Raises:
        UsageError: it does not fit the checkpoint, or there is no model of the name given.
    """
    if subject is None:
        if options.model != AUTO and takes_texts(options.model):
            raise UsageError(
                f"--model {options.model}: reads texts, and these attacks are on images"
            )
        return datasets.load(options)
    if options.dataset == "auto":
        options = options.model_copy(update={"dataset": subject.card.dataset, **subject.card.data})
        try:
            data = datasets.load(options)
        # Nobody asked for that set by name, so it is the checkpoint that cannot be used here
        except EnvironmentFailure as error:
            raise UsageError(
                f"{subject.file} was trained on {subject.card.dataset}: {error}"
            ) from error
    else:
        data = datasets.load(options)
    check_fits(subject, data)
    return data


def trained(
    options: VictimOptions,
    data: ImageSet,
    log: Callable[[str], None],
    check: Callable[[nn.Module], None] | None = None,
) -> TargetModel:
    """The newest finished training of ``--model`` on the data set, of any network for ``auto``.

    Without one, the network is trained with its defaults, a CNN for ``auto``.

    Args:
        check: looks at the network's body, without its weights, before it is trained, and raises
            what would be refused after it.
    """
    newest = results.newest(
        Path(options.out),
        "train",
        TrainResult,
        lambda result: (
            options.model in (AUTO, result.model) and result.data_sha256 == data.sha256()
        ),
    )
    if newest is None:
        model = "cnn" if options.model == AUTO else options.model
        if check is not None:
            with torch.device("meta"):
                check(_untrained(model, data))
        module = load_component("advlab.models", model, "model")
        shared = {
            key: getattr(options, key)
            for key in ("data_dir", "image_size", "split_seed", "out", "device", "threads", "seed")
        }
        settings = module.Options(dataset=data.name, **shared)
        kind = "training" if options.model == AUTO else f"training of {model}"
        log(
            f"no finished {kind} on {data.name} under {options.out}: training one first, {model} "
            f"for {counted(epochs_of(settings, len(data.train)), 'epoch')} of "
            f"{counted(len(data.train), 'image')}"
        )
        newest = training.run(Config("train", model, settings), log)
    return load_target(str(newest.folder), "--model")


def _untrained(model: str, data: ImageSet) -> nn.Module:
    """The body of a network with its defaults, as ``advlab train`` would make it."""
    architecture = load_component("advlab.models", model, "model").Architecture()
    channels = data.shape[0]
    return assemble(
        model, architecture, data.shape, len(data.classes), [0.0] * channels, [1.0] * channels
    )[-1]


def check_fits(subject: TargetModel, data: ImageSet) -> None:
    """Refuse a network that was made for other images.

    Raises:
        UsageError: shape or number of classes differ.
    """
    card = subject.card
    if card.shape != data.shape or len(card.classes) != len(data.classes):
        raise UsageError(
            f"{subject.file} takes images of {_shape(card.shape)} in {len(card.classes)} classes; "
            f"{data.name} has {_shape(data.shape)} in {len(data.classes)}"
        )


def norm_of(options: AttackOptions) -> str:
    """The norm that eps is measured in: ``linf``, ``l2``, ``l1``, or ``l3`` and the like."""
    values = options.model_dump()
    return str(values["norm"]) if "norm" in values else f"l{values['p']:g}"


def is_pretrained(options: PhotoOptions) -> bool:
    """Whether the network is one of torchvision's.

    Raises:
        UsageError: it is not, and something was said that only such a one takes.
    """
    if options.model.startswith(PREFIX) and options.checkpoint is None:
        return True
    for option, value in (("weights", options.weights), ("classes", options.classes)):
        if value is not None:
            raise UsageError(
                f"--{option}: goes with --model {PREFIX}NAME; a network of ours is named with "
                "--checkpoint"
            )
    if options.model.startswith(PREFIX):
        raise UsageError(
            f"--checkpoint: is for networks of ours; --model {options.model} takes --weights"
        )
    return False


def image_number(typed: str, data: ImageSet) -> int:
    """The number of a test image.

    Raises:
        UsageError: it is the place of a photo, or there is no image of that number.
    """
    total = len(data.test)
    if not typed.isdecimal():
        raise UsageError(
            f"--image {typed}: a photo goes with --model {PREFIX}NAME; of {data.name}, give a "
            f"test image's number, 0 to {total - 1}"
        )
    if int(typed) >= total:
        raise UsageError(
            f"--image {typed}: {data.name} has {total:,} test images, numbered 0 to {total - 1}"
        )
    return int(typed)


def _shape(shape: tuple[int, int, int]) -> str:
    return " × ".join(map(str, shape))
