"""The figure of a verdict: robust accuracy after each attack of a suite."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from matplotlib.transforms import blended_transform_factory

from advlab.plots.style import COLOURS, GREY, axes, drawing, figure

_ENDS = "#a8a8a8"  # of intervals: seen on every bar, and beside it
_SIGHTS = {
    "control": ("control", GREY),
    "white": ("with the network's gradients", COLOURS[0]),
    "black": ("without them", COLOURS[1]),
}


@drawing
def fallen_by_attack(
    clean: float,
    left: Sequence[tuple[str, float, str]],
    title: str,
    caption: str,
    before: tuple[str, float] | None = None,
    intervals: Sequence[tuple[float, float]] | None = None,
) -> Figure:
    """A bar for each attack in its order: the fraction of images that it and all before it leave.

    Args:
        clean: the fraction that is right before any attack.
        left: name, fraction in [0, 1], and "control", "white" or "black".
        before: what went before these attacks, in words, and the fraction that it leaves.
        intervals: of each bar from the top the ends of its 95 % interval, which are drawn.
    """
    starts = [("clean", clean), *([before] if before is not None else [])]
    count = len(starts) + len(left)
    key = "line: 95 % interval" if intervals else ""
    drawn = figure(7.0, 1.6 + 0.36 * count, title, caption, key)
    panel = axes(drawn)[0, 0]
    for row, (_, accuracy) in enumerate(starts):
        panel.barh(row, accuracy, color="black", height=0.66, zorder=2)
    for row, (_, accuracy, sight) in enumerate(left, start=len(starts)):
        panel.barh(row, accuracy, color=_SIGHTS[sight][1], height=0.66, zorder=2)
    fractions = [accuracy for _, accuracy in starts] + [accuracy for _, accuracy, _ in left]
    ends = fractions
    if intervals:
        low, high = np.asarray(intervals).T
        beside = np.clip([fractions - low, high - fractions], 0, None)
        panel.errorbar(
            fractions, range(count), xerr=beside, fmt="none", ecolor=_ENDS, capsize=2.5, zorder=3
        )
        ends = [float(end) for end in high]
    for row, (accuracy, end) in enumerate(zip(fractions, ends, strict=True)):
        panel.annotate(
            f"{100 * accuracy:.2f} %",
            (end, row),
            textcoords="offset points",
            xytext=(4, 0),
            va="center",
            fontsize=8.5,
        )
    panel.barh(0, 0, color="black", label="before these attacks")
    for sight in dict.fromkeys(sight for _, _, sight in left):
        panel.barh(0, 0, color=_SIGHTS[sight][1], label=_SIGHTS[sight][0])
    words = [name for name, _ in starts] + [f"after {name}" for name, _, _ in left]
    panel.set_yticks(range(count), words)
    panel.set_ylim(count - 0.4, -0.6)
    panel.set_xlim(0, 1.18)
    panel.set_xticks([0, 0.25, 0.5, 0.75, 1])
    panel.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    panel.set_xlabel("robust accuracy after this and all earlier attacks")
    panel.grid(False, axis="y")
    # Beneath the whole figure: names of attacks take much of its width from the panel.
    across = blended_transform_factory(drawn.transFigure, panel.transAxes)
    place = (0.5, -0.16 - 0.4 / count)
    panel.legend(
        loc="upper center", bbox_to_anchor=place, bbox_transform=across, ncols=4, fontsize=9
    )
    return drawn
