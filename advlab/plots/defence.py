"""Figures of a defence: accuracies before and after, and certified accuracy by radius."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, stdev

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from advlab.plots.style import COLOURS, GREY, MARKERS, axes, drawing, figure

_MOST_BELOW = 4  # networks whose names fit below the panel; those of more stand beside it


@drawing
def trade(
    groups: Mapping[str, Mapping[str, Sequence[float]]],
    classes: int,
    title: str,
    caption: str,
    axis: str = "accuracy",
    intervals: Mapping[str, Mapping[str, tuple[float, float]]] | None = None,
) -> Figure:
    """Bars side by side for each situation (clean, under FGSM, ...): one for each network, ± one
    standard deviation or, of a single run, its 95 % interval.

    Args:
        groups: for each network (a legend entry) its accuracies, in [0, 1], by situation; several
            where there are several seeds.
        axis: what all the fractions are.
        intervals: of single runs the ends of the 95 % interval of each accuracy, by the same names.
    """
    seeds = max(len(each) for accuracies in groups.values() for each in accuracies.values())
    key = ""
    if seeds > 1:
        key = f"bar: mean of {seeds} seeds, line: ± 1 standard deviation"
    elif intervals:
        key = "line: 95 % interval"
    situations = list(dict.fromkeys(name for accuracies in groups.values() for name in accuracies))
    beside = len(groups) > _MOST_BELOW
    least = 9.0 if beside else 7.0 if len(groups) > 2 else 5.6
    drawn = figure(max(least, 1.8 + 1.5 * len(situations)), 4.0, title, caption, key)
    panel = axes(drawn)[0, 0]
    width = 0.8 / len(groups)
    for number, (network, accuracies) in enumerate(groups.items()):
        places = [
            row + (number - (len(groups) - 1) / 2) * width
            for row, name in enumerate(situations)
            if name in accuracies
        ]
        for row, name in enumerate(situations):
            if name not in accuracies:
                place = row + (number - (len(groups) - 1) / 2) * width
                _missing(panel, place, COLOURS[number])
        values = [accuracies[name] for name in situations if name in accuracies]
        centre = [mean(each) for each in values]
        ends = np.array([_ends(each) for each in values])
        if intervals and seeds == 1:
            own = intervals[network]
            ends = np.array([own[name] for name in situations if name in accuracies])
        spread = np.abs(ends - np.array(centre)[:, None])
        panel.bar(places, centre, 0.92 * width, color=COLOURS[number], label=network, zorder=2)
        if spread.any():
            panel.errorbar(
                places,
                centre,
                spread.T,
                fmt="none",
                ecolor="black",
                capsize=3,
                linewidth=1,
                zorder=3,
            )
        for place, value, (_, end) in zip(places, centre, ends, strict=True):
            panel.annotate(
                f"{100 * value:.1f}",
                (place, end),
                textcoords="offset points",
                xytext=(0, 2),
                ha="center",
                fontsize=8,
            )
    panel.axhline(1 / classes, color=GREY, linewidth=1, linestyle=":", label="chance")
    panel.set_xticks(range(len(situations)), situations)
    panel.set_xlim(-0.5, len(situations) - 0.5)
    panel.set_ylim(0, 1.12)
    panel.set_yticks([0, 0.25, 0.5, 0.75, 1])
    panel.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    panel.set_ylabel(axis)
    panel.grid(False, axis="x")
    if beside:
        panel.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
        return drawn
    lines = max(name.count("\n") for name in situations)
    few = len(situations) < len(groups)  # too narrow a figure for one row of names
    panel.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.09 - 0.07 * lines),
        ncols=2 if few else len(groups) + 1,
    )
    return drawn


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """The ends of the error bar of some runs: the mean ± one standard deviation."""
    half = stdev(values) if len(values) > 1 else 0.0
    return mean(values) - half, mean(values) + half


def _missing(panel: Axes, place: float, colour: str) -> None:
    """Words where a bar would stand, in its colour."""
    panel.text(
        place, 0.02, "not measured", rotation=90, ha="center", va="bottom", fontsize=8, color=colour
    )


@drawing
def side_by_side(
    rows: Mapping[str, Mapping[str, Sequence[float]]], classes: int, title: str, caption: str
) -> Figure:
    """A line for each network with a point for each situation: the mean, ± one standard deviation.

    Args:
        rows: for each network its accuracies, in [0, 1], by situation; several where there are
            several seeds.
    """
    situations = list(dict.fromkeys(name for figures in rows.values() for name in figures))
    drawn = figure(7.6, 1.7 + 0.42 * len(rows), title, caption)
    panel = axes(drawn)[0, 0]
    for number, situation in enumerate(situations):
        measured = [
            (row, figures[situation])
            for row, figures in enumerate(rows.values())
            if situation in figures
        ]
        # A little apart, so that equal accuracies do not hide each other.
        apart = 0.13 * (number - (len(situations) - 1) / 2)
        spread = [stdev(values) if len(values) > 1 else 0.0 for _, values in measured]
        panel.errorbar(
            [mean(values) for _, values in measured],
            [row + apart for row, _ in measured],
            xerr=spread if any(spread) else None,
            color=COLOURS[number % 8],
            marker=MARKERS[number % 8],
            markersize=6,
            linestyle="",
            elinewidth=1.2,
            capsize=2,
            label=situation,
        )
    panel.axvline(1 / classes, color=GREY, linewidth=1, linestyle=":", label="chance")
    panel.set_yticks(range(len(rows)), list(rows))
    panel.set_ylim(len(rows) - 0.5, -0.5)
    panel.set_xlim(-0.02, 1.03)
    panel.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    panel.set_xlabel("accuracy, clean and under attack")
    panel.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
    return drawn


@drawing
def certified(
    curves: Mapping[str, Sequence[tuple[float, float]]],
    samples: int,
    limit: float,
    title: str,
    caption: str,
) -> Figure:
    """Certified accuracy against radius: a falling step line per network.

    Args:
        curves: radius and accuracy where each line falls, in [0, 1]; the accuracy of a radius holds
            for all that lie between it and the one before.
        samples: that vote on each image.
        limit: the radius of an image on which all of them agree, the largest that is possible.
    """
    drawn = figure(6.4, 4.2, title, caption)
    panel = axes(drawn)[0, 0]
    for number, (name, points) in enumerate(curves.items()):
        radius, accuracy = zip(*points, strict=True)
        panel.step(
            radius,
            accuracy,
            where="pre",
            color=COLOURS[number],
            linestyle=("-", "--")[number % 2],
            label=name,
        )
    label = f"largest radius: all {samples:,} samples agree"
    panel.axvline(limit, color=GREY, linewidth=1, linestyle=":", label=label)
    panel.set_xlabel("certified L2 radius, in pixel units")
    panel.set_ylabel("certified accuracy")
    panel.set_xlim(left=0)
    panel.set_ylim(-0.02, 1.05)
    panel.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    panel.legend()
    return drawn
