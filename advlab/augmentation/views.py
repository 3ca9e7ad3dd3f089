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

_BLUR = (0.1, 2.0)  # standard deviations, in pixels of an image of 224
_JITTERED = 0.8  # share of the images whose colours change at all


@dataclass(frozen=True)
class Views:
    """What is drawn, and from what range; a value that leaves a step out is in brackets.

    Attributes:
        crop: smallest share of the image's area that a crop keeps, in (0, 1] (1).
        flip: share of the views that are mirrored left to right (0).
        degrees: turned by up to this much either way (0).
        jitter: strength s of the colour changes, in [0, 1]: brightness, contrast and saturation by
            up to ±0.8 s, the hue by up to ±0.2 s of the circle, in four fifths of the views (0).
            Images with one channel have the first two.
        grey: share of the views that lose their colours (0).
        blur: share of the views that are smoothed (0).
    """

    crop: float = 0.08
    flip: float = 0.5
    degrees: float = 0.0
    jitter: float = 1.0
    grey: float = 0.2
    blur: float = 0.0


def view(images: Tensor, views: Views, generator: torch.Generator) -> Tensor:
    """A view of each image, new (N, C, H, W) in [0, 1].

    The parameters are drawn for each image, on the CPU, so that every device sees the same; the
    order of the colour changes is drawn once for all of them.

    Args:
        images: (N, C, H, W) in [0, 1], with one channel or three.
        generator: on the CPU; the same state gives the same views.
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
    """Cropped, turned and mirrored in one sampling."""
    count, _, height, width = images.shape
    theta = crop.box_to_grid(crop.random_boxes(count, height, width, views.crop, generator))
    still, one = torch.zeros(count, 2), torch.ones(count)
    angle = (torch.rand(count, generator=generator) * 2 - 1) * math.radians(views.degrees)
    flip = torch.rand(count, generator=generator) < views.flip
    theta = crop.compose(theta, spatial.affine(angle, still, one, 0 * one, flip, height, width))
    return spatial.sample(images, theta.to(images.device), None).clamp_(0, 1)


def _recoloured(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    steps: list[tuple[Callable[[Tensor, Tensor], Tensor], float, float]] = [
        (colour.brightness, 1.0, 0.8 * strength),
        (colour.contrast, 1.0, 0.8 * strength),
    ]
    if images.shape[1] == 3:
        steps += [(colour.saturation, 1.0, 0.8 * strength), (colour.hue, 0.0, 0.2 * strength)]
    chosen = _draw(images, 0, 1, generator) < _JITTERED
    for number in torch.randperm(len(steps), generator=generator).tolist():
        change, centre, reach = steps[number]
        amount = _draw(images, centre - reach, centre + reach, generator)
        images = change(images, torch.where(chosen, amount, centre))
    return images


def _blurred(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    side = min(images.shape[2:])
    low, high = (sigma * side / 224 for sigma in _BLUR)
    sigma = _draw(images, low, high, generator) * (_draw(images, 0, 1, generator) < share)
    return spatial.gaussian_blur(images, sigma, min(math.ceil(3 * high), side - 1)).clamp_(0, 1)


def _draw(images: Tensor, low: float, high: float, generator: torch.Generator) -> Tensor:
    return (torch.rand(len(images), generator=generator) * (high - low) + low).to(images.device)
