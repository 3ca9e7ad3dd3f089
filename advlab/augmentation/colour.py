"""Random changes of brightness, contrast, saturation and hue, on whole batches.

Each is torchvision's ``adjust_`` function of that name, with a strength per image.

Images are (N, 3, H, W) in [0, 1] (brightness and contrast take one channel too), strengths (N,); so
are the results.
"""

from __future__ import annotations

import torch
from torch import Tensor

_LUMA = (0.2989, 0.587, 0.114)  # ITU-R BT.601, as Pillow and torchvision have it


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Times a factor of 0 (black) or more; 1 changes nothing."""
    return (images * _each(factor)).clamp_(0, 1)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Away from (factor > 1) or towards (< 1) the image's mean grey; 1 changes nothing."""
    return _blend(images, luma(images).mean(dim=(1, 2, 3), keepdim=True), factor)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Away from or towards each pixel's own grey: 0 is a grey image, 1 changes nothing."""
    return _blend(images, luma(images), factor)


def greyscale(images: Tensor, chosen: Tensor) -> Tensor:
    """The images for which ``chosen`` (N,) is true without their colours."""
    return torch.where(_each(chosen), luma(images), images)


def hue(images: Tensor, shift: Tensor) -> Tensor:
    """Turned on the colour circle by a share of it, -0.5 to 0.5, with value and saturation (HSV)
    kept; 0 changes nothing."""
    red, green, blue = images.unbind(1)
    value, largest = images.max(1)
    chroma = value - images.amin(1)
    safe = chroma.clamp_min(1e-12)
    # In sixths of the circle, counted from the largest channel: red, green, blue.
    sixth = (
        torch.stack([green - blue, blue - red, red - green], 1).gather(1, largest[:, None])[:, 0]
        / safe
        + 2 * largest
    )
    turned = sixth + 6 * shift.view(-1, 1, 1)
    start = torch.tensor([5.0, 3.0, 1.0], dtype=images.dtype, device=images.device).view(1, 3, 1, 1)
    place = (turned[:, None] + start).remainder_(6)
    return value[:, None] - chroma[:, None] * torch.minimum(place, 4 - place).clamp_(0, 1)


def luma(images: Tensor) -> Tensor:
    """Grey values (N, 1, H, W); of images with one channel, themselves."""
    if images.shape[1] == 1:
        return images
    red, green, blue = _LUMA
    return (red * images[:, 0] + green * images[:, 1] + blue * images[:, 2])[:, None]


def _blend(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    return torch.lerp(other.expand_as(images), images, _each(factor)).clamp_(0, 1)


def _each(value: Tensor) -> Tensor:
    return value.view(-1, 1, 1, 1)
