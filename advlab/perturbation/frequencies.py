"""Cosine waves as directions of perturbations."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def cosines(side: int) -> Tensor:
    """The orthonormal discrete cosine transform (DCT-II), a matrix (side, side).

    Row u is the wave of frequency u.
    """
    place = torch.arange(side, dtype=torch.float64)
    waves = torch.cos(math.pi / side * (place[None, :] + 0.5) * place[:, None])
    scale = torch.full((side, 1), math.sqrt(2 / side), dtype=torch.float64)
    scale[0] = math.sqrt(1 / side)
    return scale * waves
