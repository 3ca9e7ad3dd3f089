"""Random crops of whole batches, resized to the image's own size.

A crop is part of the sampling grid that other spatial transformations use, so it costs nothing
extra.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

RATIOS = (3 / 4, 4 / 3)
"""Width over height that a crop may have, as in Inception's training and in SimCLR's."""

_TRIES = 10


def random_boxes(
    count: int, height: int, width: int, least: float, generator: torch.Generator
) -> Tensor:
    """Boxes (N, 4) in images of ``height`` × ``width``: top, left, height and width, as shares of
    the image's sides.

    Area uniform from ``least`` to 1, logarithm of the ratio of the sides uniform over ``RATIOS``,
    place uniform: the law of torchvision's ``RandomResizedCrop``, but that a box need not start at
    a whole pixel. As there, a box that does not fit is drawn again, and after ten tries it is the
    whole image, or as much of its middle as the ratios allow.

    Args:
        least: smallest share of the area, in (0, 1].
    """
    area, shape = torch.rand(2, count, _TRIES, generator=generator)
    area = least + (1 - least) * area
    low, high = (math.log(ratio) for ratio in RATIOS)
    ratio = torch.exp(low + (high - low) * shape) * height / width
    tall, wide = (area / ratio).sqrt(), (area * ratio).sqrt()
    fits = (tall <= 1) & (wide <= 1)
    first, none = fits.float().argmax(1, keepdim=True), ~fits.any(1)
    tall = tall.gather(1, first).squeeze(1).masked_fill(none, min(1.0, width / height / RATIOS[0]))
    wide = wide.gather(1, first).squeeze(1).masked_fill(none, min(1.0, RATIOS[1] * height / width))
    down, right = torch.rand(2, count, generator=generator).masked_fill(none, 0.5)
    return torch.stack([down * (1 - tall), right * (1 - wide), tall, wide], 1)


def box_to_grid(boxes: Tensor) -> Tensor:
    """From output to input coordinates, in the units of ``grid_sample``, where the output is the
    box enlarged: (N, 2, 3)."""
    top, left, tall, wide = boxes.unbind(1)
    none = torch.zeros_like(top)
    across = torch.stack([wide, none, 2 * left + wide - 1], 1)
    down = torch.stack([none, tall, 2 * top + tall - 1], 1)
    return torch.stack([across, down], 1)


def compose(first: Tensor, second: Tensor) -> Tensor:
    """One grid (N, 2, 3) for the images seen through ``first``, and what comes out seen through
    ``second``."""
    matrix, offset = first[:, :, :2], first[:, :, 2:]
    return torch.cat([matrix @ second[:, :, :2], matrix @ second[:, :, 2:] + offset], 2)
