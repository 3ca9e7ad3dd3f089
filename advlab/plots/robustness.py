"""Pictures of an attack's reach: accuracy against eps, and success by source and target class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from advlab.plots.style import COLOURS, GREY, MARKERS, SEQUENTIAL, axes, figure, styled


@styled()
def accuracy_against_eps(
    curves: Mapping[str, Sequence[tuple[float, float]]],
    classes: int,
    norm: str,
    title: str,
    caption: str,
    *,
    y: str = "robust accuracy",
    within: bool = False,
) -> Figure:
    """A line per name of (eps, share) points, with chance level drawn in.

    Args:
        curves: points with shares in [0, 1], ascending in eps; the shares may rise and fall.
        within: whether an image that broke at a smaller eps counts as broken at every larger one.
    """
    drawn = figure(6.4, 4.2, title, caption)
    panel = axes(drawn)[0, 0]
    for number, (name, points) in enumerate(curves.items()):
        eps, share = zip(*points, strict=True)
        panel.plot(eps, share, color=COLOURS[number % 8], marker=MARKERS[number % 8], label=name, clip_on=False)
        if len(curves) == 1:
            for x, value in points:
                panel.annotate(f"{100 * value:.1f}", (x, value), textcoords="offset points", xytext=(0, 7), ha="center", fontsize=8)
    if y == "robust accuracy":
        panel.axhline(1 / classes, color=GREY, linewidth=1, linestyle=":", label="chance")
    panel.set_xlabel(_eps_label(norm, within))
    panel.set_ylabel(y)
    panel.set_ylim(-0.02, 1.05)
    panel.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    panel.legend()
    return drawn


def _eps_label(norm: str, within: bool) -> str:
    """What stands at an axis of eps."""
    return f"ε ({norm}), broken at ε or less" if within else f"ε ({norm})"


@styled()
def success_by_target(success: NDArray[np.float64], counts: NDArray[np.int64], classes: Sequence[str], title: str, caption: str) -> Figure:
    """Share of a class's images (row) that were brought to each target (column); empty where there were none."""
    size = min(11.0, max(4.8, 1.8 + 0.42 * len(classes)))
    drawn = figure(size + 0.9, size, title, caption)
    panel = axes(drawn)[0, 0]
    panel.grid(False)
    image = panel.imshow(np.where(counts > 0, success, np.nan), cmap=SEQUENTIAL, vmin=0, vmax=1)
    drawn.colorbar(image, ax=panel, shrink=0.75, label="reached", format=PercentFormatter(1, decimals=0, symbol=" %"))
    panel.set_xlabel("target class")
    panel.set_ylabel("true class")
    if len(classes) <= 20:
        long = max(len(name) for name in classes) > 3
        panel.set_xticks(range(len(classes)), classes, rotation=45 if long else 0, ha="right" if long else "center")
        panel.set_yticks(range(len(classes)), classes)
        for row, column in zip(*np.nonzero(counts), strict=True):
            value = float(success[row, column])
            panel.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=7.5, color="black" if value > 0.5 else "white")
    return drawn


@styled()
def perceptibility(
    points: Sequence[Mapping[str, float]],
    norm: str,
    title: str,
    caption: str,
    *,
    within: bool = False,
) -> Figure:
    """How visible the perturbations are by eps: PSNR and SSIM, beside the share of images that withstood them.

    Args:
        points: for each eps above 0: eps, psnr_mean, ssim_mean, robust_accuracy.
        within: whether an image that broke at a smaller eps is shown at every larger one as it broke.
    """
    drawn = figure(9, 3.8, title, caption)
    panels = axes(drawn, 1, 2)[0]
    eps = [point["eps"] for point in points]
    for panel, key, label, colour in ((panels[0], "psnr_mean", "PSNR (dB)", COLOURS[0]), (panels[1], "ssim_mean", "SSIM", COLOURS[2])):
        panel.plot(eps, [point[key] for point in points], color=colour, marker="o")
        panel.set_xlabel(_eps_label(norm, within))
        panel.set_ylabel(label)
        for point in points:
            panel.annotate(
                f"{100 * point['robust_accuracy']:.0f} %", (point["eps"], point[key]), textcoords="offset points", xytext=(4, 6), fontsize=8
            )
    panels[0].set_title("figures at the points: robust accuracy", fontsize=8.5, color=GREY)
    panels[1].set_ylim(None, 1.02)
    return drawn
