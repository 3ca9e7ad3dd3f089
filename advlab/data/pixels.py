"""Pixels as numbers: bytes from 0 to 255 and floats from 0 to 1."""

from __future__ import annotations

import torch
from torch import Tensor


def to_unit(levels: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """``levels`` / 255 on their device, with the same bits on every device.

    CUDA divides by a number of Python as a product with its reciprocal, which is another float for
    some levels. A divisor on the device makes it divide.

    Args:
        levels: whole numbers from 0 to 255, of any shape and type.
    """
    divisor = torch.full((), 255, dtype=dtype, device=levels.device)
    return levels.to(dtype).div_(divisor) if levels.dtype != dtype else levels / divisor
