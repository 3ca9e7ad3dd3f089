"""Figures of detectors of adversarial images: ROC curves, and histograms of scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from advlab.plots.style import COLOURS, GREY, axes, drawing, figure

_LINES = ("-", "--", "-.", ":")
_BINS = 40
_WIDE = 100.0  # largest over median score from which the axis of scores is logarithmic


@drawing
def roc_curves(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    areas: Mapping[str, float],
    false_alarm_rate: float,
    title: str,
    caption: str,
) -> Figure:
    """A ROC curve for each attack, the last one thick.

    Args:
        curves: false-alarm rates and detection rates, fractions ascending from 0 to 1, by attack.
        areas: the area under each, by attack.
        false_alarm_rate: of the threshold, a fraction; it is drawn in.
    """
    drawn = figure(7.4, 4.6, title, caption)
    panel = axes(drawn)[0, 0]
    for number, (name, (false_alarms, detected)) in enumerate(curves.items()):
        last = number == len(curves) - 1
        panel.plot(
            false_alarms,
            detected,
            color="black" if last else COLOURS[number % 6],
            linestyle="-" if last else _LINES[number % 4],
            linewidth=3 if last else 1.8,
            label=f"{name} (area {areas[name]:.3f})",
        )
    panel.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":", label="chance (area 0.5)")
    panel.axvline(false_alarm_rate, color=GREY, linewidth=1, label="threshold")
    panel.set_xlabel("false alarms: clean test images above the threshold")
    panel.set_ylabel("detected misclassified images")
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    panel.set_xlim(-0.01, 1.01)
    panel.set_ylim(-0.01, 1.02)
    panel.legend(loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=8.5)
    return drawn


@drawing
def score_histograms(
    clean: Sequence[float],
    broken: Mapping[str, Sequence[float]],
    threshold: float,
    title: str,
    caption: str,
) -> Figure:
    """A panel for each attack: the scores of the images that it had misclassified, over those of
    clean images.

    Args:
        clean: scores of clean images, at least 0.
        broken: scores by attack.
        threshold: above which an image is taken for adversarial.
    """
    every = np.concatenate([np.asarray(clean), *map(np.asarray, broken.values())])
    middle = float(np.median(every))
    wide = middle > 0 and float(every.max()) > _WIDE * middle
    edges = np.linspace(0, float(every.max()) or 1.0, _BINS + 1)
    if wide:
        lowest = float(every[every > 0].min())
        edges = np.geomspace(lowest, float(every.max()), _BINS + 1)
    drawn = figure(7.0, 1.2 + 1.25 * len(broken), title, caption)
    panels = axes(drawn, len(broken), 1, sharex=True)[:, 0]
    for panel, (name, scores) in zip(panels, broken.items(), strict=True):
        for values, colour, label in ((clean, GREY, "clean"), (scores, COLOURS[3], name)):
            panel.hist(
                np.clip(values, edges[0], edges[-1]),
                bins=edges,
                weights=np.full(len(values), 1 / len(values)),
                color=colour,
                alpha=0.6,
                label=label,
            )
        panel.axvline(threshold, color="black", linewidth=1.2, linestyle="--", label="threshold")
        panel.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
        panel.legend(loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=8.5)
    if wide:
        panels[-1].set_xscale("log")
    panels[-1].set_xlabel("score (higher is more suspicious)")
    panels[len(panels) // 2].set_ylabel("fraction of the images")
    return drawn
