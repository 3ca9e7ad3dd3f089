"""MLP: two wide hidden layers with batch normalisation."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from advlab.config import fields as f
from advlab.config.base import Flag
from advlab.config.base import Options as Base
from advlab.config.options.run import TrainOptions

if TYPE_CHECKING:
    from torch import nn


class Architecture(Base):
    """What the network is made of."""

    dropout: f.Dropout = 0.0
    width: Annotated[
        int, Field(ge=1, le=65_536, description="units in each hidden layer"), Flag(group="network")
    ] = 1024


class Options(Architecture, TrainOptions):
    """MLP: two wide hidden layers with batch normalisation."""

    usual_epochs: ClassVar[int] = 20

    batch_size: f.BatchSize = 256
    lr: f.LearningRate = 5e-3
    optimizer: f.Optimizer = "adamw"
    weight_decay: f.WeightDecay = 0.1
    label_smoothing: f.LabelSmoothing = 0.1


def build(architecture: Architecture, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """The network from normalised images (N, C, H, W) to logits (N, classes)."""
    from torch import nn

    def hidden(inputs: int, outputs: int) -> list[nn.Module]:
        layers: list[nn.Module] = [
            nn.Linear(inputs, outputs, bias=False),
            nn.BatchNorm1d(outputs),
            nn.ReLU(inplace=True),
        ]
        return [*layers, nn.Dropout(architecture.dropout)] if architecture.dropout else layers

    width = architecture.width
    return nn.Sequential(
        nn.Flatten(), *hidden(prod(shape), width), *hidden(width, width), nn.Linear(width, classes)
    )
