"""Sheets of images: misclassified images, flipped predictions, perturbations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from numpy.typing import NDArray

from advlab.plots.style import COLOURS, DIVERGING, GREY, drawing, figure, image_axes, in_lines

Pixels = NDArray[np.float32]

_PANEL = 31  # characters of a line above a panel
_WORDS = 24  # letters of a perturbation's words that leave room for more in their line
_NARROWEST = 6.4  # inches, so that few images leave room for title and caption


@dataclass(frozen=True)
class Tile:
    """An image (C, H, W) in [0, 1] and the words above it.

    Attributes:
        disc: whether it is the disc within the square alone, whose edge is then drawn.
    """

    pixels: Pixels
    words: str
    disc: bool = False


@drawing
def sheet(tiles: Sequence[Tile], title: str, caption: str, columns: int = 6) -> Figure:
    """Images in rows, their words above each; where there are none, the title alone says so."""
    if not tiles:
        return figure(_NARROWEST, 1.3, title, caption)
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    drawn = figure(max(_NARROWEST, 1.45 * columns), 1.1 + 1.85 * rows, title, caption)
    panels = image_axes(drawn, rows, columns)
    for panel in panels.flat[len(tiles) :]:
        panel.axis("off")
    for panel, tile in zip(panels.flat, tiles, strict=False):
        show(panel, tile.pixels)
        panel.grid(False)
        if tile.disc:
            _outline(panel, tile.pixels.shape[-1])
        for edge in panel.spines.values():  # so that a white image can be seen on white
            edge.set(visible=True, color=GREY, linewidth=0.5)
        panel.set_title(tile.words, fontsize=8)
    return drawn


def _outline(panel: Axes, side: int) -> None:
    """Draw the edge of the disc in a square of this many pixels: a white one is not seen on
    white."""
    middle = (side - 1) / 2
    edge = Circle((middle, middle), side / 2, fill=False, color=COLOURS[3], linewidth=1.5)
    panel.add_patch(edge)


@dataclass(frozen=True)
class Attacked:
    """One image before and after an attack, with the network's predictions for both.

    Attributes:
        clean: (C, H, W) in [0, 1].
        perturbed: the same after the attack.
        before: what the network says of ``clean``, such as "7 (99.8 %)".
        after: the same of ``perturbed``.
        words: what to say of the perturbation, such as "ε = 0.1".
        number: the test image's own; None where it has none to be named by.
        truth: the true class where ``before`` is wrong already; None where it is right.
    """

    clean: Pixels
    perturbed: Pixels
    before: str
    after: str
    words: str
    number: int | None = None
    truth: str | None = None


@drawing
def attacked(pairs: Sequence[Attacked], title: str, caption: str) -> Figure:
    """A row for each image: the image, its perturbation r, and the result, with both predictions.

    Each perturbation is drawn on its own scale, from its largest change downwards to its largest
    change upwards.
    """
    key = "r × N: the change of each pixel, times N"
    grey = bool(pairs) and len(pairs[0].clean) == 1
    key += "; red brighter, blue darker, white unchanged" if grey else "; grey is unchanged"
    drawn = figure(7.4, 1.0 + 2.45 * len(pairs), title, caption, key)
    panels = image_axes(drawn, len(pairs), 3)
    for row, pair in zip(panels, pairs, strict=True):
        r = pair.perturbed - pair.clean
        largest = float(np.abs(r).max())
        show(row[0], pair.clean)
        which = "image" if pair.number is None else f"test image no. {pair.number}"
        wrong = "" if pair.truth is None else f", in truth {pair.truth}"
        colour = COLOURS[3 if wrong else 0]
        words = in_lines(f"{which}\npredicted {pair.before}{wrong}", _PANEL)
        row[0].set_title(words, color=colour, fontsize=9)
        if len(r) == 1:
            row[1].imshow(r[0], cmap=DIVERGING, vmin=-largest or -1, vmax=largest or 1)
        else:
            row[1].imshow(np.clip(0.5 + r.transpose(1, 2, 0) / (2 * largest or 1), 0, 1))
        factor = f"r × {0.5 / largest:.3g}" if largest > 0 else "r = 0"
        apart = ", " if len(pair.words) <= _WORDS else ",\n"
        row[1].set_title(f"{factor}\n{pair.words}{apart}largest change {largest:.3g}", fontsize=9)
        show(row[2], pair.perturbed)
        same = _class_of(pair.before) == _class_of(pair.after)
        colour = COLOURS[0 if same and not wrong else 3]
        words = in_lines(f"image + r\npredicted {pair.after}", _PANEL)
        row[2].set_title(words, color=colour, fontsize=9)
        for panel in row:
            panel.axis("off")
    return drawn


def _class_of(prediction: str) -> str:
    """The class of a prediction such as ``7 (99.8 %)``."""
    return prediction.rsplit(" (", 1)[0]


@dataclass(frozen=True)
class Flip:
    """One image along a row of ever stronger attacks.

    Attributes:
        truth: its true class, and which image it is.
        pixels: the image unattacked, then under each attack, each (C, H, W) in [0, 1].
        said: what the network says of each, such as "7 (99.8 %)".
        right: whether that is true.
        heads: what stands above each column.
    """

    truth: str
    pixels: Sequence[Pixels]
    said: Sequence[str]
    right: Sequence[bool]
    heads: Sequence[str]


@drawing
def flips(rows: Sequence[Flip], title: str, caption: str) -> Figure:
    """A row per image, a column per attack, wrong predictions in colour and marked with a cross.
    Under one attack there are two images in a row."""
    columns = len(rows[0].pixels)
    side_by_side = 2 if columns == 2 and len(rows) > 2 else 1
    deep = -(-len(rows) // side_by_side)
    width, height = 1.0 + 1.5 * columns * side_by_side, 0.8 + 1.62 * deep
    drawn = figure(max(_NARROWEST, width), height, title, caption)
    panels = image_axes(drawn, deep, columns * side_by_side)
    if side_by_side == 2:  # an odd number leaves a place at the end
        for panel in panels[len(rows) - deep :, columns:].flat:
            panel.set_visible(False)
    for number, flip in enumerate(rows):
        block, row = divmod(number, deep)
        line = panels[row, block * columns : (block + 1) * columns]
        for panel, pixels, answer, right, head in zip(
            line, flip.pixels, flip.said, flip.right, flip.heads, strict=True
        ):
            show(panel, pixels)
            panel.grid(False)
            for edge in panel.spines.values():
                edge.set_visible(True)
                edge.set_color(COLOURS[0] if right else COLOURS[3])
                edge.set_linewidth(1.5)
            mark = "" if right else "✗ "
            panel.set_title(
                f"{head}\n{mark}{answer}" if row == 0 else f"{mark}{answer}",
                fontsize=8,
                color=COLOURS[0] if right else COLOURS[3],
            )
        line[0].set_ylabel(f"true: {flip.truth}", fontsize=8)
    return drawn


@dataclass(frozen=True)
class Change:
    """A perturbation (C, H, W) on no image, and the words above it."""

    pixels: Pixels
    words: str


@drawing
def changes(columns: Sequence[Sequence[Change]], title: str, caption: str) -> Figure:
    """Perturbations, each column on one scale, from its largest change downwards to its largest
    upwards."""
    rows, grey = len(columns[0]), len(columns[0][0].pixels) == 1
    key = "red brighter, blue darker, white unchanged" if grey else "grey is unchanged"
    scales = [max(float(np.abs(one.pixels).max()) for one in column) for column in columns]
    largest_changes = ", ".join(f"±{scale:.3g}" for scale in scales)
    key += f"; full colour is the largest change of a column: {largest_changes}"
    width = max(_NARROWEST, 2.2 * len(columns))
    drawn = figure(width, 1.0 + 2.45 * rows, title, caption, key)
    panels = image_axes(drawn, rows, len(columns))
    for number, (column, largest) in enumerate(zip(columns, scales, strict=True)):
        for panel, change in zip(panels[:, number], column, strict=True):
            if grey:
                panel.imshow(
                    change.pixels[0], cmap=DIVERGING, vmin=-largest or -1, vmax=largest or 1
                )
            else:
                colours = 0.5 + change.pixels.transpose(1, 2, 0) / (2 * largest or 1)
                panel.imshow(np.clip(colours, 0, 1))
            panel.set_title(change.words, fontsize=9)
            panel.axis("off")
    return drawn


def show(panel: Axes, pixels: Pixels) -> None:
    """Draw an image (C, H, W) in [0, 1], grey for one channel; values are never rescaled."""
    if len(pixels) == 1:
        panel.imshow(pixels[0], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    else:
        panel.imshow(np.clip(pixels.transpose(1, 2, 0), 0, 1), interpolation="nearest")
