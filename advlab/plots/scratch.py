"""Figures of networks from scratch: learning rates, and the errors of derivatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, stdev

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from advlab.plots.style import COLOURS, GREY, MARKERS, axes, drawing, figure, log_scale


@drawing
def sweep(
    ours: Mapping[float, Sequence[float]],
    reported: Mapping[float, Sequence[float]],
    title: str,
    caption: str,
    whose: str,
) -> Figure:
    """Test accuracy against the learning rate: mean, ± one standard deviation, every run; and the
    figures of a report.

    Args:
        ours: shares, a run each, by learning rate.
        reported: the report's, by learning rate; several where it contradicts itself. Empty for
            data or a network that it is not about.
        whose: what the legend calls the report.
    """
    drawn = figure(7.2, 4.4, title, caption)
    panel = axes(drawn)[0, 0]
    rates = sorted(ours)
    centre = [mean(ours[rate]) for rate in rates]
    spreads = [stdev(ours[rate]) if len(ours[rate]) > 1 else 0.0 for rate in rates]
    panel.errorbar(
        rates,
        centre,
        yerr=spreads if any(spreads) else None,
        color=COLOURS[0],
        marker="o",
        capsize=4,
        label="here",
    )
    for rate, value in zip(rates, centre, strict=True):
        panel.annotate(
            f"{100 * value:.2f}",
            (rate, value),
            xytext=(10, -20),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    points = [(rate, value) for rate, values in sorted(reported.items()) for value in values]
    if points:
        panel.plot(
            *zip(*points, strict=True),
            "s",
            color=COLOURS[1],
            markerfacecolor="none",
            markersize=8,
            markeredgewidth=1.6,
            label=whose,
        )
    panel.set_xscale("log")
    panel.set_ylim(0, 1.08)
    panel.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    panel.set_xlabel("learning rate")
    panel.set_ylabel("test accuracy")
    panel.legend(loc="lower right")
    return drawn


@drawing
def epochs(
    histories: Mapping[str, Sequence[Sequence[Mapping[str, float]]]], title: str, caption: str
) -> Figure:
    """Training loss and validation accuracy by epoch, a line for each setting, the mean over its
    runs.

    Args:
        histories: by setting the lines of ``history.jsonl`` of each of its runs.
    """
    drawn = figure(9.6, 4.2, title, caption)
    panels = axes(drawn, 1, 2)[0]
    for number, (name, runs) in enumerate(histories.items()):
        shared = min(map(len, runs))
        for panel, key in zip(panels, ("loss", "val_accuracy"), strict=True):
            values = [mean(history[place][key] for history in runs) for place in range(shared)]
            marker = MARKERS[number % 8] if shared <= 30 else None
            panel.plot(
                range(1, shared + 1), values, color=COLOURS[number % 8], marker=marker, label=name
            )
    for panel, words in zip(panels, ("training loss", "validation accuracy"), strict=True):
        panel.set_xlabel("epoch")
        panel.set_ylabel(words)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    log_scale(panels[0])
    panels[1].yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    panels[1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8.5)
    return drawn


@drawing
def agreement(
    differences: Mapping[str, Mapping[str, float]], limit: float, title: str, caption: str
) -> Figure:
    """The largest difference of each derivative, a row each, from several references; the limit as
    a line.

    Args:
        differences: by derivative and by reference; a difference of nought is drawn at 1e-18.
    """
    drawn = figure(8.4, 1.6 + 0.32 * len(differences), title, caption)
    panel = axes(drawn)[0, 0]
    references = list(dict.fromkeys(name for row in differences.values() for name in row))
    for number, reference in enumerate(references):
        places = [
            (max(row[reference], 1e-18), place)
            for place, row in enumerate(differences.values())
            if reference in row
        ]
        panel.plot(
            *zip(*places, strict=True),
            MARKERS[number],
            color=COLOURS[number],
            label=f"from {reference}",
        )
    panel.axvline(limit, color=GREY, linestyle="--", linewidth=1.2, label=f"limit {limit:g}")
    panel.set_xscale("log")
    panel.set_yticks(range(len(differences)), differences.keys())
    panel.set_ylim(len(differences) - 0.5, -0.5)
    panel.set_xlabel("largest difference")
    panel.legend(
        loc="upper center",
        bbox_to_anchor=(0.4, -0.09 - 0.2 / len(differences)),
        ncols=3,
        fontsize=8.5,
    )
    return drawn
