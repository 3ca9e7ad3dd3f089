"""DCGAN (Radford, Metz and Chintala 2015, arXiv:1511.06434): convolutions that double the side up to the image, and halve it again."""

from __future__ import annotations

from torch import nn

from advlab.errors import UserError
from advlab.generators._layers import Flattened, Norm, Unflattened, convolution, normalized

WIDTH = 64
NORM: Norm = "batch"
_SMALLEST = range(4, 8)
_LARGEST_SIDE = 512


def sides() -> list[int]:
    """The sides of images that can be made: 4, 5, 6 or 7 doubled at least twice."""
    return sorted(start * 2**times for start in _SMALLEST for times in range(2, 8) if start * 2**times <= _LARGEST_SIDE)


def _stages(shape: tuple[int, int, int]) -> tuple[int, int]:
    """The side that everything starts from, and how often it doubles.

    Raises:
        UserError: images of this shape cannot be made.
    """
    _, height, width = shape
    if height != width or height not in sides():
        known = sides()
        asked = max(height, width)
        below, above = [side for side in known if side <= asked] or known[:1], [side for side in known if side >= asked] or known[-1:]
        near = sorted({below[-1], above[0]})
        raise UserError(
            f"dcgan makes square images with sides of {', '.join(map(str, known[:8]))} … {known[-1]} pixels, not {height} × {width}; "
            f"--image-size {' or '.join(map(str, near))} would do where it can be set, --arch mlp takes any"
        )
    times = 0
    while height > _SMALLEST[-1]:
        height, times = height // 2, times + 1
    return height, times


def generator(shape: tuple[int, int, int], zdim: int, width: int) -> nn.Module:
    """The network from z (N, zdim) to images (N, C, H, W) in [-1, 1].

    Raises:
        UserError: images of this shape cannot be made.
    """
    start, times = _stages(shape)
    channels = width * 2 ** (times - 1)
    # A transposed convolution of a single pixel is a linear layer, and much the faster one as such.
    layers: list[nn.Module] = [
        nn.Linear(zdim, channels * start * start, bias=False),
        Unflattened(channels, start, start),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    ]
    for _ in range(times - 1):
        layers += [
            nn.ConvTranspose2d(channels, channels // 2, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(channels // 2),
            nn.ReLU(inplace=True),
        ]
        channels //= 2
    return initialized(nn.Sequential(*layers, nn.ConvTranspose2d(channels, shape[0], 4, stride=2, padding=1), nn.Tanh()))


def discriminator(shape: tuple[int, int, int], width: int, norm: Norm) -> nn.Module:
    """The network from images (N, C, H, W) in [-1, 1] to scores (N, 1), the higher the more real; no sigmoid at its end.

    Raises:
        UserError: images of this shape are not taken.
    """
    start, times = _stages(shape)
    layers: list[nn.Module] = [convolution(shape[0], width, norm), nn.LeakyReLU(0.2, inplace=True)]
    for _ in range(times - 1):
        layers += [convolution(width, 2 * width, norm), *normalized(2 * width, norm), nn.LeakyReLU(0.2, inplace=True)]
        width *= 2
    last = nn.Linear(width * start * start, 1)
    return initialized(nn.Sequential(*layers, Flattened(), nn.utils.parametrizations.spectral_norm(last) if norm == "spectral" else last))


def initialized(network: nn.Module) -> nn.Module:
    """The paper's weights: from a normal distribution of standard deviation 0.02, normalisations around 1."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)) and not nn.utils.parametrize.is_parametrized(module):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
    return network
