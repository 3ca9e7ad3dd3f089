"""Grids, strips and animations of small images."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from advlab.plots.style import axes, drawing, figure
from advlab.runs.files import write_atomically

Bytes = NDArray[np.uint8]

_GAP = 1  # pixels of white between two images
_LARGEST = 12.0  # inches
_LABEL = 16  # characters of a line beside a row


def mosaic(images: Bytes, columns: int) -> Bytes:
    """Images uint8 (N, C, H, W) in rows of ``columns``, white between them: (height, width, 3)."""
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    whole = np.full(
        (rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, 3), 255, np.uint8
    )
    for number, image in enumerate(images):
        top, left = number // columns * (height + _GAP), number % columns * (width + _GAP)
        # Two channels, or more than three, are shown by their first.
        picture = image if channels == 3 else image[:1]
        whole[top : top + height, left : left + width] = picture.transpose(1, 2, 0)
    return whole


@drawing
def grid(
    images: Bytes, title: str, caption: str, columns: int = 8, rows: Sequence[str] = ()
) -> Figure:
    """Images in rows, pixels as they are.

    Args:
        rows: words beside each row.
    """
    whole = mosaic(images, columns)
    tall, wide = whole.shape[:2]
    width = max(4.6, min(_LARGEST, 0.55 * columns + (1.2 if rows else 0.4)))
    drawn = figure(
        width, min(_LARGEST, (width - (1.2 if rows else 0.4)) * tall / wide + 1.1), title, caption
    )
    panel = axes(drawn)[0, 0]
    _bare(panel, whole)
    if rows:
        step = images.shape[2] + _GAP
        words = [
            "\n".join(line for part in row.split("\n") for line in textwrap.wrap(part, _LABEL))
            for row in rows
        ]
        panel.set_yticks([step * row + step / 2 - 1 for row in range(len(rows))], words)
        panel.tick_params(axis="y", length=0)
    return drawn


def _bare(panel: Axes, image: Bytes) -> None:
    panel.imshow(image, interpolation="nearest")
    panel.set_xticks([])
    panel.set_yticks([])
    panel.grid(False)
    for spine in panel.spines.values():
        spine.set_visible(False)


def animation(frames: Sequence[Bytes], path: Path, seconds: float = 0.35) -> Path:
    """Frames (height, width, 3) as a GIF that starts again after a pause on the last one; whole or
    not at all.

    Small frames are enlarged so that their pixels can be seen.
    """
    factor = max(1, round(480 / max(frames[0].shape[:2])))
    tall, wide = (factor * side for side in frames[0].shape[:2])
    images = [
        Image.fromarray(frame).resize((wide, tall), Image.Resampling.NEAREST) for frame in frames
    ]
    milliseconds = [int(1000 * seconds)] * (len(images) - 1) + [1500]
    buffer = io.BytesIO()
    images[0].save(
        buffer, format="GIF", save_all=True, append_images=images[1:], duration=milliseconds, loop=0
    )
    write_atomically(path, lambda file: file.write(buffer.getbuffer()))
    return path


def png(image: Bytes, path: Path) -> Path:
    """An image (C, H, W) as a PNG of its own pixels."""
    pixels = image.transpose(1, 2, 0)
    buffer = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] != 3 else pixels).save(buffer, format="PNG")
    write_atomically(path, lambda file: file.write(buffer.getbuffer()))
    return path
