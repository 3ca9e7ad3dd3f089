"""Rotations and translations of images, within limits.

A motion is a row (degrees, down, right): the image is turned about its middle, counter-clockwise
for positive degrees, and then moved by so many pixels. Values between pixels are bilinear, and what
comes in from outside is black. Engstrom et al. 2019, arXiv:1712.02779.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from advlab.perturbation.randomness import ImageRandom


def moved(images: Tensor, motions: Tensor) -> Tensor:
    """The images (N, C, H, W) after their motions (N, 3); those that do not move, to the bit.

    A pixel takes its value from where the motion came from, in coordinates of pixels around the
    middle of the image, so that an image need not be square.
    """
    height, width = images.shape[2:]
    degrees, down, right = (part.view(-1, 1, 1) for part in motions.double().unbind(1))
    device = motions.device
    y = torch.arange(height, dtype=torch.float64, device=device) - (height - 1) / 2
    x = torch.arange(width, dtype=torch.float64, device=device) - (width - 1) / 2
    y, x = y[None, :, None] - down, x[None, None, :] - right
    sine, cosine = torch.sin(torch.deg2rad(degrees)), torch.cos(torch.deg2rad(degrees))
    source_x, source_y = x * cosine - y * sine, x * sine + y * cosine
    # grid_sample's units, in which the outer edges of the image are at -1 and 1
    places = torch.stack([2 * source_x / width, 2 * source_y / height], dim=3).to(images)
    turned = functional.grid_sample(
        images, places, mode="bilinear", padding_mode="zeros", align_corners=False
    ).clamp(0, 1)
    still = (motions == 0).all(dim=1).to(images.device)
    return torch.where(still.view(-1, 1, 1, 1), images, turned)


def grid(degrees: float, shift: float, angles: int, shifts: int) -> Tensor:
    """Every combination of evenly spaced angles and shifts, float64 (K, 3).

    The image as it is comes first, even where the steps leave it out, and then the others from the
    nearest to the farthest, each coordinate by its limit.

    Args:
        degrees, shift: the limits.
        angles: how many angles, from -degrees to degrees; of one, or within no room, that is 0.
        shifts: how many translations along each side, likewise.
    """
    places = _steps(shift, shifts)
    motions = torch.cartesian_prod(_steps(degrees, angles), places, places)
    limits = torch.tensor([degrees, shift, shift], dtype=torch.float64)
    distance = (motions / limits.where(limits > 0, 1.0)).square().sum(1)
    motions = motions[distance.argsort(stable=True)]
    motions = motions[(motions != 0).any(dim=1)]
    return torch.cat([torch.zeros(1, 3, dtype=torch.float64), motions])


def drawn(random: ImageRandom, degrees: float, shift: float, tries: int) -> Tensor:
    """The image as it is, then ``tries`` motions drawn uniformly within the limits, for each image;
    float64 (N, 1 + tries, 3)."""
    limits = torch.tensor([degrees, shift, shift], dtype=torch.float64)
    motions = (2 * random.uniform((tries, 3)).double() - 1) * limits
    return torch.cat([torch.zeros(len(random), 1, 3, dtype=torch.float64), motions], dim=1)


def _steps(limit: float, count: int) -> Tensor:
    """Evenly spaced values from -limit to limit, float64, symmetric to the bit; 0 for one."""
    count = count if limit > 0 else 1
    steps = torch.arange(count, dtype=torch.float64)
    return limit * (2 * steps - (count - 1)) / max(1, count - 1)
