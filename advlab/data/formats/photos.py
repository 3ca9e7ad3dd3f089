"""Decoding of one photo of any format and size to an upright RGB uint8 tensor.

Its header is checked before anything is decoded.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from advlab.data.formats.image_files import MAX_PIXELS, formats, plain
from advlab.errors import AdvlabError, EnvironmentFailure, UsageError
from advlab.input_files import is_plain

LEAST_SIDE = 32
"""Pixels of the shorter side, below which there is nothing to recognise."""

LONGEST = 50
"""How many times longer than its shorter side a photo may be: a network's resizing would make a
wall of a thin strip."""

_DEEP = ("I;16", "I;16B", "I;16L", "I")
_ORIENTATION = 0x0112  # the EXIF tag


@dataclass(frozen=True)
class Photo:
    """A photo in memory.

    Attributes:
        file: where it was read from.
        pixels: uint8 (3, H, W).
        sha256: hash of the file.
        notes: what was done to come to these pixels ("turned as its EXIF note says"); empty for a
            plain RGB file.
    """

    file: Path
    pixels: Tensor
    sha256: str
    notes: tuple[str, ...]

    @property
    def origin(self) -> str:
        """A phrase for captions and the first line printed."""
        height, width = self.pixels.shape[1:]
        return ", ".join([f"{self.file.name}, {width:,} × {height:,} pixels", *self.notes])


def read(path: Path) -> Photo:
    """Read a photo. Alpha is laid on white, 16-bit greys become 8 bits, CMYK and palettes RGB.

    Raises:
        UsageError: there is no such file, it is no image, too small, too large, too thin, or
            several pictures in one.
        EnvironmentFailure: it is an image, but cut off or otherwise broken.
    """
    if not is_plain(path):
        raise UsageError(f"{path}: no photo there" + (", but a folder" if path.is_dir() else ""))
    content = path.read_bytes()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # Pillow's remarks on odd metadata; too large an image is refused below
            with Image.open(io.BytesIO(content), formats=formats()) as image:
                _check(image, path)
                notes = _notes(image)
                pixels = np.array(plain(ImageOps.exif_transpose(image), path), dtype=np.uint8)
    except Image.DecompressionBombError as error:
        raise UsageError(
            f"{path}: too many pixels; photos of more than {MAX_PIXELS:,} are refused"
        ) from error
    except UnidentifiedImageError as error:
        raise UsageError(
            f"{path}: not an image of a known format (PNG, JPEG, WebP, BMP, GIF and the like)"
        ) from error
    except AdvlabError:
        raise
    except MemoryError:
        raise
    except (
        Exception
    ) as error:  # a broken file may trip Pillow's decoders over anything; the line names the file
        raise EnvironmentFailure(
            f"{path}: cannot be read to its end: broken or cut off ({error})"
        ) from error
    return Photo(
        path,
        torch.from_numpy(pixels.transpose(2, 0, 1).copy()),
        hashlib.sha256(content).hexdigest(),
        notes,
    )


def _check(image: Image.Image, path: Path) -> None:
    """Refuse by the header alone what must not, or need not, be decoded."""
    width, height = image.size
    size = f"{width:,} × {height:,} pixels"
    if width * height > MAX_PIXELS:
        raise UsageError(f"{path}: {size}; photos of more than {MAX_PIXELS:,} are refused")
    if min(width, height) < LEAST_SIDE:
        raise UsageError(f"{path}: {size}; a photo needs at least {LEAST_SIDE} × {LEAST_SIDE}")
    if max(width, height) > LONGEST * min(width, height):
        raise UsageError(
            f"{path}: {size}; a photo may be at most {LONGEST} times as long as it is wide"
        )
    # Many telephones put a preview beside the photo into one file (MPO); that is still one photo.
    if getattr(image, "is_animated", False) and image.format != "MPO":
        raise UsageError(
            f"{path}: holds {getattr(image, 'n_frames', 'several')} pictures (an animation?); "
            "save the one that is meant by itself"
        )


def _notes(image: Image.Image) -> tuple[str, ...]:
    notes = []
    if image.getexif().get(_ORIENTATION, 1) in range(2, 9):
        notes.append("turned as its EXIF note says")
    if image.has_transparency_data:
        notes.append("transparency laid on white")
    if image.mode in _DEEP:
        notes.append("16-bit greys brought to 8 bits")
    if image.mode == "CMYK":
        notes.append("CMYK brought to RGB")
    return tuple(notes)
