"""Decoding of one photo of any format and size to an upright RGB uint8 tensor.

The header is checked before the photo is decoded.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from advlab.data.formats.image_files import (
    DARKENED,
    DEEP_GREY,
    MAX_PIXELS,
    formats,
    has_several,
    is_darkened,
    is_deep,
    is_transparent,
    to_rgb,
)
from advlab.errors import AdvlabError, EnvironmentFailure, UsageError
from advlab.input_files import is_plain
from advlab.logs import logger

MIN_SIDE = 8
"""Smallest length of the shorter side in pixels; less is no image of anything."""

MAX_ASPECT_RATIO = 50
"""Largest ratio of the longer to the shorter side. Networks scale the shorter side to a fixed size,
which would enlarge a thin strip to a very large image."""

_ORIENTATION = 0x0112  # the EXIF tag


@dataclass(frozen=True)
class Photo:
    """A photo in memory.

    Attributes:
        file: path of the file.
        pixels: uint8 (3, H, W), or (1, H, W) after ``in_grey``.
        sha256: SHA-256 hash of the file.
        notes: conversions that were applied, such as "CMYK brought to RGB"; empty for a plain RGB
            file.
    """

    file: Path
    pixels: Tensor
    sha256: str
    notes: tuple[str, ...]

    @property
    def origin(self) -> str:
        """Phrase for captions and the first printed line."""
        height, width = self.pixels.shape[1:]
        return ", ".join([f"{self.file.name}, {width:,} × {height:,} pixels", *self.notes])

    def in_grey(self) -> Photo:
        """The photo in one channel, by Rec. 601 luma as Pillow rounds it; greys keep their values.

        A file of greys is decoded to three equal channels, and nothing is noted of it.
        """
        red, green, blue = self.pixels.int()
        grey = ((19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16).to(torch.uint8)[None]
        coloured = bool((self.pixels != grey).any())
        notes = (*self.notes, "colours brought to grey") if coloured else self.notes
        return replace(self, pixels=grey, notes=notes)


def read(path: Path) -> Photo:
    """Read a photo as 8-bit RGB, with transparent pixels composited on white.

    Raises:
        UsageError: the file is missing, is not an image, is too small, too large or too thin, or
            holds several pictures.
        EnvironmentFailure: the image is truncated or otherwise damaged.
    """
    if not is_plain(path):
        raise UsageError(
            f"{path}: " + ("a folder, not a photo" if path.is_dir() else "no such file")
        )
    content = path.read_bytes()
    try:
        with warnings.catch_warnings():
            # Pillow warns about odd metadata, and about large images, which are rejected below.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=formats()) as image:
                _check(image, path)
                notes = _notes(image, path)
                pixels = np.array(to_rgb(ImageOps.exif_transpose(image), path), dtype=np.uint8)
    except Image.DecompressionBombError as error:
        raise UsageError(f"{path}: too many pixels; at most {MAX_PIXELS:,} are allowed") from error
    except UnidentifiedImageError as error:
        raise UsageError(
            f"{path}: not an image of a known format (PNG, JPEG, WebP, BMP, GIF and the like)"
        ) from error
    except AdvlabError:
        raise
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders can raise anything on a damaged file
        raise EnvironmentFailure(f"{path}: damaged or truncated ({error})") from error
    return Photo(
        path,
        torch.from_numpy(pixels.transpose(2, 0, 1).copy()),
        hashlib.sha256(content).hexdigest(),
        notes,
    )


def _check(image: Image.Image, path: Path) -> None:
    """Raise UsageError for a photo whose header shows an unsuitable size or an animation."""
    width, height = image.size
    size = f"{width:,} × {height:,} pixels"
    if width * height > MAX_PIXELS:
        raise UsageError(f"{path}: {size}; at most {MAX_PIXELS:,} pixels are allowed")
    if min(width, height) < MIN_SIDE:
        raise UsageError(f"{path}: {size}; a photo needs at least {MIN_SIDE} × {MIN_SIDE}")
    if max(width, height) > MAX_ASPECT_RATIO * min(width, height):
        raise UsageError(
            f"{path}: {size}; a photo may be at most {MAX_ASPECT_RATIO} times as long as it is wide"
        )
    if has_several(image):
        raise UsageError(
            f"{path}: holds {getattr(image, 'n_frames', 'several')} pictures (an animation?); save "
            "one of them as a file of its own"
        )


def _notes(image: Image.Image, path: Path) -> tuple[str, ...]:
    """Phrases for captions; a warning about an image that is almost black is logged."""
    notes = []
    deep = is_deep(image)
    if image.getexif().get(_ORIENTATION, 1) in range(2, 9):
        notes.append("turned as its EXIF note says")
    if is_transparent(image):
        notes.append("transparency laid on white")
    if deep:
        colours = "greys" if image.mode in DEEP_GREY else "colours"
        notes.append(f"16-bit {colours} brought to 8 bits")
    if is_darkened(image, deep):
        notes.append("almost black")
        logger.info(f"WARNING: {path}: the photo is almost black at 8 bits: {DARKENED}")
    if image.mode == "CMYK":
        notes.append("CMYK brought to RGB")
    return tuple(notes)
