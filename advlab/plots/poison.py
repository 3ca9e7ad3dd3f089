"""Figures of poisoning: accuracies against the poison rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, stdev

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from advlab.plots.style import COLOURS, GREY, MARKERS, axes, drawing, figure


@drawing
def against_rate(
    series: Mapping[str, Mapping[float, Sequence[float]]],
    title: str,
    caption: str,
    setting: str = "poison rate: fraction of the entity's training texts that are poisoned",
) -> Figure:
    """A line per name: mean over the seeds by poison rate, ± one standard deviation as a band.

    Args:
        series: for each name the values, fractions, by poison rate in [0, 1].
    """
    drawn = figure(7.0, 4.6, title, caption)
    panel = axes(drawn)[0, 0]
    low = 0.0
    for number, (name, points) in enumerate(series.items()):
        x = sorted(points)
        centre = [mean(points[rate]) for rate in x]
        half = [stdev(points[rate]) if len(points[rate]) > 1 else 0.0 for rate in x]
        panel.plot(x, centre, color=COLOURS[number % 8], marker=MARKERS[number % 8], label=name)
        lower, upper = (
            [c + sign * h for c, h in zip(centre, half, strict=True)] for sign in (-1, 1)
        )
        panel.fill_between(x, lower, upper, color=COLOURS[number % 8], alpha=0.15, linewidth=0)
        low = min(low, *lower)
    panel.axhline(0.5, color=GREY, linewidth=1, linestyle=":")
    panel.set_ylim(low - 0.03, 1.03)
    panel.xaxis.set_major_formatter(PercentFormatter(1, decimals=None, symbol=" %"))
    panel.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    panel.set_xlabel(setting)
    panel.set_ylabel("fraction of the test set")
    panel.legend(loc="lower center", bbox_to_anchor=(0.5, 0.99), ncols=2, fontsize=8.5)
    return drawn
