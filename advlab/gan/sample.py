"""Images of a trained generator: a grid, files, one class or all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from advlab.config.base import Flag
from advlab.config.gan import GeneratorOptions

if TYPE_CHECKING:
    from torch import Tensor, nn

    from advlab.gan._yardstick import Yardstick

_BATCH = 500
_MOST_TRIES = 200  # images made for each one wanted of a class, before it is given up


class Options(GeneratorOptions):
    """Make images: a grid, files, of one class where the frozen classifier tells them apart."""

    count: Annotated[int, Field(ge=1, le=1_000_000, description="how many images"), Flag(group="pictures")] = 64
    of_class: Annotated[
        str | None,
        Field(min_length=1, description="only images that the frozen classifier takes for this class, by name or number; or each"),
        Flag(group="pictures"),
    ] = None
    files: Annotated[bool, Field(description="write every image to a PNG of its own as well"), Flag(group="pictures")] = False


def drawn(generator: nn.Module, zdim: int, count: int, seed: int, yardstick: Yardstick | None, wanted: int | None) -> tuple[Tensor, int]:
    """Images uint8 (n, C, H, W), and how many were made for them.

    Args:
        yardstick: tells the classes; needed where one is wanted.
        wanted: the class; any where not given. Fewer than ``count`` come back where it is too rare.
    """
    import torch

    from advlab.gan._pair import latents, pixels_of
    from advlab.runs.machine import derive

    if wanted is None:
        return pixels_of(generator, latents(seed, count, zdim)), count
    assert yardstick is not None
    found: list[Tensor] = []
    made = have = 0
    while have < count and made < _MOST_TRIES * max(count, _BATCH):
        pixels = pixels_of(generator, latents(derive(seed, 1, made), _BATCH, zdim))
        right = yardstick(pixels).labels == wanted
        found.append(pixels[right])
        made, have = made + _BATCH, have + int(right.sum())
    return torch.cat(found)[:count], made
