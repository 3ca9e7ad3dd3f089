"""Figures that compare runs: every run, and mean and spread of each setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, stdev

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from advlab.plots.style import COLOURS, GREY, axes, drawing, figure, in_lines

# Of an axis of fractions: its least width, and how far it reaches beyond what a fraction can be, so
# that points at an end are whole.
_NARROWEST, _BEYOND = 0.04, 0.012
_LABEL = 36  # characters in a line of the name of a setting


@drawing
def comparison(
    groups: Mapping[str, Sequence[float]],
    quantity: str,
    title: str,
    caption: str,
    *,
    percent: bool = True,
    intervals: Mapping[str, tuple[float, float]] | None = None,
) -> Figure:
    """A row for each setting: its runs as points, their mean as a bar across, ± one standard
    deviation as a line.

    Args:
        groups: for each setting the values that its runs (seeds) reached.
        percent: whether they are fractions in [0, 1].
        intervals: where each setting has one run, the ends of the 95 % interval of its value over
            the choice of examples, by setting; they are drawn as lines.
    """
    several = any(len(values) > 1 for values in groups.values())
    key = "point: a run, bar: mean" if several else "point: a run"
    if several:
        key += ", line: ± 1 standard deviation"
    elif intervals:
        key += ", line: 95 % interval over the choice of examples"
    names = [in_lines(label, _LABEL) for label in groups]
    height = sum(max(0.5, 0.2 * (1 + name.count("\n"))) for name in names)
    drawn = figure(7.2, 1.7 + height, title, caption, key)
    panel = axes(drawn)[0, 0]
    for row, (values, colour) in enumerate(
        zip(groups.values(), COLOURS * (1 + len(groups) // 8), strict=False)
    ):
        centre = mean(values)
        ends = None if several or intervals is None else intervals.get(list(groups)[row])
        if ends is not None:
            beside = [[max(centre - ends[0], 0)], [max(ends[1] - centre, 0)]]
            panel.errorbar(centre, row, xerr=beside, color=GREY, capsize=4, linewidth=1.2, zorder=2)
        if len(values) > 1:
            panel.errorbar(
                centre, row, xerr=stdev(values), color=GREY, capsize=4, linewidth=1.2, zorder=2
            )
        if several:
            across = [row - 0.22, row + 0.22]
            panel.plot([centre, centre], across, color="black", linewidth=2, zorder=3)
        panel.scatter(values, [row] * len(values), color=colour, s=28, alpha=0.85, zorder=4)
        panel.annotate(
            f"{100 * centre:.2f} %" if percent else f"{centre:.4g}",
            (centre, row - 0.24),
            ha="center",
            va="bottom",
            fontsize=8,
        )
    panel.set_yticks(range(len(groups)), names)
    panel.set_ylim(len(groups) - 0.4, -0.6)
    if percent:
        panel.xaxis.set_major_formatter(PercentFormatter(1, decimals=None, symbol=" %"))
    panel.set_xlabel(quantity)
    panel.margins(x=0.12)
    if percent:
        low, high = panel.get_xlim()
        middle = max(_NARROWEST / 2, min((low + high) / 2, 1 - _NARROWEST / 2))
        half = max(_NARROWEST, high - low) / 2
        every = [value for values in groups.values() for value in values]
        # A difference of fractions may be negative, and a ratio of errors greater than 1.
        least = -_BEYOND if min(every) >= 0 else low
        most = 1 + _BEYOND if max(every) <= 1 else high
        panel.set_xlim(max(least, middle - half), min(most, middle + half))
    return drawn


@drawing
def against(
    points: Mapping[float, Sequence[float]],
    setting: str,
    quantity: str,
    title: str,
    caption: str,
    *,
    percent: bool = True,
) -> Figure:
    """A quantity against a number that was varied: mean, ± one standard deviation as a band, every
    run a point."""
    drawn = figure(6.4, 4.0, title, caption)
    panel = axes(drawn)[0, 0]
    x = sorted(points)
    centre = [mean(points[value]) for value in x]
    half = [stdev(points[value]) if len(points[value]) > 1 else 0.0 for value in x]
    panel.plot(x, centre, color=COLOURS[0], marker="o", label="mean")
    if any(half):
        low, high = (
            [c - h for c, h in zip(centre, half, strict=True)],
            [c + h for c, h in zip(centre, half, strict=True)],
        )
        panel.fill_between(
            x, low, high, color=COLOURS[0], alpha=0.18, linewidth=0, label="± 1 standard deviation"
        )
        for value in x:
            panel.scatter(
                [value] * len(points[value]), points[value], color=COLOURS[1], s=14, zorder=3
            )
        panel.legend()
    if x[0] > 0 and x[-1] / x[0] >= 20:
        panel.set_xscale("log")
    if percent:
        panel.yaxis.set_major_formatter(PercentFormatter(1, decimals=None, symbol=" %"))
    panel.set_xlabel(setting)
    panel.set_ylabel(quantity)
    return drawn
