"""Classifiers that advlab trained: the one at a place, the newest of a data set, or a new one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from advlab.components import load_component
from advlab.config.options.run import DataOptions
from advlab.config.references import names_code
from advlab.data.image_set import ImageSet
from advlab.errors import UsageError
from advlab.experiments.fitting import epochs_of
from advlab.logs import logger
from advlab.networks import checkpoint
from advlab.networks.classifier import assemble
from advlab.networks.metadata import ImageClassifierMetadata
from advlab.networks.referenced import CodeNotNamedError
from advlab.results.defend import DefendResult
from advlab.results.train import TrainResult
from advlab.runs import results
from advlab.runs.results import NetworkRecord
from advlab.runs.table import counted

AUTO = "auto"
"""The value of ``--model`` that stands for the newest network of any kind."""


@dataclass(frozen=True)
class TrainedClassifier:
    """A network from a checkpoint of advlab, with its metadata and hash.

    Attributes:
        sha256: hash of the file, as it was when the network was loaded.
    """

    network: nn.Module
    metadata: ImageClassifierMetadata
    file: Path
    sha256: str

    @property
    def place(self) -> Path:
        """The run's folder for a run's checkpoint, the file itself for any other."""
        return self.file.parent if self.file.name == checkpoint.FILE else self.file

    def describe(self) -> NetworkRecord:
        """Return the part of a result that describes the network."""
        return NetworkRecord(
            model=self.metadata.model,
            sha256=self.sha256,
            path=str(self.file),
            trained_on=self.metadata.dataset,
            architecture=self.metadata.architecture,
        )

    @property
    def label(self) -> str:
        """A short name for titles: the run's folder for a run's checkpoint, the file's own name
        else."""
        return self.file.parent.name if self.file.name == checkpoint.FILE else self.file.stem


def load_classifier(path: str, option: str) -> TrainedClassifier:
    """The network at ``path``, which the user gave with ``option``, and a warning where the run
    that trains it is not finished.

    Raises:
        UsageError: as ``read_classifier``.
    """
    classifier = read_classifier(path, option)
    checkpoint.warn_of_unfinished(classifier.file)
    return classifier


def read_classifier(path: str, option: str) -> TrainedClassifier:
    """The network at ``path``, which may be that of a run still under way.

    Args:
        option: what a refusal names, as ``--model``.

    Raises:
        UsageError: there is none, it is not one of ours, or it lies in a finished run's folder and
            is not what that run wrote.
    """
    if path.endswith(".py"):
        raise UsageError(
            f"{option} {path}: names a file of Python code; add the function that makes the "
            f"network, as in {path}:FUNCTION"
        )
    try:
        network, metadata = checkpoint.load(Path(path))
    except CodeNotNamedError as error:
        message = str(error)
        if option not in ("--model", "--checkpoint"):  # a target takes code and weights apart
            beside = f"it goes beside a network of the same code, --model {error.code}"
            message = f"{error.refusal}; {beside}"
        raise UsageError(f"{option}: {message}") from error
    except UsageError as error:
        raise UsageError(f"{option}: {error}") from error
    file = checkpoint.locate(Path(path))
    return TrainedClassifier(network, metadata, file, checkpoint.sha256(file))


@dataclass(frozen=True)
class UnnamedNetwork:
    """A network that is meant without being named: the newest one, or a new one.

    Attributes:
        model: its component, or ``auto`` for any.
        out: the folder of all runs.
        data: the data set that it is trained on, and how it is read.
        device, threads, seed: of its training, where there is none yet.
    """

    model: str
    out: str
    data: DataOptions
    device: str
    threads: int
    seed: int


def newest_or_trained(
    wanted: UnnamedNetwork,
    data: ImageSet,
    check: Callable[[nn.Module], None] | None = None,
) -> TrainedClassifier:
    """The newest finished training of the model on the data set, of any network for ``auto``.

    Without one, the network is trained with its defaults, a CNN for ``auto``. A defended network is
    taken only where it is named, and a line says how where one is newer.

    Args:
        check: looks at the network's body, without its weights, before it is trained, and raises
            what would be refused after it.
    """
    newest = results.newest(
        Path(wanted.out),
        "train",
        TrainResult,
        lambda result: (
            wanted.model in (AUTO, result.model)
            and result.data_sha256 == data.sha256()
            and not names_code(
                result.model or ""
            )  # no folder of results may choose what code is run
        ),
    )
    if newest is None and not len(data.train):
        raise UsageError(
            f"{data.name}: holds test images only, and no finished training on it is under "
            f"{wanted.out}; --model names a network"
        )
    if newest is None:
        # Its figures and tables take a third of the time in which a worker process starts, and a
        # worker trains nothing.
        from advlab.experiments.train import run as training

        model = "cnn" if wanted.model == AUTO else wanted.model
        if check is not None:
            with torch.device("meta"):
                check(_untrained(model, data))
        config = training.configuration(
            model,
            dataset=data.name,
            **wanted.data.model_dump(exclude={"dataset"}),
            out=wanted.out,
            device=wanted.device,
            threads=wanted.threads,
            seed=wanted.seed,
        )
        kind = "training" if wanted.model == AUTO else f"training of {model}"
        logger.info(
            f"no finished {kind} on {data.name} under {wanted.out}: training one first, {model} "
            f"for {counted(epochs_of(config.options, len(data.train)), 'epoch')} of "
            f"{counted(len(data.train), 'image')}"
        )
        newest = training.run(config)
    elif wanted.model == AUTO and (defended := _newer_defended(wanted.out, data, newest.folder)):
        logger.info(
            f"note: {newest.folder} has no defence, and a newer network has; to attack that one, "
            f"give --model {defended}"
        )
    return load_classifier(str(newest.folder), "--model")


def _newer_defended(out: str, data: ImageSet, than: Path) -> Path | None:
    """The folder of the newest defended network on the data set, where it was finished after the
    run in the folder ``than``."""
    newest = results.newest(
        Path(out),
        "defend",
        DefendResult,
        lambda result: result.data_sha256 == data.sha256() and not names_code(result.model or ""),
    )
    if newest is None:
        return None
    finished = [(folder / results.FILE).stat().st_mtime_ns for folder in (newest.folder, than)]
    return newest.folder if finished[0] > finished[1] else None


def _untrained(model: str, data: ImageSet) -> nn.Module:
    """The body of a network with its defaults, as ``advlab train`` would make it."""
    architecture = load_component("advlab.models", model, "model").Architecture()
    channels = data.shape[0]
    return assemble(
        model, architecture, data.shape, len(data.classes), [0.0] * channels, [1.0] * channels
    )[-1]
