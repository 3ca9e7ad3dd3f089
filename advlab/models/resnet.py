"""ResNet: a narrow residual network, about 50,000 parameters.

He et al. 2015, arXiv:1512.03385.
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

_LARGE = 64
"""Images whose shorter side has at least so many pixels are halved by the first convolution."""


class Architecture(Base):
    """What the network is made of."""

    dropout: f.Dropout = 0.0
    channels: Annotated[
        int,
        Field(
            ge=2,
            le=1024,
            description="channels of the first block; the last two have 1.5 and 2.5 times as many",
        ),
        Flag(group="network"),
    ] = 16


class Options(Architecture, TrainOptions):
    """ResNet: a narrow residual network, about 50,000 parameters."""

    usual_epochs: ClassVar[int] = 30

    batch_size: f.BatchSize = 64
    lr: f.LearningRate = 3e-3
    weight_decay: f.WeightDecay = 1e-4


def build(architecture: Architecture, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """The network from normalised images (N, C, H, W) of any side to logits (N, classes).

    Its convolutions are over all channels. On processors with matrix units (AMX) they take a third
    of the time of convolutions of one channel each (``separable``), in bf16.
    """
    from torch import nn
    from torchvision.models.resnet import BasicBlock

    def block(inputs: int, outputs: int, stride: int) -> nn.Module:
        shortcut = None
        if stride != 1 or inputs != outputs:
            shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
        residual: nn.Module = BasicBlock(inputs, outputs, stride, shortcut)
        return residual

    channels, height, width = shape
    first = architecture.channels
    second, third = first * 3 // 2, first * 5 // 2
    return nn.Sequential(
        nn.Conv2d(
            channels, first, 3, 2 if min(height, width) >= _LARGE else 1, padding=1, bias=False
        ),
        nn.BatchNorm2d(first),
        nn.ReLU(inplace=True),
        block(first, first, 1),
        block(first, second, 2),
        block(second, second, 1),
        block(second, third, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        *([nn.Dropout(architecture.dropout)] if architecture.dropout else []),
        nn.Linear(third, classes),
    )
