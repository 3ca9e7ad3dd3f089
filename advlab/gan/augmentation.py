"""Differentiable augmentation of real and generated images before the discriminator.

Zhao et al. 2020, arXiv:2006.10738.

A small set cannot be memorised then, and the generator still receives gradients. Images
are in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

_SHIFT = 1 / 8  # of the side, at most, either way
_HOLE = 1 / 2  # of the side


def augmented(images: Tensor, names: Sequence[str]) -> Tensor:
    """The images (N, C, H, W), transformed each in its own way; random numbers from torch's global
    generator."""
    for name in names:
        images = _KINDS[name](images)
    return images


def _uniform(images: Tensor) -> Tensor:
    """A number in [0, 1) for each image, (N, 1, 1, 1)."""
    return torch.rand(len(images), 1, 1, 1).to(images.device, images.dtype)


def _whole(images: Tensor, low: int, high: int) -> Tensor:
    """A whole number from ``low`` to ``high`` for each image, (N, 1)."""
    return torch.randint(low, high + 1, (len(images), 1)).to(images.device)


def brightness(images: Tensor) -> Tensor:
    """Every pixel up or down by the same, at most half the way from grey to white."""
    return images + (_uniform(images) - 0.5)


def saturation(images: Tensor) -> Tensor:
    """Colours between grey and twice as strong."""
    grey = images.mean(dim=1, keepdim=True)
    return grey + (images - grey) * (2 * _uniform(images))


def contrast(images: Tensor) -> Tensor:
    """Differences from the image's mean, between half and one and a half times as large."""
    centre = images.mean(dim=(1, 2, 3), keepdim=True)
    return centre + (images - centre) * (_uniform(images) + 0.5)


def translation(images: Tensor) -> Tensor:
    """Shifted by up to an eighth of the side, zeros (mid-grey) coming in."""
    count, _, height, width = images.shape
    down, right = max(1, round(height * _SHIFT)), max(1, round(width * _SHIFT))
    rows = torch.arange(height, device=images.device) + down + _whole(images, -down, down)
    columns = torch.arange(width, device=images.device) + right + _whole(images, -right, right)
    padded = pad(images, (right, right, down, down)).permute(0, 2, 3, 1)
    which = torch.arange(count, device=images.device)[:, None, None]
    return padded[which, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def cutout(images: Tensor) -> Tensor:
    """A square of half the side set to zero (mid-grey), anywhere, possibly half outside."""
    _, _, height, width = images.shape
    tall, wide = round(height * _HOLE), round(width * _HOLE)
    top = _whole(images, -(tall // 2), height - tall // 2 - 1)
    left = _whole(images, -(wide // 2), width - wide // 2 - 1)
    rows, columns = (
        torch.arange(height, device=images.device),
        torch.arange(width, device=images.device),
    )
    inside_rows = (rows >= top) & (rows < top + tall)
    inside_columns = (columns >= left) & (columns < left + wide)
    hole = inside_rows[:, None, :, None] & inside_columns[:, None, None, :]
    return images.masked_fill(hole, 0.0)


_KINDS: dict[str, Callable[[Tensor], Tensor]] = {
    "brightness": brightness,
    "saturation": saturation,
    "contrast": contrast,
    "translation": translation,
    "cutout": cutout,
}
