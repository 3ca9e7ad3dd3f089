"""Separable: depthwise-separable convolutions, about 50,000 parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from advlab.config import fields as f
from advlab.config.base import Options as Base
from advlab.config.options.run import TrainOptions

if TYPE_CHECKING:
    from torch import nn


class Architecture(Base):
    """What the network is made of."""

    dropout: f.Dropout = 0.5


class Options(Architecture, TrainOptions):
    """Separable: depthwise-separable convolutions, about 50,000 parameters."""

    usual_epochs: ClassVar[int] = 30

    batch_size: f.BatchSize = 64
    lr: f.LearningRate = 3e-3
    weight_decay: f.WeightDecay = 1e-4
    label_smoothing: f.LabelSmoothing = 0.1


def build(architecture: Architecture, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """The network from normalised images (N, C, H, W) of any side to logits (N, classes).

    Blocks after MobileNet (arXiv:1704.04861): a convolution per channel, then one across channels.
    """
    from torch import nn

    def separable(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
        return [
            nn.Conv2d(inputs, inputs, 3, stride=stride, padding=1, groups=inputs, bias=False),
            nn.BatchNorm2d(inputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(inputs, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        ]

    return nn.Sequential(
        nn.Conv2d(shape[0], 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(inplace=True),
        *separable(16, 32, stride=2),
        *separable(32, 32, stride=1),
        *separable(32, 64, stride=2),
        *separable(64, 64, stride=1),
        *separable(64, 128, stride=2),
        *separable(128, 128, stride=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(128, 128, bias=False),
        nn.BatchNorm1d(128),
        nn.ReLU(inplace=True),
        nn.Dropout(architecture.dropout),
        nn.Linear(128, classes),
    )
