"""MLP: three hidden layers in generator and discriminator.

Goodfellow et al. 2014, arXiv:1406.2661.
"""

from __future__ import annotations

import itertools
from math import prod

from torch import nn

from advlab.gan.layers import Norm, linear, normalized

WIDTH = 256
NORM: Norm = "none"


def generator(shape: tuple[int, int, int], zdim: int, width: int) -> nn.Module:
    """The network from z (N, zdim) to images (N, C, H, W) in [-1, 1]."""
    sizes = [zdim, width, 2 * width, 4 * width]
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(0.2, inplace=True)]
    return nn.Sequential(
        *layers, nn.Linear(sizes[-1], prod(shape)), nn.Tanh(), nn.Unflatten(1, shape)
    )


def discriminator(shape: tuple[int, int, int], width: int, norm: Norm) -> nn.Module:
    """The network from images (N, C, H, W) in [-1, 1] to scores (N, 1), the higher the more real;
    no sigmoid at its end."""
    sizes = [prod(shape), 4 * width, 2 * width, width]
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [
            linear(inputs, outputs, norm),
            *normalized(outputs, norm, flat=True),
            nn.LeakyReLU(0.2, inplace=True),
        ]
    return nn.Sequential(*layers, linear(width, 1, norm))
