"""Confusion matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from advlab.plots.style import SEQUENTIAL, axes, figure, styled

# More classes than this and figures in the cells are no longer readable.
_MOST_WRITTEN = 20


@styled()
def confusion(
    counts: NDArray[np.int64],
    classes: Sequence[str],
    title: str,
    caption: str,
    *,
    rows: str = "true class",
    columns: str = "predicted class",
    unit: str = "images",
) -> Figure:
    """Counts (classes, classes) as a coloured table; colours by the logarithm, so that rare
    confusions show."""
    size = min(11.0, max(4.8, 1.8 + 0.42 * len(classes)))
    drawn = figure(size + 0.9, size, title, caption)
    matrix(axes(drawn)[0, 0], counts, classes, rows, columns, unit)
    return drawn


@styled()
def side_by_side(
    tables: Mapping[str, NDArray[np.int64]],
    classes: Sequence[str],
    title: str,
    caption: str,
    *,
    columns: str = "predicted class",
    unit: str = "images",
) -> Figure:
    """Several confusion matrices, each under its name: up to three in one row, four in two."""
    size = min(9.0, max(3.0 if len(classes) < 5 else 4.4, 1.4 + 0.4 * len(classes)))
    across = len(tables) if len(tables) < 4 else 2
    down = -(-len(tables) // across)
    drawn = figure((size + 0.9) * across, (size + 0.1) * down + 0.4, title, caption)
    for panel, (name, counts) in zip(axes(drawn, down, across).flat, tables.items(), strict=True):
        matrix(panel, counts, classes, "true class", columns, unit)
        panel.set_title(name)
    return drawn


def matrix(
    panel: Axes,
    counts: NDArray[np.int64],
    classes: Sequence[str],
    rows: str,
    columns: str,
    unit: str = "images",
) -> None:
    """Draw one confusion matrix into ``panel``."""
    panel.grid(False)
    shown = np.where(counts > 0, counts, np.nan)
    top = max(2, int(counts.max()))
    image = panel.imshow(shown, cmap=SEQUENTIAL, norm=LogNorm(1, top))
    assert panel.figure is not None
    panel.figure.colorbar(image, ax=panel, shrink=0.75, label=unit)
    panel.set_xlabel(columns)
    panel.set_ylabel(rows)
    if len(classes) > _MOST_WRITTEN:
        return
    long = max(len(name) for name in classes) > 3
    panel.set_xticks(
        range(len(classes)), classes, rotation=45 if long else 0, ha="right" if long else "center"
    )
    panel.set_yticks(range(len(classes)), classes)
    middle = top**0.5
    for row, column in zip(*np.nonzero(counts), strict=True):
        count = int(counts[row, column])
        panel.text(
            column,
            row,
            str(count),
            ha="center",
            va="center",
            fontsize=7.5,
            color="black" if count > middle else "white",
        )
