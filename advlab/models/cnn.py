"""CNN: two pairs of 3×3 convolutions with batch normalisation, and one hidden layer.

Each pair is followed by max pooling.
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

    dropout: f.Dropout = 0.0
    channels: Annotated[
        int,
        Field(
            ge=1,
            le=4096,
            description="channels of the first pair of convolutions; the second has twice as many",
        ),
        Flag(group="network"),
    ] = 32
    hidden: Annotated[
        int, Field(ge=1, le=65_536, description="units in the hidden layer"), Flag(group="network")
    ] = 128


class Options(Architecture, TrainOptions):
    """CNN: two pairs of 3×3 convolutions with batch normalisation, one hidden layer."""

    usual_epochs: ClassVar[int] = 6
    # On the embedded digits 30 epochs, half a minute on two cores without native bf16.
    least_steps: ClassVar[int] = 150

    batch_size: f.BatchSize = 256
    lr: f.LearningRate = 5e-3
    label_smoothing: f.LabelSmoothing = 0.1


def build(architecture: Architecture, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """The network from normalised images (N, C, H, W), sides of at least 4 pixels, to logits (N,
    classes)."""
    from torch import nn

    def convolution(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
        return [
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        ]

    def drop(probability: float) -> list[nn.Module]:
        return [nn.Dropout(probability)] if probability else []

    channels, height, width = shape
    first, second = architecture.channels, 2 * architecture.channels
    return nn.Sequential(
        *convolution(channels, first),
        *convolution(first, first),
        nn.MaxPool2d(2),
        *drop(architecture.dropout / 2),
        *convolution(first, second),
        *convolution(second, second),
        nn.MaxPool2d(2),
        *drop(architecture.dropout / 2),
        nn.Flatten(),
        nn.Linear(second * (height // 4) * (width // 4), architecture.hidden, bias=False),
        nn.BatchNorm1d(architecture.hidden),
        nn.ReLU(inplace=True),
        *drop(architecture.dropout),
        nn.Linear(architecture.hidden, classes),
    )
