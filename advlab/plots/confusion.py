"""Confusion matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter
from numpy.typing import NDArray

from advlab.plots.style import COUNTS, axes, drawing, figure

# More classes than this and figures in the cells are no longer readable.
_MOST_WRITTEN = 20
# Of more classes than this, only some are drawn: a picture has no pixels for them.
_MOST_DRAWN = 110
_LONGEST = 22  # characters of a class name
_PALEST = 0.3


@drawing
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
    """A confusion matrix of counts (classes, classes).

    No count is white, and colours darken with the logarithm of the count, so that rare confusions
    show. Of more than 110 classes, those that occur are drawn, or those with the most mistakes; the
    caption says so.
    """
    (counts,), classes, left_out = _drawn([counts], classes)
    caption += left_out
    size = min(11.0, max(4.8, 1.8 + 0.42 * len(classes)))
    drawn = figure(size + 0.9, size, title, caption)
    matrix(axes(drawn)[0, 0], counts, classes, rows, columns, unit)
    return drawn


@drawing
def side_by_side(
    tables: Mapping[str, NDArray[np.int64]],
    classes: Sequence[str],
    title: str,
    caption: str,
    *,
    columns: str = "predicted class",
    unit: str = "images",
) -> Figure:
    """Several confusion matrices under their names, on one scale of colours.

    Up to three lie in one row, four in two. Of many classes some are drawn, as in ``confusion``.
    """
    chosen, classes, left_out = _drawn(list(tables.values()), classes)
    tables, caption = dict(zip(tables, chosen, strict=True)), caption + left_out
    size = min(9.0, max(3.0 if len(classes) < 5 else 4.4, 1.4 + 0.4 * len(classes)))
    across = len(tables) if len(tables) < 4 else 2
    down = -(-len(tables) // across)
    drawn = figure((size + 0.9) * across, (size + 0.1) * down + 0.4, title, caption)
    top = max(int(counts.max()) for counts in tables.values())
    for panel, (name, counts) in zip(axes(drawn, down, across).flat, tables.items(), strict=True):
        matrix(panel, counts, classes, "true class", columns, unit, top)
        panel.set_title(name)
    return drawn


def _drawn(
    tables: Sequence[NDArray[np.int64]], classes: Sequence[str]
) -> tuple[list[NDArray[np.int64]], Sequence[str], str]:
    """The rows and columns of the tables that are drawn, their names, and what the caption says of
    the others."""
    if len(classes) <= _MOST_DRAWN:
        return list(tables), classes, ""
    whole = sum(tables[1:], tables[0])
    occurring = np.flatnonzero(whole.sum(0) + whole.sum(1))
    if len(occurring) <= _MOST_WRITTEN:
        names = [_shortened(classes[number]) for number in occurring.tolist()]
        parts = [counts[np.ix_(occurring, occurring)] for counts in tables]
        return parts, names, f" · {len(occurring)} of {len(classes):,} classes occur"
    mistakes = whole.sum(0) + whole.sum(1) - 2 * np.diag(whole)
    chosen = np.sort(np.argsort(-mistakes, kind="stable")[: _MOST_WRITTEN - 1])
    groups = np.full(len(classes), len(chosen))
    groups[chosen] = np.arange(len(chosen))
    parts = []
    for counts in tables:
        merged = np.zeros((len(chosen) + 1, len(chosen) + 1), np.int64)
        np.add.at(merged, (groups[:, None], groups[None, :]), counts)
        parts.append(merged)
    names = [*(_shortened(classes[number]) for number in chosen.tolist()), "others"]
    others = len(classes) - len(chosen)
    return parts, names, f" · the classes with the most mistakes; {others:,} others together"


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def matrix(
    panel: Axes,
    counts: NDArray[np.int64],
    classes: Sequence[str],
    rows: str,
    columns: str,
    unit: str = "images",
    top: int | None = None,
) -> None:
    """Draw one confusion matrix into ``panel``.

    Args:
        top: the count that is darkest; by default the largest.
    """
    panel.grid(False)
    positive = np.where(counts > 0, counts, np.nan)
    top = max(2, top or int(counts.max()))
    # The scale begins below 1, so that a single image is not white.
    image = panel.imshow(positive, cmap=COUNTS, norm=LogNorm(_PALEST, top))
    assert panel.figure is not None
    bar = panel.figure.colorbar(image, ax=panel, shrink=0.75, label=unit)
    bar.ax.set_ylim(1, top)
    bar.ax.yaxis.set_major_locator(FixedLocator(_ticks(top)))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    panel.set_xlabel(columns)
    panel.set_ylabel(rows)
    if len(classes) > _MOST_WRITTEN:
        return
    long = max(len(name) for name in classes) > 3
    panel.set_xticks(
        range(len(classes)), classes, rotation=45 if long else 0, ha="right" if long else "center"
    )
    panel.set_yticks(range(len(classes)), classes)
    middle = top**0.6
    for row, column in zip(*np.nonzero(counts), strict=True):
        count = int(counts[row, column])
        panel.text(
            column,
            row,
            str(count),
            ha="center",
            va="center",
            fontsize=7.5,
            color="white" if count > middle else "black",
        )


def _ticks(top: int) -> list[int]:
    """1, 2, 5, 10, 20, … up to ``top``."""
    return [
        factor * 10**power
        for power in range(len(str(top)))
        for factor in (1, 2, 5)
        if factor * 10**power <= top
    ]
