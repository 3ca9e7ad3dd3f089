"""Conversion of pixels from bytes (0 to 255) to floats (0 to 1)."""

from __future__ import annotations

import torch
from torch import Tensor


def to_unit(levels: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return ``levels`` / 255 on their device, with the same bits on every device.

    CUDA divides by a Python number by multiplying with its reciprocal, which gives different floats
    for some levels. It does divide by a tensor.

    Args:
        levels: integers from 0 to 255, of any shape and type.
    """
    divisor = torch.full((), 255, dtype=dtype, device=levels.device)
    return levels.to(dtype).div_(divisor) if levels.dtype != dtype else levels / divisor
