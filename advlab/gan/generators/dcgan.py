"""DCGAN: transposed convolutions that double the sides up to the image, and the reverse.

Radford, Metz and Chintala 2015, arXiv:1511.06434.

The paper's networks are those of 64 pixels: 64, 32, 16, 8, 4. Other sizes go down to 4 as well, by
halves that are rounded up (28, 14, 7, 4), so that the last layer of the discriminator sees the
whole image in every number.
"""

from __future__ import annotations

import itertools

import torch
from torch import nn

from advlab.errors import UsageError
from advlab.gan.layers import Flattened, Norm, Unflattened, convolution, normalized

WIDTH = 32
NORM: Norm = "batch"
_LEAST, _MOST = 8, 512  # pixels of a side
_MOST_CHANNELS = 8  # times the width


def _stages(shape: tuple[int, int, int]) -> list[tuple[int, int]]:
    """The sides of the maps, from the image down to 4 or less.

    Raises:
        UsageError: images of this shape cannot be made.
    """
    _, height, width = shape
    if not all(_LEAST <= side <= _MOST for side in (height, width)):
        raise UsageError(
            f"dcgan makes images with sides from {_LEAST} to {_MOST} pixels, not {height} × "
            f"{width}; "
            "--image-size sets them for folders, --arch mlp takes any"
        )
    sides = [(height, width)]
    while max(sides[-1]) > 4:
        sides.append(tuple(-(-side // 2) if side > 4 else side for side in sides[-1]))  # type: ignore[arg-type]
    return sides


def _kernel(large: int, small: int) -> tuple[int, int]:
    """Kernel and stride that halve a side, or leave it."""
    return (3, 1) if large == small else (4, 2) if large == 2 * small else (3, 2)


def _channels(width: int, stages: int) -> list[int]:
    return [width * min(2**stage, _MOST_CHANNELS) for stage in range(stages)]


def generator(shape: tuple[int, int, int], zdim: int, width: int) -> nn.Module:
    """The network from z (N, zdim) to images (N, C, H, W) in [-1, 1].

    Raises:
        UsageError: images of this shape cannot be made.
    """
    sides = _stages(shape)
    channels = _channels(width, len(sides) - 1)
    height, wide = sides[-1]
    # A transposed convolution of a single pixel is a linear layer, and much the faster one as such.
    layers: list[nn.Module] = [
        nn.Linear(zdim, channels[-1] * height * wide, bias=False),
        Unflattened(channels[-1], height, wide),
    ]
    for stage in range(len(sides) - 2, -1, -1):
        layers += [nn.BatchNorm2d(channels[stage]), nn.ReLU(inplace=True)]
        (kernel_h, stride_h), (kernel_w, stride_w) = map(_kernel, sides[stage], sides[stage + 1])
        out = channels[stage - 1] if stage else shape[0]
        kernel, stride = (kernel_h, kernel_w), (stride_h, stride_w)
        layers.append(
            nn.ConvTranspose2d(channels[stage], out, kernel, stride, padding=1, bias=not stage)
        )
    return initialized(nn.Sequential(*layers, nn.Tanh()))


def discriminator(shape: tuple[int, int, int], width: int, norm: Norm) -> nn.Module:
    """The network from images (N, C, H, W) in [-1, 1] to scores (N, 1), the higher the more real;
    no sigmoid at its end.

    Raises:
        UsageError: images of this shape are not taken.
    """
    sides = _stages(shape)
    channels = _channels(width, len(sides) - 1)
    layers: list[nn.Module] = []
    for stage, (large, small) in enumerate(itertools.pairwise(sides)):
        (kernel_h, stride_h), (kernel_w, stride_w) = map(_kernel, large, small)
        before = channels[stage - 1] if stage else shape[0]
        layers.append(
            convolution(before, channels[stage], (kernel_h, kernel_w), (stride_h, stride_w), norm)
        )
        layers += [
            *(normalized(channels[stage], norm) if stage else []),
            nn.LeakyReLU(0.2, inplace=True),
        ]
    height, wide = sides[-1]
    last = nn.Linear(channels[-1] * height * wide, 1)
    return initialized(
        nn.Sequential(
            *layers,
            Flattened(),
            nn.utils.parametrizations.spectral_norm(last) if norm == "spectral" else last,
        )
    )


def initialized(network: nn.Module) -> nn.Module:
    """The paper's weights: from a normal distribution of standard deviation 0.02, normalisations
    around 1; none where they have no memory."""
    if torch.get_default_device().type == "meta":
        return network
    for module in network.modules():
        if isinstance(
            module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
        ) and not nn.utils.parametrize.is_parametrized(module):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
    return network
