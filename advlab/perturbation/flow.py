"""Images whose pixels take their values from displaced places, and how smooth such a flow is.

A flow (N, 2, H, W) says for each pixel how many pixels further down and to the right its value
comes from. Values between pixels are bilinear, and beyond the edge those of the edge. Xiao et al.
2018, arXiv:1801.02612.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_SMALL = 1e-12  # squared pixels, under the root: it has no slope at 0


def warped(images: Tensor, flow: Tensor) -> Tensor:
    """The images (N, C, H, W) under a flow (N, 2, H, W); to the bit where it is 0.

    Differentiable in the flow. At whole pixels, where the slope jumps, it is that towards the
    following pixel.
    """
    height, width = images.shape[2:]
    top, bottom, down = _neighbours(flow[:, 0], torch.arange(height).view(1, -1, 1))
    left, right, across = _neighbours(flow[:, 1], torch.arange(width).view(1, 1, -1))

    def at(row: Tensor, column: Tensor) -> Tensor:
        place = (row * width + column).flatten(1)[:, None].expand(-1, images.shape[1], -1)
        return images.flatten(2).gather(2, place).view_as(images)

    upper = (1 - across) * at(top, left) + across * at(top, right)
    lower = (1 - across) * at(bottom, left) + across * at(bottom, right)
    return (1 - down) * upper + down * lower


def _neighbours(shift: Tensor, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The pixels before and after each displaced place along one side, int64 (N, H, W), and how far
    it is from the first to the second, (N, 1, H, W)."""
    last = places.numel() - 1
    place = (places.to(shift) + shift).clamp(0, last)
    before = place.detach().floor().long().clamp(max=max(0, last - 1))
    return before, (before + 1).clamp(max=last), (place - before)[:, None]


def variation(flow: Tensor) -> Tensor:
    """How rough a flow (N, 2, H, W) is, in pixels, (N,): the sum over pixels and their up to four
    neighbours of the distance between their displacements.

    Each pair of neighbours counts from both sides, as in the paper's L_flow.
    """
    return 2 * (_lengths(flow.diff(dim=2)) + _lengths(flow.diff(dim=3)))


def _lengths(differences: Tensor) -> Tensor:
    lengths = (differences.square().sum(1) + _SMALL).sqrt() - math.sqrt(_SMALL)
    return lengths.flatten(1).sum(1)
