"""Shifts of hue, saturation, brightness and contrast of whole images, and which of them to try.

A shift is a row (brightness, contrast, saturation, hue), each 0 for none: the first three are added
to a factor of 1, and the last is in degrees of the colour circle. They are applied in this order,
as torchvision's ``adjust_`` functions of these names. Images of one channel have the first two.
"""

from __future__ import annotations

import torch
from torch import Tensor

from advlab.augmentation import colour
from advlab.config.threats import ColourShift
from advlab.errors import UsageError
from advlab.perturbation.randomness import ImageRandom

_COLOURS = 3  # channels of an image that has a hue
_KINDS = ("brightness", "contrast", "saturation", "hue")
_HALF_TURN = 180.0


def kinds(channels: int) -> tuple[str, ...]:
    """The kinds of shifts that images of so many channels have, in order.

    Raises:
        UsageError: images are neither grey nor in colour.
    """
    if channels not in (1, _COLOURS):
        raise UsageError(
            f"colour: these images have {channels} channels; they must have one (grey) or three "
            "(red, green, blue)"
        )
    return _KINDS if channels == _COLOURS else _KINDS[:2]


def shifted(images: Tensor, shifts: Tensor) -> Tensor:
    """The images (N, C, H, W) in [0, 1] after their shifts, (N, 4) or (N, 2); those that have none,
    to the bit."""
    parts = shifts.to(images).unbind(1)
    result = colour.contrast(colour.brightness(images, 1 + parts[0]), 1 + parts[1])
    if len(parts) > 2:
        result = colour.saturation(result, 1 + parts[2])
        result = colour.hue(result, parts[3] / 360).clamp(0, 1)
    still = (shifts == 0).all(dim=1).to(images.device)
    return torch.where(still.view(-1, 1, 1, 1), images, result)


def limits_of(threat: ColourShift, channels: int) -> Tensor:
    """The largest shifts of images of so many channels, float64 (4,) or (2,)."""
    limits = [float(getattr(threat, kind)) for kind in kinds(channels)]
    return torch.tensor(limits, dtype=torch.float64)


def grid(limits: Tensor, levels: int) -> Tensor:
    """Every combination of evenly spaced shifts, float64 (K, P): none first, even where the levels
    leave it out, and then the others from the nearest to the farthest, each by its limit.

    Args:
        limits: (P,).
        levels: how many shifts of each kind, from -limit to limit; of one, or without room, 0.
            Half a turn of the hue is the same both ways, and stands there once.
    """
    axes = [_levels(float(limit), levels) for limit in limits]
    if len(axes) > 2 and len(axes[-1]) > 1:
        axes[-1] = axes[-1][axes[-1] > -_HALF_TURN]
    shifts = torch.cartesian_prod(*axes)
    distance = (shifts / limits.where(limits > 0, 1.0)).square().sum(1)
    shifts = shifts[distance.argsort(stable=True)]
    shifts = shifts[(shifts != 0).any(dim=1)]
    return torch.cat([torch.zeros(1, len(limits), dtype=torch.float64), shifts])


def drawn(random: ImageRandom, limits: Tensor, tries: int) -> Tensor:
    """No shift, then ``tries`` drawn for each image, float64 (N, 1 + tries, P).

    They begin near the image and grow evenly up to the limits, as in the paper.
    """
    largest = torch.arange(1, tries + 1, dtype=torch.float64)[:, None] / tries * limits
    shifts = (2 * random.uniform((tries, len(limits))).double() - 1) * largest
    return torch.cat([torch.zeros(len(random), 1, len(limits), dtype=torch.float64), shifts], dim=1)


def _levels(limit: float, count: int) -> Tensor:
    """Evenly spaced values from -limit to limit, float64, symmetric to the bit; 0 for one."""
    count = count if limit > 0 else 1
    steps = torch.arange(count, dtype=torch.float64)
    return limit * (2 * steps - (count - 1)) / max(1, count - 1)
