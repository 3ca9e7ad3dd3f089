"""Heat maps of grids of settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from advlab.plots.style import COLOURS, SEQUENTIAL, axes, drawing, figure


@drawing
def heat(
    tables: Mapping[str, NDArray[np.float64]],
    rows: Sequence[str],
    columns: Sequence[str],
    title: str,
    caption: str,
    *,
    quantity: str,
    percent: bool,
    lower: bool = False,
    ranked: bool = True,
    judged: Mapping[str, NDArray[np.float64]] | None = None,
) -> Figure:
    """One table for each network or variant, all with the same colours; the best cells of each
    are framed.

    Args:
        tables: values (rows, columns) by name, NaN where there is none.
        rows: what each row was set to, options that share it joined by a line break.
        columns: the same of each column.
        lower: whether the lowest value is the best.
        judged: values by which the best cells are chosen, of the same shape; the tables' own where
            none are given.
        ranked: whether the values compare, so that there is a best one.
    """
    longest = max(len(line) for name in rows for line in name.split("\n"))
    width = 1.6 + 0.085 * longest + max(0.95 * len(columns), 2.4)
    drawn = figure(
        width * len(tables) + 0.8,
        1.9 + max(0.55, 0.24 * (1 + rows[0].count("\n"))) * len(rows),
        title,
        caption,
    )
    panels = axes(drawn, 1, len(tables))[0]
    every = np.concatenate([values[~np.isnan(values)] for values in tables.values()])
    low, high = float(every.min()), float(every.max())
    for panel, (name, values) in zip(panels, tables.items(), strict=True):
        panel.grid(False)
        image = panel.imshow(
            values, cmap=SEQUENTIAL, vmin=low, vmax=max(high, low + 1e-12), aspect="auto"
        )
        panel.set_xticks(range(len(columns)), columns)
        panel.set_yticks(range(len(rows)), rows)
        panel.set_title(name)
        middle = (low + high) / 2
        own = values if judged is None else judged[name]
        best = (own == (np.nanmin(own) if lower else np.nanmax(own))) & ranked
        for place in zip(*np.nonzero(~np.isnan(values)), strict=True):
            value = values[place]
            words = f"{100 * value:.2f}" if percent else f"{value:.3g}"
            colour = "black" if value > middle else "white"
            weight = "bold" if best[place] else "normal"
            panel.text(
                place[1],
                place[0],
                words,
                ha="center",
                va="center",
                color=colour,
                fontsize=9,
                fontweight=weight,
            )
        for row, column in zip(*np.nonzero(best), strict=True):
            panel.add_patch(
                Rectangle(
                    (column - 0.48, row - 0.48),
                    0.96,
                    0.96,
                    fill=False,
                    edgecolor=COLOURS[3],
                    linewidth=2,
                )
            )
    form = PercentFormatter(1, decimals=1, symbol=" %") if percent else None
    drawn.colorbar(image, ax=list(panels), shrink=0.8, label=quantity, format=form)
    return drawn
