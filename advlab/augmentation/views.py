"""Random views of images as in SimCLR: crop, flip, colour jitter, grey and blur.

Chen et al. 2020, arXiv:2002.05709, appendix A.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from advlab.augmentation import colour, crop, spatial

_BLUR = (0.1, 2.0)  # range of standard deviations, in pixels of an image of side 224
_JITTERED = 0.8  # fraction of the images whose colours change


@dataclass(frozen=True)
class Views:
    """Parameters of the random views.

    A ``crop`` of 1, and 0 for any other parameter, disables the step.

    Attributes:
        crop: smallest fraction of the image's area that a crop keeps, in (0, 1].
        flip: fraction of the views that are mirrored left to right.
        degrees: largest rotation in either direction, in degrees.
        jitter: strength s of the colour changes, in [0, 1]. In four fifths of the views,
            brightness, contrast and saturation change by up to ±0.8 s and the hue by up to ±0.2 s
            of the colour circle. Images with one channel change in brightness and contrast only.
        grey: fraction of the views that are converted to grey.
        blur: fraction of the views that are blurred.
    """

    crop: float = 0.08
    flip: float = 0.5
    degrees: float = 0.0
    jitter: float = 1.0
    grey: float = 0.2
    blur: float = 0.0


def view(images: Tensor, views: Views, generator: torch.Generator) -> Tensor:
    """Return a random view of each image.

    The parameters are drawn for each image, on the CPU, so that they are the same for every device.
    The order of the colour changes is drawn once for the batch.

    Args:
        images: (N, C, H, W) in [0, 1], with one channel or three.
        generator: a CPU generator; the same state gives the same views.

    Returns:
        New images (N, C, H, W) in [0, 1].
    """
    result = _moved(images, views, generator)
    if views.jitter:
        result = _recoloured(result, views.jitter, generator)
    if views.grey and images.shape[1] == 3:
        result = colour.greyscale(result, (_draw(images, 0, 1, generator) < views.grey))
    if views.blur:
        result = _blurred(result, views.blur, generator)
    return result


def _moved(images: Tensor, views: Views, generator: torch.Generator) -> Tensor:
    """Crop, rotate and flip the images in one interpolation."""
    count, _, height, width = images.shape
    theta = crop.box_to_grid(crop.random_boxes(count, height, width, views.crop, generator))
    no_shift, unit_scale, no_shear = torch.zeros(count, 2), torch.ones(count), torch.zeros(count)
    angle = (torch.rand(count, generator=generator) * 2 - 1) * math.radians(views.degrees)
    flip = torch.rand(count, generator=generator) < views.flip
    theta = crop.compose(
        theta, spatial.affine(angle, no_shift, unit_scale, no_shear, flip, height, width)
    )
    return spatial.sample(images, theta.to(images.device), None).clamp_(0, 1)


def _recoloured(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    steps: list[tuple[Callable[[Tensor, Tensor], Tensor], float, float]] = [
        (colour.brightness, 1.0, 0.8 * strength),
        (colour.contrast, 1.0, 0.8 * strength),
    ]
    if images.shape[1] == 3:
        steps += [(colour.saturation, 1.0, 0.8 * strength), (colour.hue, 0.0, 0.2 * strength)]
    jittered = _draw(images, 0, 1, generator) < _JITTERED
    for number in torch.randperm(len(steps), generator=generator).tolist():
        change, centre, spread = steps[number]
        amount = _draw(images, centre - spread, centre + spread, generator)
        images = change(images, torch.where(jittered, amount, centre))
    return images


def _blurred(images: Tensor, fraction: float, generator: torch.Generator) -> Tensor:
    side = min(images.shape[2:])
    low, high = (sigma * side / 224 for sigma in _BLUR)
    sigma = _draw(images, low, high, generator) * (_draw(images, 0, 1, generator) < fraction)
    return spatial.gaussian_blur(images, sigma, min(math.ceil(3 * high), side - 1)).clamp_(0, 1)


def _draw(images: Tensor, low: float, high: float, generator: torch.Generator) -> Tensor:
    return (torch.rand(len(images), generator=generator) * (high - low) + low).to(images.device)
