"""Figures of saliency maps beside their images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from advlab.plots.sheets import Pixels, show
from advlab.plots.style import SEQUENTIAL, drawing, figure, image_axes, in_lines

# Percentile at which the brightness ends, as in SmoothGrad's paper: a few pixels would leave the
# rest black
_CUT = 99
_WIDTH = 2.1  # of a panel, in inches
_CHARACTERS = 25  # of a line above a panel

_GRADIENT = "|∂ score / ∂ pixel|"
_GRAD_CAM = "weighted sum of maps"


@dataclass(frozen=True)
class Explained:
    """An image with its maps.

    Attributes:
        pixels: (C, H, W) in [0, 1].
        words: what the image is, such as "image under PGD".
        classes: lines that name its true class, where that is known, and the predicted one with
            its probability.
        gradients: by name, maps (H, W) of sizes, drawn in grey.
        places: by name, maps (H, W) of sizes, laid over the image.
        of: the class that they explain.
    """

    pixels: Pixels
    words: str
    classes: Sequence[str]
    gradients: dict[str, NDArray[np.float32]]
    places: dict[str, NDArray[np.float32]]
    of: str


@drawing
def saliency(rows: Sequence[Explained], title: str, caption: str) -> Figure:
    """A row for each image: itself, its gradients, and where on it the class is seen.

    Each map has its own scale of colours, from 0 to the value at the end of the bar below it.
    """
    columns = 1 + len(rows[0].gradients) + len(rows[0].places)
    key = (
        "score: the logit of the class named above a map; gradients are white from the "
        f"{_CUT}th percentile of their map"
    )
    if rows[0].places:
        key += "; Grad-CAM is laid over the image in grey"
    drawn = figure(max(6.4, _WIDTH * columns), 0.9 + 3.4 * len(rows), title, caption, key)
    for line, row in zip(image_axes(drawn, len(rows), columns), rows, strict=True):
        show(line[0], row.pixels)
        _scale(line[0], line[0].images[-1], 1.0, "pixel value" if len(row.pixels) == 1 else None)
        _head(line[0], row.words, row)
        for panel, (name, values) in zip(line[1:], row.gradients.items(), strict=False):
            end = float(np.percentile(values, _CUT)) or float(values.max())
            _map(panel, values, end, "gray", _GRADIENT)
            _head(panel, f"{name} of class {row.of}", row)
        grey = row.pixels.mean(0)
        for panel, (name, values) in zip(
            line[1 + len(row.gradients) :], row.places.items(), strict=True
        ):
            panel.imshow(grey, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            _map(panel, values, float(values.max()), SEQUENTIAL, _GRAD_CAM, alpha=0.6)
            _head(panel, f"{name} of class {row.of}", row)
        for panel in line:
            panel.axis("off")
    return drawn


def _head(panel: Axes, words: str, row: Explained) -> None:
    """What the panel shows and the image's classes, no line wider than the panel."""
    panel.set_title(in_lines("\n".join((words, *row.classes)), _CHARACTERS), fontsize=9)


def _map(
    panel: Axes, values: NDArray[np.float32], end: float, colours: str, unit: str, alpha: float = 1
) -> None:
    """Draw a map of sizes from 0 to ``end``, and below it what its colours mean."""
    image = panel.imshow(
        values, cmap=colours, vmin=0, vmax=end or 1.0, alpha=alpha, interpolation="nearest"
    )
    _scale(panel, image, end, unit)


def _scale(panel: Axes, image: AxesImage, end: float, unit: str | None) -> None:
    """A scale of an image's colours below it, 0 on the left and ``end`` on the right; for a colour
    image, which has none, as much empty space, so that all images of a row stand level."""
    assert panel.figure is not None
    colours = ScalarMappable(image.norm, image.get_cmap())  # without the image's transparency
    bar = panel.figure.colorbar(colours, ax=panel, orientation="horizontal", pad=0.02, aspect=25)
    # A map that is 0 everywhere has no scale beyond it.
    ticks = {0.0: "0 low", end: f"{end:.2g} high"} if end > 0 else {0.0: "0 everywhere"}
    bar.set_ticks(list(ticks), labels=list(ticks.values()))
    labels = bar.ax.get_xticklabels()
    labels[0].set_horizontalalignment("left")
    for label in labels[1:]:
        label.set_horizontalalignment("right")
    bar.ax.tick_params(labelsize=8)
    bar.set_label(unit or " ", fontsize=8)
    if unit is None:
        bar.ax.tick_params(length=0, labelbottom=False)
        bar.outline.set_visible(False)
        assert bar.solids is not None
        bar.solids.set_visible(False)
