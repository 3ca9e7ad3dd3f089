"""Figures of searches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from advlab.plots.style import COLOURS, axes, drawing, figure, log_scale

_COLUMNS = 3


@drawing
def drawn_settings(
    options: Mapping[str, Sequence[float | str]],
    values: Sequence[float],
    best: int,
    quantity: str,
    title: str,
    caption: str,
    *,
    logarithmic: Sequence[str] = (),
    percent: bool = True,
    finished: int | None = None,
) -> Figure:
    """A panel for each option: the figure of every setting against the value that was drawn.

    Args:
        options: by the name of the option its value in every setting, numbers or words.
        values: the figure of every setting, its mean over the seeds.
        best: number of the setting that was chosen.
        quantity: name of the figure.
        logarithmic: options whose axis is logarithmic.
        percent: whether the figures are fractions in [0, 1].
        finished: how many of the settings were trained to their end, the first ones; all where not
            given. The others are crosses.
    """
    columns = 2 if len(options) == 4 else min(_COLUMNS, len(options))
    rows = -(-len(options) // columns)
    every = len(values) if finished is None else finished
    crosses = ", cross: pruned, at its best until then" if every < len(values) else ""
    drawn = figure(
        1.0 + 2.6 * columns,
        1.6 + 2.4 * rows,
        title,
        caption,
        f"point: a setting, ringed: the best one{crosses}",
    )
    panels = axes(drawn, rows, columns, sharey=True)
    for number, panel in enumerate(panels.flat):
        if number >= len(options):
            panel.set_axis_off()
            continue
        name, places = list(options.items())[number]
        if any(isinstance(place, str) for place in places):
            words = sorted(set(map(str, places)), key=_numbers_first)
            x: list[float] = [words.index(str(place)) for place in places]
            panel.set_xticks(range(len(words)), words)
            panel.set_xlim(-0.5, len(words) - 0.5)
        else:
            x = [float(place) for place in places]
        panel.scatter(x[:every], values[:every], color=COLOURS[0], s=24, alpha=0.8)
        if crosses:
            panel.scatter(x[every:], values[every:], color=COLOURS[1], s=24, marker="x")
        panel.scatter(
            x[best], values[best], facecolors="none", edgecolors=COLOURS[3], s=110, linewidths=2
        )
        if name in logarithmic:
            log_scale(panel, "x")
        panel.set_xlabel(name)
        if number % columns == 0:
            panel.set_ylabel(quantity)
        if percent:
            panel.yaxis.set_major_formatter(PercentFormatter(1, decimals=None, symbol=" %"))
    return drawn


def _numbers_first(word: str) -> tuple[bool, float, str]:
    """A key that sorts numbers by size, and words after them."""
    try:
        return False, float(word), word
    except ValueError:
        return True, 0.0, word
