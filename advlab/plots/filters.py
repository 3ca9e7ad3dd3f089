"""Figures of a convolution's filters and their responses."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from advlab.plots.style import DIVERGING, axes, drawing, figure

_MOST_PIXELS = 160  # of a tile's side; more are left out evenly
_LEAST_PIXELS = (
    36  # smaller tiles are enlarged, so that the gaps between them are narrower than they are
)
# Percentile of the sizes at which the colours end, so that a single outlier does not pale all
# others
_CUT = 99.5
_BETWEEN = "#a8a8a8"  # between tiles, where white would be a 0

Values = NDArray[np.float32]


@drawing
def weights(values: Values, title: str, caption: str) -> Figure:
    """Filters (filters, inputs, height, width): in colour where the inputs are three, by their
    strongest input else.

    Filters of a single pixel have no shape to see; they are drawn as one table, a row for each.
    """
    inputs, height, width = values.shape[1:]
    if height * width == 1:
        return _table(values[:, :, 0, 0], title, caption)
    if inputs == 3:
        end = _end(values)
        colours = (0.5 + values.transpose(0, 2, 3, 1) / (2 * end)).clip(0, 1)
        return _sheet(colours, title, f"{caption} · grey is 0, one scale for all: ±{end:.3g}", None)
    strongest = np.square(values).sum((2, 3)).argmax(1)
    slices = values[np.arange(len(values)), strongest]
    return _sheet(
        slices,
        title,
        caption + (" · of each, the input that it weighs most" if inputs > 1 else ""),
        "weight",
    )


@drawing
def responses(values: Values, title: str, caption: str) -> Figure:
    """Maps (filters, height, width), in the order of the filters."""
    step = max(1, -(-max(values.shape[1:]) // _MOST_PIXELS))
    return _sheet(values[:, ::step, ::step], title, caption, "response")


def _sheet(tiles: Values, title: str, caption: str, unit: str | None) -> Figure:
    """Tiles (N, height, width), by colours and with their scale, or (N, height, width, 3) as they
    are."""
    enlarged = max(1, _LEAST_PIXELS // max(tiles.shape[1:3]))
    tiles = tiles.repeat(enlarged, 1).repeat(enlarged, 2)
    count, height, width = tiles.shape[:3]
    columns = max(1, min(count, round((count * height / width) ** 0.5)))
    rows = -(-count // columns)
    gap = max(1, max(height, width) // 14)
    whole = np.full(
        (rows * (height + gap) - gap, columns * (width + gap) - gap, *tiles.shape[3:]),
        1.0 if unit is None else np.nan,
    )
    for number, tile in enumerate(tiles):
        top, left = number // columns * (height + gap), number % columns * (width + gap)
        whole[top : top + height, left : left + width] = tile
    tall = 7.6 * whole.shape[0] / whole.shape[1]
    drawn = figure(8.4, min(11.0, max(1.2, tall) + 1.2), title, caption)
    panel = axes(drawn)[0, 0]
    if unit is None:
        panel.imshow(whole, interpolation="nearest")
    else:
        _coloured(drawn, panel, whole, unit)
    panel.axis("off")
    return drawn


def _table(values: Values, title: str, caption: str) -> Figure:
    drawn = figure(
        8.4, min(11.0, max(3.4, 7.0 * len(values) / values.shape[1] + 1.4)), title, caption
    )
    panel = axes(drawn)[0, 0]
    _coloured(drawn, panel, values, "weight")
    panel.set_xlabel("input channel")
    panel.set_ylabel("filter")
    panel.grid(False)
    return drawn


def _coloured(drawn: Figure, panel: Axes, values: Values, unit: str) -> None:
    end = _end(values)
    colours = mpl.colormaps[DIVERGING].with_extremes(bad=_BETWEEN)
    image = panel.imshow(values, cmap=colours, vmin=-end, vmax=end, interpolation="nearest")
    drawn.colorbar(image, ax=panel, label=unit, shrink=0.7, extend="both")


def _end(values: Values) -> float:
    """Where the colours end, on both sides of 0."""
    return float(np.nanpercentile(np.abs(values), _CUT)) or 1.0
