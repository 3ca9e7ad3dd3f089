"""Figures of memorised labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, stdev

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, PercentFormatter, StrMethodFormatter

from advlab.plots.style import COLOURS, GREY, MARKERS, axes, drawing, figure, log_scale

_LEAST = 1e-6  # a loss below is drawn here
_CHANCE = "chance (1 of 2 classes)"


@drawing
def learning(
    histories: Mapping[str, Sequence[Sequence[Mapping[str, float]]]], title: str, caption: str
) -> Figure:
    """Training loss and accuracy by epoch, a colour for each kind of labels: the mean over the
    runs, and each run as a thin line.

    Args:
        histories: by kind of labels, for each run its epochs: epoch, loss, accuracy.
    """
    drawn = figure(10, 4.2, title, caption)
    panels = axes(drawn, 1, 2)[0]
    for number, (name, runs) in enumerate(histories.items()):
        shared = range(min(map(len, runs)))
        for panel, key in zip(panels, ("loss", "accuracy"), strict=True):
            lines = [[max(record[key], _LEAST) for record in run] for run in runs]
            if len(runs) > 1:
                for line in lines:
                    panel.plot(
                        range(1, len(line) + 1),
                        line,
                        color=COLOURS[number % 8],
                        linewidth=0.6,
                        alpha=0.4,
                    )
            panel.plot(
                [place + 1 for place in shared],
                [mean(line[place] for line in lines) for place in shared],
                color=COLOURS[number % 8],
                marker=MARKERS[number % 8],
                markevery=[
                    place - 1
                    for place in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
                    if place <= len(shared)
                ],
                label=name,
            )
    panels[1].axhline(0.5, color=GREY, linewidth=1.2, linestyle=":", label=_CHANCE)
    for panel, words in zip(panels, ("training loss", "training accuracy"), strict=True):
        if (
            max(len(run) for runs in histories.values() for run in runs) >= 20
        ):  # all that happens, happens early
            panel.set_xscale("log")
            panel.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            panel.xaxis.set_minor_formatter(NullFormatter())
        else:
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.set_xlabel("epoch")
        panel.set_ylabel(words)
    log_scale(panels[0])
    panels[1].yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    panels[1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8.5)
    return drawn


@drawing
def against_share(
    fits: Mapping[float, Sequence[int | None]],
    tests: Mapping[str, Mapping[float, Sequence[float]]],
    title: str,
    caption: str,
) -> Figure:
    """Epochs to fit, and test accuracy, by the fraction of drawn labels: every run a point, means
    and ± one standard deviation.

    Args:
        fits: by fraction the epochs that each run needed; None for one that never fitted, which is
            counted in words.
        tests: for each kind of test labels the accuracies of the runs, by fraction.
    """
    drawn = figure(10, 4.2, title, caption)
    left, right = axes(drawn, 1, 2)[0]
    reached = {
        fraction: [fit for fit in runs if fit is not None] for fraction, runs in fits.items()
    }
    _line(left, {fraction: runs for fraction, runs in reached.items() if runs}, 0, "mean")
    for fraction, runs in fits.items():
        never = len(runs) - len(reached[fraction])
        if never:
            words = f"{never} of {len(runs)}\nnever"
            left.annotate(
                words,
                (fraction, 0.02),
                xycoords=("data", "axes fraction"),
                ha="center",
                va="bottom",
                fontsize=8,
            )
    if any(reached.values()):
        left.set_ylim(bottom=0)
        left.yaxis.set_major_locator(MaxNLocator(integer=True))
    else:
        left.set_yticks([])
    left.set_ylabel("epochs until training accuracy is 100 %")
    for number, (name, points) in enumerate(tests.items()):
        _line(right, points, number, name)
    right.axhline(0.5, color=GREY, linewidth=1.2, linestyle=":", label=_CHANCE)
    right.set_ylabel("test accuracy")
    right.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    right.legend(title="measured on", fontsize=8.5)
    for panel in (left, right):
        panel.set_xlim(-0.06, 1.06)
        panel.set_xlabel("training images with random labels")
        panel.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    return drawn


def _line(panel: Axes, points: Mapping[float, Sequence[float]], number: int, name: str) -> None:
    fractions = sorted(points)
    colour, centre = COLOURS[number], [mean(points[fraction]) for fraction in fractions]
    half = [stdev(points[fraction]) if len(points[fraction]) > 1 else 0.0 for fraction in fractions]
    panel.plot(fractions, centre, color=colour, marker=MARKERS[number], label=name)
    lower, upper = ([c + sign * h for c, h in zip(centre, half, strict=True)] for sign in (-1, 1))
    panel.fill_between(fractions, lower, upper, color=colour, alpha=0.15, linewidth=0)
    if any(half):
        places, values = zip(
            *((fraction, value) for fraction in fractions for value in points[fraction]),
            strict=True,
        )
        panel.scatter(places, values, color=colour, s=12, alpha=0.6)
