"""Small: four strided 3×3 convolutions with batch normalisation; trains in seconds."""

from __future__ import annotations

from torch import nn

WIDTH = 16


def build(shape: tuple[int, int, int], width: int) -> nn.Module:
    """From images (N, C, H, W), normalised, sides of at least 8 pixels, to features (N, 8 ·
    width)."""

    def convolution(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
        return [
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        ]

    return nn.Sequential(
        *convolution(shape[0], width, 1),
        *convolution(width, 2 * width, 2),
        *convolution(2 * width, 4 * width, 2),
        *convolution(4 * width, 8 * width, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


def features(width: int) -> int:
    """How many features it has."""
    return 8 * width
