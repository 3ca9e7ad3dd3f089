"""Figures of flows: which way the pixels of an image go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from advlab.plots.sheets import Pixels, show
from advlab.plots.style import COLOURS, drawing, figure, image_axes, in_lines

_PANEL = 34  # characters of a line above a panel
_ARROWS = 20  # along a side at most
_SHORTEST = 0.1  # pixels; shorter arrows would be dots
_FACTORS = (1, 2, 3, 5, 10, 20, 50, 100)
_LONGEST = 2.0  # times the distance between two arrows, so that they can be told apart


@dataclass(frozen=True)
class Displaced:
    """One image before and after its pixels were displaced, with both predictions.

    Attributes:
        clean: (C, H, W) in [0, 1].
        perturbed: the same after the attack.
        flow: how many pixels further down and to the right each pixel's value comes from, (2, H,
            W).
        before: what the network says of ``clean``, such as "7 (99.8 %)".
        after: the same of ``perturbed``.
        words: what to say of the flow.
    """

    clean: Pixels
    perturbed: Pixels
    flow: NDArray[np.float32]
    before: str
    after: str
    words: str


@drawing
def displaced(rows: Sequence[Displaced], title: str, caption: str) -> Figure:
    """A row for each image: the image, with arrows from where values come from to where they go,
    and the result."""
    longest = max(float(np.hypot(*row.flow).max()) for row in rows)
    every = max(1, -(-max(rows[0].flow.shape[1:]) // _ARROWS))
    factor = max(each for each in _FACTORS if each == 1 or each * longest <= _LONGEST * every)
    length = f"{factor} times their length" if factor > 1 else "at their true length"
    some = "" if every == 1 else f" for one pixel in {every} along each side"
    key = f"arrows: where values go{some}, {length}; shifts below {_SHORTEST:g} px are not drawn"
    drawn = figure(6.4, 1.0 + 3.2 * len(rows), title, caption, key)
    for panels, row in zip(image_axes(drawn, len(rows), 2), rows, strict=True):
        show(panels[0], row.clean)
        down, right = row.flow
        y, x = np.mgrid[: down.shape[0] : every, : down.shape[1] : every].reshape(2, -1)
        lengths = np.hypot(down[y, x], right[y, x])
        y, x = y[lengths >= _SHORTEST], x[lengths >= _SHORTEST]
        panels[0].quiver(
            x,
            y,
            -factor * right[y, x],
            -factor * down[y, x],
            pivot="tip",
            angles="xy",
            scale_units="xy",
            scale=1,
            facecolor=COLOURS[1],
            edgecolor="black",  # so that they stand out from any colour
            linewidth=0.6,
            width=0.01,
            headlength=3,
            headaxislength=2.5,
            minlength=0.2,
        )
        words = in_lines(f"image: {row.words}\npredicted {row.before}", _PANEL)
        panels[0].set_title(words, fontsize=9)
        show(panels[1], row.perturbed)
        words = in_lines(f"displaced\npredicted {row.after}", _PANEL)
        panels[1].set_title(words, color=COLOURS[3], fontsize=9)
        for panel in panels:
            panel.axis("off")
    return drawn
