"""Random crops of batches of images, resized to the size of the images.

A crop is expressed as a sampling grid, which is combined with other spatial transformations and
needs no interpolation of its own.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

RATIOS = (3 / 4, 4 / 3)
"""Range of the aspect ratio (width over height) of a crop, as in Inception and SimCLR training."""

_TRIES = 10


def random_boxes(
    count: int, height: int, width: int, min_area: float, generator: torch.Generator
) -> Tensor:
    """Draw random crop boxes.

    The area is uniform in [``min_area``, 1], the logarithm of the aspect ratio is uniform over
    ``RATIOS``, and the position is uniform. This is the distribution of torchvision's
    ``RandomResizedCrop``, except that boxes are not aligned to whole pixels. A box that does not
    fit is drawn again, up to ten times. After that it is the largest centred box whose aspect ratio
    is allowed.

    Args:
        count: number of boxes N.
        height: height of the images in pixels.
        width: width of the images in pixels.
        min_area: smallest area as a fraction of the image, in (0, 1].

    Returns:
        Boxes (N, 4): top, left, height and width, as fractions of the sides of the image.
    """
    area, shape = torch.rand(2, count, _TRIES, generator=generator)
    area = min_area + (1 - min_area) * area
    low, high = (math.log(ratio) for ratio in RATIOS)
    ratio = torch.exp(low + (high - low) * shape) * height / width
    tall, wide = (area / ratio).sqrt(), (area * ratio).sqrt()
    fits = (tall <= 1) & (wide <= 1)
    first, no_fit = fits.float().argmax(1, keepdim=True), ~fits.any(1)
    tall = (
        tall.gather(1, first).squeeze(1).masked_fill(no_fit, min(1.0, width / height / RATIOS[0]))
    )
    wide = (
        wide.gather(1, first).squeeze(1).masked_fill(no_fit, min(1.0, RATIOS[1] * height / width))
    )
    down, right = torch.rand(2, count, generator=generator).masked_fill(no_fit, 0.5)
    return torch.stack([down * (1 - tall), right * (1 - wide), tall, wide], 1)


def box_to_grid(boxes: Tensor) -> Tensor:
    """Return affine maps (N, 2, 3) that enlarge the boxes to the whole output.

    They map output to input coordinates in the units of ``grid_sample``.
    """
    top, left, tall, wide = boxes.unbind(1)
    zero = torch.zeros_like(top)
    across = torch.stack([wide, zero, 2 * left + wide - 1], 1)
    down = torch.stack([zero, tall, 2 * top + tall - 1], 1)
    return torch.stack([across, down], 1)


def compose(first: Tensor, second: Tensor) -> Tensor:
    """Return the affine maps (N, 2, 3) of sampling with ``first`` and then with ``second``."""
    matrix, offset = first[:, :, :2], first[:, :, 2:]
    return torch.cat([matrix @ second[:, :, :2], matrix @ second[:, :, 2:] + offset], 2)
