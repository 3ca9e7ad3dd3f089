"""Figures of a data set: class counts per split and examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from advlab.plots.sheets import Pixels, show
from advlab.plots.style import COLOURS, axes, drawing, figure, image_axes

_MOST_NAMED = 40  # classes; more of them are no longer readable one below the other


@drawing
def class_counts(
    counts: Mapping[str, NDArray[np.int64]],
    classes: Sequence[str],
    title: str,
    caption: str,
    noun: str,
) -> Figure:
    """A bar for each class, its splits one after another; of very many classes a column each,
    without their names.

    Args:
        counts: for each split how many there are of each class, (classes,).
    """
    named = len(classes) <= _MOST_NAMED
    drawn = (
        figure(7.6, 1.6 + 0.3 * len(classes), title, caption)
        if named
        else figure(10, 4, title, caption)
    )
    panel = axes(drawn)[0, 0]
    place = np.arange(len(classes))
    start = np.zeros(len(classes), dtype=np.int64)
    for (split, numbers), colour in zip(counts.items(), COLOURS, strict=False):
        label = f"{split} ({int(numbers.sum()):,})"
        if named:
            panel.barh(place, numbers, left=start, height=0.72, color=colour, label=label)
        else:
            panel.bar(place, numbers, bottom=start, width=1.0, color=colour, label=label)
        start = start + numbers
    if named:
        panel.set_yticks(place, [name if len(name) <= 30 else f"{name[:29]}…" for name in classes])
        panel.invert_yaxis()
        panel.set_xlabel(f"number of {noun}")
        panel.set_ylabel("class")
        for row, total in enumerate(start):
            panel.annotate(
                f"{total:,}",
                (total, row),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
        panel.margins(x=0.1)
        panel.grid(axis="y", visible=False)
    else:
        panel.set_xlabel("class, by number")
        panel.set_ylabel(f"number of {noun}")
        panel.grid(axis="x", visible=False)
        panel.margins(x=0.01)
    panel.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return drawn


@drawing
def samples(rows: Mapping[str, Sequence[Pixels]], title: str, caption: str) -> Figure:
    """A row of images for each class, its name before it."""
    columns = max(len(images) for images in rows.values())
    drawn = figure(1.6 + 0.95 * columns, 0.9 + 1.0 * len(rows), title, caption)
    panels = image_axes(drawn, len(rows), columns)
    for line, (name, images) in zip(panels, rows.items(), strict=True):
        for panel in line:
            panel.grid(False)
            for edge in panel.spines.values():
                edge.set_visible(False)
        for panel, pixels in zip(line, images, strict=False):
            show(panel, pixels)
        line[0].set_ylabel(
            name if len(name) <= 18 else f"{name[:17]}…",
            rotation=0,
            ha="right",
            va="center",
            fontsize=9,
        )
    return drawn
