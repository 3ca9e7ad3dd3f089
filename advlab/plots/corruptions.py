"""Figures of corruptions: accuracy against severity, and what the corruptions look like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from advlab.plots.sheets import Pixels, show
from advlab.plots.style import COLOURS, GREY, MARKERS, axes, drawing, figure, image_axes


@drawing
def accuracy_against_severity(
    curves: Mapping[str, Sequence[tuple[int, float]]],
    clean: float,
    chance: float,
    title: str,
    caption: str,
    reference: Sequence[tuple[int, float]] = (),
) -> Figure:
    """A line per name of (severity, accuracy) points, from the clean accuracy on; the last one is
    thick, and dashed beside it is that of a reference network.

    Args:
        curves: points with fractions in [0, 1], ascending in severity.
        clean: accuracy on the uncorrupted images, severity 0.
        chance: the accuracy of guessing.
        reference: points of the reference network over all corruptions, severity 0 included.
    """
    drawn = figure(8.2, 4.2, title, caption)
    panel = axes(drawn)[0, 0]
    for number, (name, points) in enumerate(curves.items()):
        severities, accuracies = zip((0, clean), *points, strict=True)
        last = number == len(curves) - 1
        panel.plot(
            severities,
            accuracies,
            color="black" if last else COLOURS[number % 6],
            marker=MARKERS[number % 8],
            linewidth=3 if last else 1.5,
            label=name,
            clip_on=False,
        )
    if reference:
        severities, accuracies = zip(*reference, strict=True)
        panel.plot(
            severities,
            accuracies,
            "--",
            color=GREY,
            marker="s",
            linewidth=3,
            label="reference network,\nall corruptions",
            clip_on=False,
        )
    panel.axhline(chance, color=GREY, linewidth=1, linestyle=":", label="chance")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set_xlabel("severity (0: uncorrupted)")
    panel.set_ylabel("accuracy")
    panel.set_ylim(-0.02, 1.05)
    panel.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    panel.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
    return drawn


@drawing
def corrupted(
    rows: Mapping[str, Sequence[Pixels]], columns: Sequence[str], title: str, caption: str
) -> Figure:
    """One image under each corruption: a row per name, a column per severity.

    Args:
        rows: images (C, H, W) in [0, 1].
        columns: what stands above each column.
    """
    width = 1.9 + 0.95 * len(columns)
    drawn = figure(max(4.8, width), 0.9 + 0.98 * len(rows), title, caption)
    panels = image_axes(drawn, len(rows), len(columns))
    for line, (name, images) in zip(panels, rows.items(), strict=True):
        for panel, pixels in zip(line, images, strict=True):
            show(panel, pixels)
            panel.grid(False)
            for edge in panel.spines.values():
                edge.set_visible(True)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    for panel, words in zip(panels[0], columns, strict=True):
        panel.set_title(words, fontsize=8)
    return drawn
