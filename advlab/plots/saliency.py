"""Figures of saliency maps beside their images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from advlab.plots.sheets import Pixels, show
from advlab.plots.style import SEQUENTIAL, drawing, figure, image_axes

# Percentile at which the brightness ends, as in SmoothGrad's paper: a few pixels would leave the
# rest black
_CUT = 99


@dataclass(frozen=True)
class Explained:
    """An image with its maps.

    Attributes:
        pixels: (C, H, W) in [0, 1].
        words: what stands above it.
        gradients: by name, maps (H, W) of sizes, drawn in grey.
        places: by name, maps (H, W) of sizes, laid over the image.
        of: the class that they explain.
    """

    pixels: Pixels
    words: str
    gradients: dict[str, NDArray[np.float32]]
    places: dict[str, NDArray[np.float32]]
    of: str


@drawing
def saliency(rows: Sequence[Explained], title: str, caption: str) -> Figure:
    """A row for each image: itself, its gradients, and where on it the class is seen."""
    columns = 1 + len(rows[0].gradients) + len(rows[0].places)
    drawn = figure(max(6.4, 2.75 * columns), 0.9 + 3.15 * len(rows), title, caption)
    for line, row in zip(image_axes(drawn, len(rows), columns), rows, strict=True):
        show(line[0], row.pixels)
        line[0].set_title(row.words)
        rest = iter(line[1:])
        for name, values in row.gradients.items():
            panel = next(rest)
            end = float(np.percentile(values, _CUT)) or float(values.max()) or 1.0
            panel.imshow(values, cmap="gray", vmin=0, vmax=end, interpolation="nearest")
            panel.set_title(f"{name}\nof {row.of}")
        grey = row.pixels.mean(0)
        for name, values in row.places.items():
            panel = next(rest)
            panel.imshow(grey, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            panel.imshow(
                values,
                cmap=SEQUENTIAL,
                vmin=0,
                vmax=float(values.max()) or 1.0,
                alpha=0.6,
                interpolation="nearest",
            )
            panel.set_title(f"{name}\nof {row.of}")
        for panel in line:
            panel.axis("off")
    return drawn
