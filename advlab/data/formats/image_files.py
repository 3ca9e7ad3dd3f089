"""Decoding of image files of any format and size to one uint8 tensor of squares.

A photo is turned as its EXIF note says, cut to its centred square and scaled with antialiasing;
what is transparent becomes white. Nothing is decoded before its size is known to be sane.
"""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from advlab.errors import AdvlabError, EnvironmentFailure, UsageError
from advlab.input_files import is_plain
from advlab.progress import progress_bar

MAX_PIXELS = 80_000_000
"""Larger images are refused before memory is taken: a small file can claim any size. Pillow warns
from 89 million on."""

_CHUNK = 64
_DEEP_GREY = ("I;16", "I;16B", "I;16L", "I")
_WHITE = 255


def decode(paths: Sequence[Path], side: int, title: str, grey_stays: bool = True) -> Tensor:
    """All images as uint8 of shape (N, 3, side, side), or (N, 1, side, side) where every one is
    grey.

    Args:
        title: what the bar says; it shows only in a terminal.
        grey_stays: False gives three channels in any case.

    Raises:
        UsageError: an image is too large, or all of them together are.
        EnvironmentFailure: a file is missing, cut off or otherwise broken; the line names the first
            such in the order given.
    """
    _fits(len(paths), side)
    pixels = np.empty((len(paths), 3, side, side), dtype=np.uint8)
    grey = np.empty(len(paths), dtype=bool)

    def work(first: int) -> int:
        last = min(first + _CHUNK, len(paths))
        for number in range(first, last):
            pixels[number], grey[number] = _one(paths[number], side)
        return last - first

    with (
        warnings.catch_warnings(),
        ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool,
        progress_bar(len(paths), title, "images") as bar,
    ):
        warnings.simplefilter(
            "ignore"
        )  # Pillow's remarks on odd metadata; too large an image is refused below
        try:
            for count in pool.map(work, range(0, len(paths), _CHUNK)):
                bar.update(count)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    one_channel = grey_stays and bool(grey.all())
    return torch.from_numpy(np.ascontiguousarray(pixels[:, :1]) if one_channel else pixels)


def is_image(path: Path) -> bool:
    """Whether Pillow knows the file for an image by its first bytes."""
    try:
        with Image.open(path, formats=formats()):
            return True
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        return isinstance(error, Image.DecompressionBombError)


def _fits(count: int, side: int) -> None:
    """Refuse what cannot lie in this machine's memory, where the system tells how much there is."""
    needed = count * 3 * side * side
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return
    if needed > memory:
        raise UsageError(
            f"--image-size {side}: {count:,} images take {needed / 1e9:.1f} GB, and this machine "
            f"has {memory / 1e9:.1f} GB"
        )


@functools.lru_cache
def endings() -> frozenset[str]:
    """File name endings of what can be read, such as ``.jpg``."""
    known = formats()
    return frozenset(
        ending
        for ending, name in Image.registered_extensions().items()
        if name in known and name in Image.OPEN
    )


@functools.lru_cache
def formats() -> list[str]:
    """Pillow's formats but EPS, which it would hand to Ghostscript: a program, not a picture."""
    Image.init()
    return [name for name in Image.ID if name != "EPS"]


def _one(path: Path, side: int) -> tuple[NDArray[np.uint8], bool]:
    """An image as (3, side, side) bytes, and whether it was grey."""
    is_plain(path)
    try:
        with Image.open(path, formats=formats()) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise _too_large(path, f"{width:,}x{height:,}")
            # JPEG can be decoded at a half, a quarter or an eighth; twice the size wanted is left
            # for the antialiasing.
            image.draft(None, (2 * side, 2 * side))
            grey = image.mode in ("L", "LA", "1", *_DEEP_GREY)
            upright = ImageOps.exif_transpose(image)
            square = ImageOps.fit(plain(upright, path), (side, side), Image.Resampling.BICUBIC)
            return np.asarray(square, dtype=np.uint8).transpose(2, 0, 1), grey
    except Image.DecompressionBombError as error:
        raise _too_large(path, "too many") from error
    except UnidentifiedImageError as error:
        raise EnvironmentFailure(
            f"{path}: cannot be read as an image (of no known format, or broken at the start)"
        ) from error
    except AdvlabError:
        raise
    except (
        Exception
    ) as error:  # a broken file may trip Pillow's decoders over anything; the line names the file
        raise EnvironmentFailure(f"{path}: cannot be read as an image ({error})") from error


def _too_large(path: Path, size: str) -> UsageError:
    return UsageError(f"{path}: {size} pixels; images of more than {MAX_PIXELS:,} are refused")


def plain(image: Image.Image, path: Path) -> Image.Image:
    """The image in RGB, what is transparent on white, 16-bit greys brought to 8 bits.

    Raises:
        EnvironmentFailure: its values have no known range.
    """
    if image.mode in _DEEP_GREY:
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65_535:
            raise EnvironmentFailure(
                f"{path}: grey values from {values.min()} to {values.max()}; 0 to 65,535 can be "
                "read"
            )
        image = Image.fromarray((values // 257).astype(np.uint8))
    elif image.mode == "F":
        raise EnvironmentFailure(f"{path}: holds floats without a range; save it with 8 or 16 bits")
    if image.has_transparency_data:
        layered = image.convert("RGBA")
        ground = Image.new("RGBA", layered.size, (_WHITE, _WHITE, _WHITE, _WHITE))
        image = Image.alpha_composite(ground, layered)
    return image.convert("RGB")
