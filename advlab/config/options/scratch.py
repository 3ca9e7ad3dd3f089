"""Options of ``advlab scratch``: training a network from scratch, and checking its derivatives."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from advlab.config import fields as f
from advlab.config.base import Flag, Options
from advlab.config.options.run import DataOptions

_NETWORK = Flag(group="network")
_TRAINING = Flag(group="training")

Hidden = Annotated[
    list[Annotated[int, Field(ge=1, le=65_536)]],
    Field(
        min_length=1,
        max_length=16,
        description="units of the hidden layers, first to last; each is followed by a sigmoid",
    ),
    _NETWORK,
]
Epochs = Annotated[
    int, Field(ge=1, le=100_000, description="passes over the training images"), _TRAINING
]
BatchSize = Annotated[int, Field(ge=1, le=65_536, description="images in a batch"), _TRAINING]
LearningRate = Annotated[
    float, Field(gt=0, description="constant learning rate of plain SGD"), _TRAINING
]


class ScratchOptions(Options):
    """Options of both actions.

    NumPy computes on one processor thread, so there is no device to choose.
    """

    seed: f.Seed = 42
    seeds: f.Seeds = 1
    workers: f.Workers = 1
    cluster: f.Cluster = None
    out: f.Out = "samples"
    name: f.Name = None
    overwrite: f.Overwrite = False
    resume: f.Resume = True
    track: f.Track = None
    hidden: Hidden = [128]


class ScratchTrainOptions(DataOptions, ScratchOptions):
    """Train a network written in NumPy: forward pass, loss, backward pass and SGD."""

    train_size: f.TrainSize = None
    epochs: Epochs = 16
    batch_size: BatchSize = 32
    lr: LearningRate = 1.0


class ScratchCheckOptions(ScratchOptions):
    """Compare every derivative of the network with finite differences and autograd."""

    batch_size: Annotated[
        int,
        Field(ge=1, le=1000, description="random inputs at which derivatives are compared"),
        _TRAINING,
    ] = 8
    entries: Annotated[
        int,
        Field(
            ge=1,
            le=10_000,
            description=(
                "entries of each parameter array that are compared with finite differences"
            ),
        ),
        Flag(group="checking"),
    ] = 50


ACTIONS: dict[str, type[Options]] = {"check": ScratchCheckOptions, "train": ScratchTrainOptions}
"""What ``advlab scratch`` can do, by the word that is typed."""
