"""ConvNet: five 3×3 convolutions with batch normalisation and ELU, designed for SVHN.

Dropout grows with depth.
"""

from __future__ import annotations

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

    dropout_scale: Annotated[
        float,
        Field(ge=0, lt=2, description="factor on the dropout rates .2, .3, .4 and .5; 0 for none"),
        Flag(group="network"),
    ] = 1.0
    channels: Annotated[
        int,
        Field(
            ge=1,
            le=1024,
            description="channels of the first convolution; the last has eight times as many",
        ),
        Flag(group="network"),
    ] = 64


class Options(Architecture, TrainOptions):
    """ConvNet: five 3×3 convolutions with ELU and growing dropout, designed for SVHN."""

    usual_epochs: ClassVar[int] = 10

    batch_size: f.BatchSize = 128
    lr: f.LearningRate = 1e-3
    schedule: f.Schedule = "step"


def build(architecture: Architecture, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """The network from normalised images (N, C, H, W), sides of at least 8 pixels, to logits (N,
    classes)."""
    from torch import nn

    def convolution(inputs: int, outputs: int) -> list[nn.Module]:
        return [
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ELU(),
        ]

    def drop(rate: float) -> nn.Module:
        return nn.Dropout(rate * architecture.dropout_scale)

    channels, height, width = shape
    c = architecture.channels
    return nn.Sequential(
        *convolution(channels, c),
        *convolution(c, 2 * c),
        nn.MaxPool2d(2),
        drop(0.2),
        *convolution(2 * c, 4 * c),
        *convolution(4 * c, 4 * c),
        nn.MaxPool2d(2),
        drop(0.3),
        *convolution(4 * c, 8 * c),
        nn.MaxPool2d(2),
        drop(0.4),
        nn.Flatten(),
        nn.Linear(8 * c * (height // 8) * (width // 8), 16 * c),
        nn.ELU(),
        drop(0.5),
        nn.Linear(16 * c, classes),
    )
