"""Figures of an embedding: images at their places, and nearest neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from PIL import Image

from advlab.plots.sheets import Pixels, show
from advlab.plots.style import CLASS_COLOURS, COLOURS, GREY, axes, drawing, figure, image_axes

Bytes = NDArray[np.uint8]

_CANVAS = 1500  # pixels
_THUMBNAIL, _FRAME = 30, 3

Found = tuple[Pixels, str, float]


@drawing
def image_map(
    places: NDArray[np.floating],
    images: Bytes,
    labels: NDArray[np.int64],
    classes: Sequence[str],
    title: str,
    caption: str,
) -> Figure:
    """Images at their places in the plane, framed in the colour of their class; a small square
    where one would cover another.

    Args:
        places: (N, 2).
        images: uint8 (N, C, H, W).
        labels: (N,); the ten classes with the most images are told apart, the others are grey.
    """
    colours, named = _colours(labels, classes)
    canvas = np.full((_CANVAS, _CANVAS, 3), 255, np.uint8)
    side = _THUMBNAIL + 2 * _FRAME
    low, high = places.min(0), places.max(0)
    corner = (places - low) / np.maximum(high - low, 1e-12) * (_CANVAS - side)
    corner = corner.round().astype(int)
    corner[:, 1] = _CANVAS - side - corner[:, 1]  # the second axis points up
    taken = np.zeros((_CANVAS, _CANVAS), bool)
    dots = []
    for number, (left, top) in enumerate(corner):
        place = slice(top, top + side), slice(left, left + side)
        if taken[place].any():
            dots.append(number)
            continue
        taken[place] = True
        canvas[place] = colours[number]
        inner = slice(top + _FRAME, top + side - _FRAME), slice(left + _FRAME, left + side - _FRAME)
        canvas[inner] = _thumbnail(images[number])
    for number in dots:
        left, top = corner[number] + side // 2 - 4
        canvas[top : top + 8, left : left + 8] = 255
        canvas[top + 1 : top + 7, left + 1 : left + 7] = colours[number]
    drawn = figure(8.6, 9.6, title, caption)
    panel = axes(drawn)[0, 0]
    panel.imshow(canvas, interpolation="lanczos")
    panel.axis("off")
    handles = [Patch(color=colour, label=name) for name, colour in named]
    panel.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        ncols=min(6, len(handles)),
        fontsize=9,
    )
    return drawn


def _colours(
    labels: NDArray[np.int64], classes: Sequence[str]
) -> tuple[Bytes, list[tuple[str, str]]]:
    """The colour of each image, and the legend."""
    counts = np.bincount(labels, minlength=len(classes))
    selected = sorted(np.argsort(-counts, kind="stable")[: len(CLASS_COLOURS)].tolist())
    by_class = dict(zip(selected, CLASS_COLOURS, strict=False))
    colours = np.array(
        [
            [round(255 * part) for part in to_rgb(by_class.get(int(label), GREY))]
            for label in labels
        ],
        np.uint8,
    )
    named = [(classes[label], colour) for label, colour in by_class.items()]
    return colours, named + (
        [(f"{len(classes) - len(selected)} others", GREY)] if len(classes) > len(selected) else []
    )


def _thumbnail(image: Bytes) -> Bytes:
    """The image (C, H, W) at the thumbnail's size, (side, side, 3); smaller ones keep their sharp
    pixels."""
    picked = (
        image.transpose(1, 2, 0) if len(image) == 3 else np.repeat(image[0][..., None], 3, axis=2)
    )
    how = (
        Image.Resampling.LANCZOS if max(image.shape[1:]) > _THUMBNAIL else Image.Resampling.NEAREST
    )
    return np.asarray(
        Image.fromarray(np.ascontiguousarray(picked)).resize((_THUMBNAIL, _THUMBNAIL), how)
    )


@drawing
def retrieved(
    rows: Sequence[tuple[Pixels, str, Sequence[Found]]], title: str, caption: str
) -> Figure:
    """A row for each query: the image, and its neighbours with their class and cosine, those of
    another class crossed and in colour.

    Args:
        rows: for each query its pixels (C, H, W) in [0, 1], its class, and the pixels, class and
            cosine of each neighbour.
    """
    columns = 1 + len(rows[0][2])
    drawn = figure(max(5.0, 0.6 + 1.22 * columns), 0.9 + 1.5 * len(rows), title, caption)
    panels = image_axes(drawn, len(rows), columns)
    for line, (pixels, truth, neighbours) in zip(panels, rows, strict=True):
        show(line[0], pixels)
        line[0].set_title(f"query:\n{truth}", fontsize=8, fontweight="bold")
        _framed(line[0], "black")
        for panel, (image, name, cosine) in zip(line[1:], neighbours, strict=True):
            right = name == truth
            show(panel, image)
            panel.set_title(
                f"{'' if right else '✗ '}{name}\n{_cosine(cosine)}",
                fontsize=8,
                color=COLOURS[0] if right else COLOURS[3],
            )
            _framed(panel, COLOURS[0] if right else COLOURS[3])
    return drawn


def _cosine(value: float) -> str:
    """With three digits, or as many as tell it from 1, up to six."""
    digits = next((digits for digits in range(3, 7) if abs(value) <= 1 - 0.5 / 10**digits), 3)
    return f"{value:.{digits}f}"


def _framed(panel: Axes, colour: str) -> None:
    panel.set_xticks([])
    panel.set_yticks([])
    panel.grid(False)
    for edge in panel.spines.values():
        edge.set_visible(True)
        edge.set_color(colour)
        edge.set_linewidth(1.6)
