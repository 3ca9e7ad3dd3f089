"""Figures of an attack: accuracy against ε, and success by true and target class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from advlab.config.radii import eps_text, norm_name
from advlab.plots.style import (
    COLOURS,
    GREY,
    MARKERS,
    SEQUENTIAL,
    axes,
    drawing,
    figure,
    radius_axis,
)


@drawing
def accuracy_against_eps(
    curves: Mapping[str, Sequence[tuple[float, float]]],
    classes: int,
    norm: str,
    title: str,
    caption: str,
    *,
    y: str = "robust accuracy",
    within: bool = False,
    intervals: Mapping[str, Sequence[tuple[float, float]]] | None = None,
) -> Figure:
    """A line per name of (eps, accuracy) points, with chance level drawn in.

    Args:
        curves: points with fractions in [0, 1], ascending in eps; they may rise and fall.
        within: whether an image that broke at a smaller eps counts as broken at every larger one.
        intervals: by name, the ends of the 95 % interval of each accuracy, which are drawn.
    """
    key = "line: 95 % interval" if intervals else ""
    drawn = figure(6.4, 4.2, title, caption, key)
    panel = axes(drawn)[0, 0]
    for number, (name, points) in enumerate(curves.items()):
        eps, accuracy = zip(*points, strict=True)
        panel.plot(
            eps,
            accuracy,
            color=COLOURS[number % 8],
            marker=MARKERS[number % 8],
            label=name,
            clip_on=False,
        )
        if intervals and name in intervals:
            low, high = np.asarray(intervals[name]).T
            beside = np.clip([accuracy - low, high - accuracy], 0, None)
            panel.errorbar(eps, accuracy, beside, fmt="none", ecolor=GREY, capsize=3, zorder=1)
        if len(curves) == 1:
            _annotate(panel, eps, accuracy, [f"{100 * value:.1f}" for value in accuracy])
            panel.margins(x=0.08)
    if y == "robust accuracy":
        panel.axhline(1 / classes, color=GREY, linewidth=1, linestyle=":", label="chance")
    panel.set_xlabel(_eps_label(norm, within))
    _whole_pixels(panel, norm)
    panel.set_ylabel(y)
    panel.set_ylim(-0.02, 1.05)
    panel.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    panel.legend()
    return drawn


@drawing
def accuracy_against_norm(
    curve: Sequence[tuple[float, float]],
    marks: Sequence[tuple[float, float]],
    classes: int,
    norm: str,
    title: str,
    caption: str,
    limit: float | None = None,
) -> Figure:
    """The accuracy that is left under perturbations of at most some norm, a step function.

    Args:
        curve: pairs of norm, ascending from 0, and accuracy in [0, 1], which holds up to the next
            norm.
        marks: the ε that were asked for, with their robust accuracy. Those far beyond the last step
            are left out, or the curve would be squeezed.
        classes: how many there are; chance level is drawn in.
        limit: the largest norm that was searched. Where images withstand it, the curve ends there,
            and a line marks it.
    """
    drawn = figure(6.4, 4.2, title, caption)
    panel = axes(drawn)[0, 0]
    limited = limit is not None and curve[-1][1] > 0
    last = limit if limit is not None and limited else curve[-1][0]
    selected = [mark for mark in marks if last == 0 or mark[0] <= 1.2 * last]
    end = last if limited else max([1.05 * last, *(eps for eps, _ in selected)])
    sizes, accuracies = zip(*curve, (end, curve[-1][1]), strict=True)
    panel.step(sizes, accuracies, where="post", color=COLOURS[0], label="accuracy")
    if limited:
        words = f"largest ε, {eps_text(last)}: the search ends"
        # A line down from the end of the curve, below the legend.
        ends = [-0.02, curve[-1][1]]
        panel.plot([last, last], ends, color=GREY, linewidth=1, linestyle="--", label=words)
    if selected:
        eps, accuracy = zip(*selected, strict=True)
        panel.plot(
            eps, accuracy, color=COLOURS[1], marker="o", linestyle="", label="robust accuracy at ε"
        )
        _annotate(panel, eps, accuracy, [f"{100 * value:.1f}" for value in accuracy])
    panel.axhline(1 / classes, color=GREY, linewidth=1, linestyle=":", label="chance")
    size = "number of changed pixels" if norm == "l0" else "norm of the perturbation"
    panel.set_xlabel(f"{size} ({norm_name(norm)})")
    _whole_pixels(panel, norm)
    panel.set_ylabel("accuracy")
    panel.set_ylim(-0.02, 1.05)
    panel.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    panel.legend()
    return drawn


@drawing
def accuracy_against_words(
    curve: Sequence[tuple[float, float]],
    classes: int,
    title: str,
    caption: str,
    limit: float = 0.0,
) -> Figure:
    """The accuracy that is left where at most some fraction of the words may be changed, a step
    function up to the fraction that the attack might change.

    Args:
        curve: pairs of a fraction, ascending from 0, and accuracy in [0, 1], which holds up to the
            next fraction.
        classes: how many there are; chance level is drawn in.
        limit: the largest fraction of a text's words that might be changed, rounded up to whole
            words; figures of earlier versions do not say.
    """
    drawn = figure(6.4, 4.2, title, caption)
    panel = axes(drawn)[0, 0]
    end = max(1.05 * curve[-1][0], limit, 0.01)
    sizes, accuracies = zip(*curve, (end, curve[-1][1]), strict=True)
    panel.step(sizes, accuracies, where="post", color=COLOURS[0], label="accuracy")
    ends = [curve[0], (end, curve[-1][1])]
    x, y = zip(*ends, strict=True)
    panel.plot(x, y, color=COLOURS[0], marker="o", linestyle="")
    _annotate(panel, x, y, [f"{100 * value:.1f}" for value in y])
    panel.axhline(1 / classes, color=GREY, linewidth=1, linestyle=":", label="chance")
    panel.set_xlabel("changed words")
    panel.set_ylabel("robust accuracy")
    panel.margins(x=0.08)
    panel.set_ylim(-0.02, 1.05)
    panel.xaxis.set_major_formatter(PercentFormatter(1, decimals=None, symbol=" %"))
    panel.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    panel.legend()
    return drawn


def _whole_pixels(panel: Axes, norm: str) -> None:
    """Ticks at whole numbers of pixels, where that is the norm."""
    if norm == "l0":
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))


def _annotate(panel: Axes, x: Sequence[float], y: Sequence[float], texts: Sequence[str]) -> None:
    """Words at the points of a line, beside the error bars and on the side where the line is not,
    whether it rises or falls."""
    for place, text in enumerate(texts):
        higher_before = place > 0 and y[place - 1] > y[place]
        higher_after = place + 1 < len(y) and y[place + 1] > y[place]
        offset, side = {
            (False, False): ((5, 5), "left"),
            (True, False): ((5, 5), "left"),
            (False, True): ((-5, 5), "right"),
            (True, True): ((5, -11), "left"),
        }[higher_before, higher_after]
        panel.annotate(
            text,
            (x[place], y[place]),
            textcoords="offset points",
            xytext=offset,
            ha=side,
            fontsize=8,
        )


def _eps_label(norm: str, within: bool) -> str:
    """What stands at an axis of eps."""
    return f"{radius_axis(norm)}, broken at ε or less" if within else radius_axis(norm)


@drawing
def success_by_target(
    success: NDArray[np.float64],
    counts: NDArray[np.int64],
    classes: Sequence[str],
    title: str,
    caption: str,
) -> Figure:
    """Share of a class's images (row) that were brought to each target (column); empty where there
    were none."""
    size = min(11.0, max(4.8, 1.8 + 0.42 * len(classes)))
    drawn = figure(size + 0.9, size, title, caption)
    panel = axes(drawn)[0, 0]
    panel.grid(False)
    image = panel.imshow(np.where(counts > 0, success, np.nan), cmap=SEQUENTIAL, vmin=0, vmax=1)
    drawn.colorbar(
        image,
        ax=panel,
        shrink=0.75,
        label="reached",
        format=PercentFormatter(1, decimals=0, symbol=" %"),
    )
    panel.set_xlabel("target class")
    panel.set_ylabel("true class")
    if len(classes) <= 20:
        long = max(len(name) for name in classes) > 3
        panel.set_xticks(
            range(len(classes)),
            classes,
            rotation=45 if long else 0,
            ha="right" if long else "center",
        )
        panel.set_yticks(range(len(classes)), classes)
        for row, column in zip(*np.nonzero(counts), strict=True):
            value = float(success[row, column])
            panel.text(
                column,
                row,
                f"{100 * value:.0f}",
                ha="center",
                va="center",
                fontsize=7.5,
                color="black" if value > 0.5 else "white",
            )
    return drawn


@drawing
def perceptibility(
    points: Sequence[Mapping[str, float]],
    norm: str,
    title: str,
    caption: str,
    *,
    within: bool = False,
) -> Figure:
    """How visible the perturbations are by eps: PSNR and SSIM, beside the share of images that
    withstood them.

    Args:
        points: for each eps above 0: eps, psnr_mean, ssim_mean, robust_accuracy.
        within: whether an image that broke at a smaller eps is shown at every larger one as it
            broke.
    """
    drawn = figure(9, 3.8, title, caption)
    panels = axes(drawn, 1, 2)[0]
    eps = [point["eps"] for point in points]
    for panel, key, label, colour in (
        (panels[0], "psnr_mean", "PSNR (dB)", COLOURS[0]),
        (panels[1], "ssim_mean", "SSIM", COLOURS[2]),
    ):
        values = [point[key] for point in points]
        panel.plot(eps, values, color=colour, marker="o")
        panel.set_xlabel(_eps_label(norm, within))
        _whole_pixels(panel, norm)
        panel.set_ylabel(label)
        panel.margins(x=0.12, y=0.12)
        _annotate(
            panel, eps, values, [f"{100 * point['robust_accuracy']:.0f} %" for point in points]
        )
    panels[0].set_title("figures at the points: robust accuracy", fontsize=8.5, color=GREY)
    panels[1].set_ylim(None, 1)
    return drawn
