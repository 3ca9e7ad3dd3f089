"""Decoding of image files of any format and size to one uint8 tensor of square images.

Images are rotated according to their EXIF data, cropped to a centred square and scaled with
antialiasing. Transparent pixels become white. The size in the header is checked before decoding.
"""

from __future__ import annotations

import functools
import io
import os
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from advlab.data import storage
from advlab.errors import AdvlabError, EnvironmentFailure, UsageError
from advlab.input_files import is_plain
from advlab.progress import progress_bar

MAX_PIXELS = 80_000_000
"""Largest number of pixels of an image, checked before decoding: a small file can claim any size.
Pillow warns above 89 million."""

_CHUNK = 64
DEEP_GREY = ("I;16", "I;16B", "I;16L", "I")
"""Pillow's modes of greys with more than 8 bits, which become 8 by their upper ones."""

_WHITE = 255
_FRACTION = 16
"""A file whose values stay below this fraction of its range holds fewer bits than it has room for:
8 or 12 of 16."""
DARKENED = (
    f"their largest value is below 1/{_FRACTION} of what 16 bits hold; if they have values of 8 or "
    "12 bits, save them as 8-bit files, 12-bit values divided by 16"
)
"""Why images are almost black at 8 bits, and what to do."""


@dataclass(frozen=True)
class Encoded:
    """An image file that lies in memory.

    Attributes:
        place: what a refusal calls it.
        content: the bytes of the file.
    """

    place: str
    content: bytes

    def __str__(self) -> str:
        """Its place, as of a path."""
        return self.place


@dataclass(frozen=True)
class Decoded:
    """Images, and what a reader should know of the files they come from.

    Attributes:
        pixels: uint8 (N, 3, side, side), or (N, 1, side, side) if all images are grey.
        animated: files that hold several pictures, of which the first one is read.
        transparent: files with transparent pixels, which are laid on white.
        darkened: files of 16 or 32 bits that are almost black once they are brought to 8.
    """

    pixels: Tensor
    animated: tuple[str, ...] = ()
    transparent: tuple[str, ...] = ()
    darkened: tuple[str, ...] = ()


def remarks(parts: Sequence[Decoded], root: Path | None = None) -> list[str]:
    """Return sentences on the files of a data set that are not shown as they are.

    Args:
        parts: the images of all parts.
        root: folder from which the files are named.
    """
    total = sum(len(part.pixels) for part in parts)

    def counted(files: Sequence[str], sentence: str) -> list[str]:
        if not files:
            return []
        example = files[0] if root is None else files[0].removeprefix(f"{root}{os.sep}")
        return [sentence.format(f"{len(files):,} of {total:,} images, such as {example}")]

    return [
        *counted(
            [file for part in parts for file in part.animated],
            "files with several pictures (animations or pages), of which the first is read: {}",
        ),
        *counted(
            [file for part in parts for file in part.transparent],
            "transparency laid on white: {}",
        ),
        *counted(
            [file for part in parts for file in part.darkened],
            f"almost black at 8 bits: {{}}; {DARKENED}",
        ),
    ]


def decode(paths: Sequence[Path], side: int, title: str, keep_grey: bool = True) -> Decoded:
    """Decode image files to one tensor; see ``decode_all``."""
    return decode_all([paths], len(paths), side, title, keep_grey)


def decode_all(
    groups: Iterable[Sequence[Path | Encoded]],
    total: int,
    side: int,
    title: str,
    keep_grey: bool = True,
) -> Decoded:
    """Decode images to one uint8 tensor.

    Args:
        groups: the images, one group after the other, so that no more than one need be in memory.
        total: how many there are.
        side: height and width of the result in pixels.
        title: label of the progress bar, which is shown only in a terminal.
        keep_grey: return one channel if all images are grey; False always gives three.

    Raises:
        UsageError: an image is too large.
        EnvironmentFailure: all images together fit neither in memory nor on the disk; or a file is
            missing, truncated or otherwise damaged. The message names the first such file in the
            given order.
    """
    decoded = storage.empty((total, 3, side, side))
    pixels = decoded.numpy()
    grey = np.empty(total, dtype=bool)
    facts: dict[int, tuple[str, _Facts]] = {}  # few files are anything but a plain picture
    first = 0

    def decode_chunk(group: Sequence[Path | Encoded], start: int) -> int:
        stop = min(start + _CHUNK, len(group))
        for index in range(start, stop):
            pixels[first + index], one = _decode_image(group[index], side)
            grey[first + index] = one.grey
            if one.animated or one.transparent or one.darkened:
                facts[first + index] = str(group[index]), one
        return stop - start

    with (
        warnings.catch_warnings(),
        ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool,
        progress_bar(total, title, "images") as bar,
    ):
        # Pillow warns about odd metadata, and about large images, which are rejected below.
        warnings.simplefilter("ignore")
        try:
            for group in groups:
                starts = range(0, len(group), _CHUNK)
                for count in pool.map(functools.partial(decode_chunk, group), starts):
                    bar.update(count)
                first += len(group)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    one_channel = keep_grey and bool(grey.all())
    ordered = [facts[index] for index in sorted(facts)]
    return Decoded(
        storage.contiguous(decoded[:, :1]) if one_channel else decoded,
        animated=tuple(name for name, one in ordered if one.animated),
        transparent=tuple(name for name, one in ordered if one.transparent),
        darkened=tuple(name for name, one in ordered if one.darkened),
    )


def is_image(path: Path) -> bool:
    """Return whether Pillow recognises the file as an image by its first bytes."""
    try:
        with Image.open(path, formats=formats()):
            return True
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        return isinstance(error, Image.DecompressionBombError)


@functools.lru_cache
def file_extensions() -> frozenset[str]:
    """Return the file name extensions of all readable formats, such as ``.jpg``."""
    readable = formats()
    return frozenset(
        extension
        for extension, name in Image.registered_extensions().items()
        if name in readable and name in Image.OPEN
    )


@functools.lru_cache
def formats() -> list[str]:
    """Return the formats of Pillow except EPS, which runs a program in Ghostscript."""
    Image.init()
    return [name for name in Image.ID if name != "EPS"]


class _Facts(NamedTuple):
    """What is known of a file beside its pixels; see ``Decoded``."""

    grey: bool
    animated: bool
    transparent: bool
    darkened: bool


def _decode_image(path: Path | Encoded, side: int) -> tuple[NDArray[np.uint8], _Facts]:
    """Decode an image to uint8 (3, side, side), and return what is known of it."""
    if isinstance(path, Path):
        is_plain(path)
    try:
        file = path if isinstance(path, Path) else io.BytesIO(path.content)
        with Image.open(file, formats=formats()) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise _too_large(path, f"{width:,}x{height:,}")
            # JPEG can be decoded at 1/2, 1/4 or 1/8 of its size, which is faster. Twice the target
            # size leaves enough pixels for antialiasing.
            image.draft(None, (2 * side, 2 * side))
            grey = image.mode in ("L", "LA", "1", *DEEP_GREY)
            facts = _Facts(grey, has_several(image), is_transparent(image), is_darkened(image))
            upright = ImageOps.exif_transpose(image)
            square = ImageOps.fit(to_rgb(upright, path), (side, side), Image.Resampling.BICUBIC)
            return np.asarray(square, dtype=np.uint8).transpose(2, 0, 1), facts
    except Image.DecompressionBombError as error:
        raise _too_large(path, "too many") from error
    except UnidentifiedImageError as error:
        raise EnvironmentFailure(
            f"{path}: cannot be read as an image (unknown format, or damaged at the start)"
        ) from error
    except AdvlabError:
        raise
    except Exception as error:  # Pillow's decoders can raise anything on a damaged file
        raise EnvironmentFailure(f"{path}: cannot be read as an image ({error})") from error


def _too_large(path: Path | Encoded, size: str) -> UsageError:
    return UsageError(f"{path}: {size} pixels; at most {MAX_PIXELS:,} are allowed")


def has_several(image: Image.Image) -> bool:
    """Return whether a file holds several pictures: an animation or pages.

    MPO files of many phones hold a photo and its preview, which Pillow reports as an animation.
    """
    return bool(getattr(image, "is_animated", False)) and image.format != "MPO"


def is_transparent(image: Image.Image) -> bool:
    """Return whether any pixel of an image is transparent."""
    if not image.has_transparency_data:
        return False
    if image.mode in DEEP_GREY:
        return bool((np.asarray(image) == image.info["transparency"]).any())
    return bool(np.asarray(image.convert("RGBA"))[..., 3].min() < _WHITE)


def is_deep(image: Image.Image) -> bool:
    """Return whether an image that is not yet loaded has more than 8 bits per channel.

    Pillow has no mode for colours of 16 bits. It reads their upper 8, and says so only in what its
    decoder is asked for.
    """
    return image.mode in DEEP_GREY or ";16" in str(getattr(image, "tile", ""))


def is_darkened(image: Image.Image, deep: bool | None = None) -> bool:
    """Return whether an image has more than 8 bits, and is almost black once it has 8.

    One with transparent pixels is not, since these become white.

    Args:
        deep: what ``is_deep`` returned of it; needed once it is loaded.
    """
    if not (is_deep(image) if deep is None else deep) or is_transparent(image):
        return False
    if image.mode in DEEP_GREY:
        return 0 < int(np.asarray(image).max()) < 65_536 // _FRACTION
    # Zero counts as well: of colours with values of 8 bits nothing is left in the upper ones.
    return int(np.asarray(image.convert("RGB")).max()) < 256 // _FRACTION


def to_rgb(image: Image.Image, path: Path | Encoded) -> Image.Image:
    """Convert an image to 8-bit RGB, with transparent pixels composited on white.

    Raises:
        EnvironmentFailure: the range of the pixel values is unknown.
    """
    if image.mode in DEEP_GREY:
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65_535:
            raise EnvironmentFailure(
                f"{path}: grey values from {values.min()} to {values.max()}; the range must be "
                "0 to 65,535"
            )
        levels = (values // 257).astype(np.uint8)
        if image.has_transparency_data:  # one grey is transparent, which 8 bits cannot say
            levels[values == image.info["transparency"]] = _WHITE
        image = Image.fromarray(levels)
    elif image.mode == "F":
        raise EnvironmentFailure(
            f"{path}: floating-point pixels of unknown range; save it with 8 or 16 bits"
        )
    if image.has_transparency_data:
        foreground = image.convert("RGBA")
        background = Image.new("RGBA", foreground.size, (_WHITE, _WHITE, _WHITE, _WHITE))
        image = Image.alpha_composite(background, foreground)
    return image.convert("RGB")
