"""The way from one z to another, and what the generator makes on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from advlab.config.base import Flag
from advlab.config.options.gan import GeneratorOptions

if TYPE_CHECKING:
    from torch import Tensor


class Options(GeneratorOptions):
    """Go from one z to another, straight or along the sphere, as a strip and an animation."""

    endpoints: Annotated[
        list[Annotated[int, Field(ge=0, lt=2**31)]],
        Field(min_length=2, max_length=20, description="seeds of the z to go through, one after another"),
        Flag(group="pictures"),
    ] = [0, 1, 2, 3]
    frames: Annotated[int, Field(ge=2, le=1000, description="images from one to the next, both included"), Flag(group="pictures")] = 12
    path: Annotated[
        Literal["both", "lerp", "slerp"], Field(description="straight through z, along the sphere, or each"), Flag(group="pictures")
    ] = "both"


def lerp(start: Tensor, end: Tensor, share: Tensor) -> Tensor:
    """Points (n, zdim) on the straight line from ``start`` to ``end``, (zdim,), at shares (n,) from 0 to 1.

    In the middle they are shorter than almost any z that the generator was trained on.
    """
    return start + share[:, None] * (end - start)


def slerp(start: Tensor, end: Tensor, share: Tensor) -> Tensor:
    """Points on the arc from ``start`` to ``end`` (Shoemake 1985), of about their length; the line where they are parallel."""
    import torch

    cosine = torch.nn.functional.cosine_similarity(start, end, dim=0).clamp(-1, 1)
    angle = torch.acos(cosine)
    if float(angle.sin()) < 1e-4:
        return lerp(start, end, share)
    part = share[:, None]
    return torch.sin((1 - part) * angle) / angle.sin() * start + torch.sin(part * angle) / angle.sin() * end


def way(start: Tensor, end: Tensor, frames: int, path: str) -> Tensor:
    """z (frames, zdim) from ``start`` to ``end``, both included."""
    import torch

    share = torch.linspace(0, 1, frames)
    return (lerp if path == "lerp" else slerp)(start, end, share)
