"""The figure of a verdict: robust accuracy after each attack of a suite."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from matplotlib.transforms import blended_transform_factory

from advlab.plots.style import COLOURS, GREY, axes, drawing, figure

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
) -> Figure:
    """A bar for each attack in its order: the fraction of images that it and all before it leave.

    Args:
        clean: the fraction that is right before any attack.
        left: name, fraction in [0, 1], and "control", "white" or "black".
        before: what went before these attacks, in words, and the fraction that it leaves.
    """
    starts = [("clean", clean), *([before] if before is not None else [])]
    count = len(starts) + len(left)
    drawn = figure(7.0, 1.6 + 0.36 * count, title, caption)
    panel = axes(drawn)[0, 0]
    for row, (_, accuracy) in enumerate(starts):
        panel.barh(row, accuracy, color="black", height=0.66, zorder=2)
    for row, (_, accuracy, sight) in enumerate(left, start=len(starts)):
        panel.barh(row, accuracy, color=_SIGHTS[sight][1], height=0.66, zorder=2)
    fractions = [accuracy for _, accuracy in starts] + [accuracy for _, accuracy, _ in left]
    for row, accuracy in enumerate(fractions):
        panel.annotate(
            f"{100 * accuracy:.2f} %",
            (accuracy, row),
            textcoords="offset points",
            xytext=(4, 0),
            va="center",
            fontsize=8.5,
        )
    for sight in dict.fromkeys(sight for _, _, sight in left):
        panel.barh(0, 0, color=_SIGHTS[sight][1], label=_SIGHTS[sight][0])
    words = [name for name, _ in starts] + [f"after {name}" for name, _, _ in left]
    panel.set_yticks(range(count), words)
    panel.set_ylim(count - 0.4, -0.6)
    panel.set_xlim(0, 1.14)
    panel.set_xticks([0, 0.25, 0.5, 0.75, 1])
    panel.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    panel.set_xlabel("robust accuracy after this and all earlier attacks")
    panel.grid(False, axis="y")
    # Beneath the whole figure: names of attacks take much of its width from the panel.
    across = blended_transform_factory(drawn.transFigure, panel.transAxes)
    place = (0.5, -0.16 - 0.4 / count)
    panel.legend(loc="upper center", bbox_to_anchor=place, bbox_transform=across, ncols=3)
    return drawn
