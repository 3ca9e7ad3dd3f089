"""Layers of generators and discriminators."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

Norm = Literal["batch", "layer", "spectral", "none"]


class Unflattened(nn.Module):
    """Vectors (N, C · H · W) to maps (N, C, H, W), laid out by pixel, as the convolutions after it
    like them best."""

    def __init__(self, channels: int, height: int, width: int) -> None:
        """Maps of this shape."""
        super().__init__()
        self.shape = (height, width, channels)

    def forward(self, vectors: Tensor) -> Tensor:
        """The same numbers, not copied."""
        maps: Tensor = vectors.unflatten(1, self.shape).permute(0, 3, 1, 2)
        return maps


class Flattened(nn.Module):
    """Maps (N, C, H, W) to vectors (N, H · W · C): in the order that they lie in, so that neither
    way is there a copy to make."""

    def forward(self, maps: Tensor) -> Tensor:
        """The same numbers."""
        return maps.permute(0, 2, 3, 1).flatten(1)


def convolution(
    inputs: int, outputs: int, kernel: tuple[int, int], stride: tuple[int, int], norm: Norm
) -> nn.Module:
    """A convolution with a border of one pixel, spectrally normalised where that is the norm
    (arXiv:1802.05957)."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, padding=1, bias=norm in ("spectral", "none"))
    return spectral_norm(layer) if norm == "spectral" else layer


def linear(inputs: int, outputs: int, norm: Norm) -> nn.Module:
    """A linear layer, spectrally normalised where that is the norm."""
    layer = nn.Linear(inputs, outputs)
    return spectral_norm(layer) if norm == "spectral" else layer


def normalized(channels: int, norm: Norm, flat: bool = False) -> list[nn.Module]:
    """What stands between a layer and its activation: nothing where the norm is in the weights.

    Args:
        flat: for vectors, not maps.
    """
    if norm == "batch":
        return [nn.BatchNorm1d(channels) if flat else nn.BatchNorm2d(channels)]
    if (
        norm == "layer"
    ):  # over all channels and places of one image, so that images do not depend on each other
        return [nn.LayerNorm(channels) if flat else nn.GroupNorm(1, channels)]
    return []
