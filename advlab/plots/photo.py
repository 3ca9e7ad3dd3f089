"""Figures of a photo: predictions as bars, and the photo before and after an attack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from advlab.plots.sheets import Pixels, show
from advlab.plots.style import COLOURS, axes, drawing, figure

# A class and its probability, the likeliest first.
Ranking = Sequence[tuple[str, float]]

_MOST_PIXELS = 1200  # of a side in a picture; more are left out evenly
_LONGEST_NAME = 34


@drawing
def predicted(pixels: Pixels, ranking: Ranking, title: str, caption: str) -> Figure:
    """An image (C, H, W) in [0, 1] and, beside it, the likeliest classes as bars."""
    drawn = figure(9.0, max(3.6, 1.4 + 0.42 * len(ranking)), title, caption)
    left, right = axes(drawn, 1, 2, gridspec_kw={"width_ratios": [1, 1.25]})[0]
    _bare(left, pixels)
    bars(right, ranking, COLOURS[5])
    right.set_xlabel("probability")
    return drawn


@drawing
def attacked_photo(
    clean: Pixels,
    perturbed: Pixels,
    before: Ranking,
    after: Ranking,
    words: Sequence[str],
    target: str | None,
    title: str,
    caption: str,
) -> Figure:
    """A photo, its perturbation amplified, and the result, with the likeliest classes of both as
    bars.

    Args:
        clean: (C, H, W) in [0, 1], C being 3 or 1.
        words: lines about the perturbation, under it.
        target: the class that was aimed for, whose bar stands out.
    """
    tall = 3.7 * min(1.6, max(0.45, clean.shape[1] / clean.shape[2]))
    drawn = figure(11.6, tall + 3.2, title, caption)
    panels = axes(drawn, 2, 3, gridspec_kw={"height_ratios": [tall, 1.9]})
    r = perturbed - clean
    largest = float(np.abs(r).max())
    _bare(panels[0, 0], clean)
    panels[0, 0].set_title(
        f"photo\npredicted {_short(before[0][0])} ({100 * before[0][1]:.1f} %)", color=COLOURS[0]
    )
    _bare(panels[0, 1], 0.5 + r / (2 * largest or 1))
    panels[0, 1].set_title(
        (f"r × {0.5 / largest:.3g}" if largest else "r = 0") + "\ngrey is no change"
    )
    _bare(panels[0, 2], perturbed)
    panels[0, 2].set_title(
        f"photo + r, as saved\npredicted {_short(after[0][0])} ({100 * after[0][1]:.1f} %)",
        color=COLOURS[3],
    )
    bars(panels[1, 0], before, COLOURS[5], target)
    bars(panels[1, 2], after, COLOURS[1], target)
    for panel in (panels[1, 0], panels[1, 2]):
        panel.set_xlabel("probability")
    panels[1, 1].axis("off")
    panels[1, 1].text(
        0.5,
        0.92,
        "\n".join(words),
        ha="center",
        va="top",
        fontsize=9,
        linespacing=1.5,
        transform=panels[1, 1].transAxes,
    )
    return drawn


def bars(panel: Axes, ranking: Ranking, colour: str, marked: str | None = None) -> None:
    """Classes as horizontal bars, each with its name and probability in it, the likeliest on
    top."""
    values = [value for _, value in ranking]
    colours = [COLOURS[4] if name == marked else colour for name, _ in ranking]
    panel.barh(range(len(ranking)), values, color=colours, height=0.78)
    for place, (name, value) in enumerate(ranking):
        aim = " (the target)" if name == marked else ""
        panel.text(
            0.012, place, f"{_short(name)}{aim}   {100 * value:.1f} %", va="center", fontsize=8.5
        )
    panel.set_ylim(len(ranking) - 0.4, -0.6)
    panel.set_xlim(0, 1)
    panel.set_yticks([])
    panel.grid(False, axis="y")


def _bare(panel: Axes, pixels: NDArray[Any]) -> None:
    step = max(1, -(-max(pixels.shape[1:]) // _MOST_PIXELS))
    show(panel, pixels[:, ::step, ::step])
    panel.axis("off")


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
