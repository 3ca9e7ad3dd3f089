"""Linear and spherical interpolation between latent vectors."""

from __future__ import annotations

import torch
from torch import Tensor


def lerp(start: Tensor, end: Tensor, fraction: Tensor) -> Tensor:
    """Points (n, zdim) on the straight line from ``start`` to ``end``, (zdim,), at shares (n,) from
    0 to 1.

    In the middle they are shorter than almost any z that the generator was trained on.
    """
    return start + fraction[:, None] * (end - start)


def slerp(start: Tensor, end: Tensor, fraction: Tensor) -> Tensor:
    """Points on the arc from ``start`` to ``end`` (Shoemake 1985), of about their length; the line
    where they are parallel."""
    cosine = torch.nn.functional.cosine_similarity(start, end, dim=0).clamp(-1, 1)
    angle = torch.acos(cosine)
    if float(angle.sin()) < 1e-4:
        return lerp(start, end, fraction)
    part = fraction[:, None]
    return (
        torch.sin((1 - part) * angle) / angle.sin() * start
        + torch.sin(part * angle) / angle.sin() * end
    )


def way(start: Tensor, end: Tensor, frames: int, path: str) -> Tensor:
    """z (frames, zdim) from ``start`` to ``end``, both included."""
    fraction = torch.linspace(0, 1, frames)
    return (lerp if path == "lerp" else slerp)(start, end, fraction)
