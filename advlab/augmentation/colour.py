"""Changes of brightness, contrast, saturation and hue of batches of images.

Each function is torchvision's ``adjust_`` function of that name, with one strength per image.
Images are (N, 3, H, W) in [0, 1]; brightness and contrast accept one channel too. Strengths have
shape (N,). The results have the shape and range of the images.
"""

from __future__ import annotations

import torch
from torch import Tensor

_LUMA = (0.2989, 0.587, 0.114)  # weights of ITU-R BT.601, as in Pillow and torchvision


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply the images by a factor: 0 gives black, 1 the original."""
    return (images * _each(factor)).clamp_(0, 1)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Blend each image with its mean grey value: 0 gives a uniform grey, 1 the original."""
    return _blend(images, luma(images).mean(dim=(1, 2, 3), keepdim=True), factor)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Blend each pixel with its grey value: 0 gives a grey image, 1 the original."""
    return _blend(images, luma(images), factor)


def greyscale(images: Tensor, mask: Tensor) -> Tensor:
    """Convert the images for which ``mask`` (bool, (N,)) is True to grey."""
    return torch.where(_each(mask), luma(images), images)


def hue(images: Tensor, shift: Tensor) -> Tensor:
    """Rotate the hue in HSV space, keeping value and saturation.

    Args:
        shift: rotation as a fraction of the colour circle, -0.5 to 0.5; 0 gives the original.
    """
    red, green, blue = images.unbind(1)
    value, largest = images.max(1)
    chroma = value - images.amin(1)
    safe = chroma.clamp_min(1e-12)
    # Hue in sixths of the circle, relative to the largest channel (red, green or blue).
    sixth = (
        torch.stack([green - blue, blue - red, red - green], 1).gather(1, largest[:, None])[:, 0]
        / safe
        + 2 * largest
    )
    rotated = sixth + 6 * shift.view(-1, 1, 1)
    start = torch.tensor([5.0, 3.0, 1.0], dtype=images.dtype, device=images.device).view(1, 3, 1, 1)
    position = (rotated[:, None] + start).remainder_(6)
    return value[:, None] - chroma[:, None] * torch.minimum(position, 4 - position).clamp_(0, 1)


def luma(images: Tensor) -> Tensor:
    """Return grey values (N, 1, H, W); images with one channel are returned unchanged."""
    if images.shape[1] == 1:
        return images
    red, green, blue = _LUMA
    return (red * images[:, 0] + green * images[:, 1] + blue * images[:, 2])[:, None]


def _blend(images: Tensor, background: Tensor, factor: Tensor) -> Tensor:
    return torch.lerp(background.expand_as(images), images, _each(factor)).clamp_(0, 1)


def _each(value: Tensor) -> Tensor:
    return value.view(-1, 1, 1, 1)
