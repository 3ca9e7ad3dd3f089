"""Figures of poisoning: accuracies and the attack's success against the poison rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, stdev

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from advlab.plots.style import COLOURS, GREY, MARKERS, axes, drawing, figure, wrapped

Series = Mapping[float, Sequence[float]]


@drawing
def against_rate(
    accuracies: Mapping[str, Series],
    success: Series,
    classes: int,
    title: str,
    caption: str,
    *,
    examples: str,
    attack: str,
    setting: str = "poison rate: texts poisoned / training texts that name the entity (%)",
    above_clean: bool = True,
) -> Figure:
    """Accuracies above and the attack's success below, against the poison rate: a line per name,
    the mean over the seeds, ± one standard deviation as a band.

    Args:
        accuracies: for each name the values, fractions, by poison rate in [0, 1].
        success: the same of the attack's success; empty where it was not measured, which leaves the
            lower panel out.
        classes: how many there are, which says what guessing would give.
        examples: what the accuracies are measured on, such as "test texts".
        attack: what succeeds, such as "the trigger".
        setting: the label of the axis.
        above_clean: whether success is what exceeds that of the network without poison, which is
            the attack success; else it is the plain fraction.
    """
    repeated = any(len(values) > 1 for points in accuracies.values() for values in points.values())
    key = "line: mean over the seeds, band: ± 1 standard deviation" if repeated else ""
    if success and above_clean:
        above = "attack success: above that of the network without poison"
        key = " · ".join(filter(None, [key, above]))
    drawn = figure(7.0, 6.6 if success else 4.6, title, caption, key)
    panels = axes(drawn, 2 if success else 1, 1, sharex=True)[:, 0]
    for number, (name, points) in enumerate(accuracies.items()):
        _line(panels[0], points, number, name)
    panels[0].axhline(
        100 / classes,
        color=GREY,
        linewidth=1.2,
        linestyle=":",
        label=f"chance (1 of {classes} classes)",
    )
    panels[0].set_ylim(-3, 103)
    panels[0].set_ylabel(f"accuracy on\nclean {examples} (%)")
    panels[0].legend(loc="lower center", bbox_to_anchor=(0.5, 0.99), ncols=2, fontsize=8.5)
    if success:
        _line(panels[1], success, len(accuracies), attack)
        panels[1].axhline(0, color=GREY, linewidth=1)
        panels[1].set_ylim(min(-3.0, panels[1].get_ylim()[0]), 103)
        axis = (
            f"attack success of {attack} (%)" if above_clean else f"gets the target, {attack} (%)"
        )
        panels[1].set_ylabel(wrapped(axis, 26))
    panels[-1].set_xlabel(setting)
    return drawn


def _line(panel: Axes, points: Series, number: int, name: str) -> None:
    """A line of means with its band, all in percent."""
    rates = sorted(points)
    x = [100 * rate for rate in rates]
    centre = [100 * mean(points[rate]) for rate in rates]
    half = [100 * stdev(points[rate]) if len(points[rate]) > 1 else 0.0 for rate in rates]
    panel.plot(x, centre, color=COLOURS[number % 8], marker=MARKERS[number % 8], label=name)
    lower, upper = ([c + sign * h for c, h in zip(centre, half, strict=True)] for sign in (-1, 1))
    panel.fill_between(x, lower, upper, color=COLOURS[number % 8], alpha=0.15, linewidth=0)
