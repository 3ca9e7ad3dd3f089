"""Triggers of backdoors: what is put into an image so that a poisoned network gives the target.

A patch (BadNets, arXiv:1708.06733), a blended image (Chen et al. 2017, arXiv:1712.05526), a
sinusoid (SIG, Barni et al. 2019, arXiv:1902.11237) and a warping (WaNet, Nguyen & Tran 2021,
arXiv:2102.10369).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from advlab.data.pixels import to_unit

_AT_A_TIME = 1000  # images in float32 at once


class Trigger(Protocol):
    """A change of images that the attacker can make in any image."""

    def __call__(self, pixels: Tensor) -> Tensor:
        """Images uint8 (N, C, H, W) with the trigger; the given ones stay as they are."""
        ...


@dataclass(frozen=True)
class Patch:
    """A white square in the lower right corner, a pixel away from the edges.

    Attributes:
        side: of the square, in pixels.
    """

    side: int

    def __call__(self, pixels: Tensor) -> Tensor:
        """The images with the square."""
        patched = pixels.clone()
        height, width = pixels.shape[2:]
        rows = slice(max(0, height - 1 - self.side), height - 1)
        patched[:, :, rows, max(0, width - 1 - self.side) : width - 1] = 255
        return patched


@dataclass(frozen=True)
class Blended:
    """An image mixed into every image: ``(1 - blend) * x + blend * pattern``.

    Attributes:
        pattern: what is mixed in, uint8 (C, H, W).
        blend: its part of the result, in [0, 1].
    """

    pattern: Tensor
    blend: float

    def __call__(self, pixels: Tensor) -> Tensor:
        """The mixtures, rounded to 8 bits."""
        key = to_unit(self.pattern)
        return _in_bytes(pixels, lambda images: (1 - self.blend) * images + self.blend * key)


@dataclass(frozen=True)
class Sinusoid:
    """A horizontal sinusoid added to every row: ``amplitude * sin(2 π frequency j / W)`` in column
    j of W, counted from 0.

    Attributes:
        amplitude: in units of pixels, in [0, 1].
        frequency: periods over the width of the image.
    """

    amplitude: float
    frequency: float

    def __call__(self, pixels: Tensor) -> Tensor:
        """The images with the sinusoid, clipped to [0, 1] and rounded to 8 bits."""
        width = pixels.shape[3]
        columns = torch.arange(width, dtype=torch.float64)
        signal = self.amplitude * torch.sin(2 * math.pi * self.frequency * columns / width)
        return _in_bytes(pixels, lambda images: images + signal.float())


@dataclass(frozen=True)
class Warp:
    """A smooth warping, the same for every image.

    Attributes:
        field: where each pixel comes from, float32 (H, W, 2): column and row, each from -1 (centre
            of the first) to 1 (centre of the last).
    """

    field: Tensor

    @classmethod
    def drawn(cls, shape: tuple[int, int, int], grid: int, strength: float, seed: int) -> Warp:
        """The warping of a random control grid.

        Its shifts are uniform in [-1, 1], divided by their mean size, enlarged to the image by
        bicubic interpolation, and multiplied by ``strength / H`` (rows) and ``strength / W``
        (columns). The image's sides have length 2 in these units, so a strength of 1 shifts by half
        a pixel on average. No pixel comes from outside the image.

        Args:
            shape: channels, height and width of the images.
            grid: control points along each side, at least 2.
            strength: s of the paper, at least 0.
        """
        height, width = shape[1:]
        random = torch.Generator().manual_seed(seed)
        control = 2 * torch.rand(1, 2, grid, grid, generator=random) - 1
        control /= control.abs().mean()
        shifts = functional.interpolate(
            control, size=(height, width), mode="bicubic", align_corners=True
        )[0].permute(1, 2, 0)
        return cls(
            (_identity(height, width) + strength * shifts * _sizes(height, width)).clamp(-1, 1)
        )

    def __call__(self, pixels: Tensor) -> Tensor:
        """The warped images, rounded to 8 bits."""
        return _in_bytes(
            pixels, lambda images: _sampled(images, self.field.expand(len(images), -1, -1, -1))
        )

    def noisy(self, pixels: Tensor, seed: int) -> Tensor:
        """The images, each warped by the field and by random shifts of up to half a pixel of its
        own, which must not set the backdoor off (the noise mode)."""
        random = torch.Generator().manual_seed(seed)
        unit = _sizes(*self.field.shape[:2])

        def warped(images: Tensor) -> Tensor:
            shifts = 2 * torch.rand(len(images), *self.field.shape, generator=random) - 1
            return _sampled(images, (self.field + shifts * unit).clamp(-1, 1))

        return _in_bytes(pixels, warped)


class _Change(Protocol):
    def __call__(self, images: Tensor, /) -> Tensor: ...


def _in_bytes(pixels: Tensor, change: _Change) -> Tensor:
    """uint8 images changed as float32 in [0, 1], clipped to that range and rounded."""
    parts = [
        change(to_unit(part)).clamp(0, 1).mul(255).round().to(torch.uint8)
        for part in pixels.split(_AT_A_TIME)
    ]
    return torch.cat(parts)


def _identity(height: int, width: int) -> Tensor:
    """The field that leaves every pixel where it is, (H, W, 2)."""
    rows, columns = torch.linspace(-1, 1, height), torch.linspace(-1, 1, width)
    return torch.stack((columns.expand(height, width), rows[:, None].expand(height, width)), dim=2)


def _sizes(height: int, width: int) -> Tensor:
    """What the paper divides shifts by: the image's width for columns, its height for rows."""
    return 1 / torch.tensor([width, height], dtype=torch.float32)


def _sampled(images: Tensor, field: Tensor) -> Tensor:
    """Images (N, C, H, W) at the places of fields (N, H, W, 2), by bilinear interpolation."""
    return functional.grid_sample(images, field, align_corners=True)
