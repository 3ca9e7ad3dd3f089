"""Figures of contrastive learning: loss between its bounds, accuracies beside baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from advlab.plots.style import COLOURS, GREY, axes, drawing, figure


@drawing
def loss_between_bounds(
    losses: Sequence[float],
    history: Sequence[Mapping[str, float]],
    bound: float,
    uninformed: float,
    name: str,
    title: str,
    caption: str,
) -> Figure:
    """The loss by epoch, with every batch behind it, between its lower bound and what it is where
    nothing is known; and the share of partners found.

    Args:
        name: of the loss.
        losses: of every batch, in order.
        history: the lines of ``history.jsonl``: epoch, loss, found.
    """
    drawn = figure(9.6, 3.9, title, caption)
    left, right = axes(drawn, 1, 2)[0]
    last = len(history)
    epochs = np.arange(last) + 0.5  # an epoch's mean belongs to its middle
    place = (np.arange(len(losses)) + 0.5) * last / len(losses)
    marker = "o" if len(epochs) <= 30 else None
    left.plot(place, losses, color=COLOURS[5], linewidth=0.7, alpha=0.7, label="each batch")
    left.plot(
        epochs,
        [record["loss"] for record in history],
        color=COLOURS[0],
        marker=marker,
        label="mean of an epoch",
    )
    left.axhline(
        uninformed,
        color=GREY,
        linestyle="--",
        linewidth=1.2,
        label=f"knowing nothing: {uninformed:.3f}",
    )
    left.axhline(
        bound, color=COLOURS[3], linestyle="-.", linewidth=1.2, label=f"lower bound: {bound:.3f}"
    )
    left.fill_between(
        [0, last],
        bound,
        max(0.0, bound - 0.06 * (uninformed - bound)),
        color=COLOURS[3],
        alpha=0.12,
        linewidth=0,
    )
    left.set_ylabel(name)
    left.legend(
        loc="lower center", bbox_to_anchor=(0.5, 0.99), ncols=2, fontsize=8, columnspacing=1.2
    )
    right.plot(
        epochs, [100 * record["found"] for record in history], color=COLOURS[2], marker=marker
    )
    right.set_ylim(0, 100)
    right.set_ylabel("views that find their partner (%)")
    for panel in (left, right):
        panel.set_xlabel("epoch")
        panel.set_xlim(0, last)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    return drawn


@drawing
def encoder_accuracies(
    shares: Mapping[str, tuple[float, float]],
    pixels: float,
    chance: float,
    title: str,
    caption: str,
) -> Figure:
    """Accuracy of nearest neighbours and of a linear probe on the features of each encoder.

    Args:
        shares: for each encoder both accuracies, in [0, 1].
        pixels: that of neighbours among the images themselves.
        chance: that of guessing.
    """
    drawn = figure(max(6.4, 2.0 + 1.5 * len(shares)), 4.0, title, caption)
    panel = axes(drawn)[0, 0]
    _bars(panel, shares, ("k nearest neighbours", "linear probe"))
    panel.axhline(
        100 * pixels,
        color=GREY,
        linestyle="--",
        linewidth=1.2,
        label=f"k-NN on pixels: {100 * pixels:.1f}",
    )
    _guessing(panel, chance)
    panel.legend(loc="upper center", bbox_to_anchor=(0.5, 1.1), ncols=4, fontsize=8)
    return drawn


@drawing
def few_labels_accuracies(
    shares: Mapping[str, tuple[float, float]],
    chance: float,
    method: str,
    title: str,
    caption: str,
) -> Figure:
    """Accuracy of the fine-tuned encoder and of training from scratch by the number of labels.

    Args:
        shares: for each number of labels both accuracies, in [0, 1], as given.
        chance: that of guessing.
        method: how the encoder was trained, such as SimCLR.
    """
    drawn = figure(max(6.4, 2.0 + 1.5 * len(shares)), 4.0, title, caption)
    panel = axes(drawn)[0, 0]
    _bars(panel, shares, (f"fine-tuned after {method}", "from scratch"))
    _guessing(panel, chance)
    panel.set_xlabel("labelled training images")
    panel.legend(loc="upper center", bbox_to_anchor=(0.5, 1.1), ncols=3, fontsize=8)
    return drawn


def _guessing(panel: Axes, chance: float) -> None:
    """A line at the accuracy of guessing, in [0, 1]."""
    panel.axhline(
        100 * chance,
        color=GREY,
        linestyle=":",
        linewidth=1.2,
        label=f"guessing: {100 * chance:.3g}",
    )


def _bars(panel: Axes, shares: Mapping[str, tuple[float, float]], names: tuple[str, str]) -> None:
    """Two bars side by side for each key, in percent, labelled with their heights."""
    place = np.arange(len(shares))
    looks = ((-0.2, COLOURS[0], "white"), (0.2, COLOURS[1], "black"))
    for column, (offset, colour, words) in enumerate(looks):
        values = [100 * both[column] for both in shares.values()]
        bars = panel.bar(place + offset, values, 0.38, color=colour, label=names[column])
        panel.bar_label(
            bars,
            [f"{value:.1f}" for value in values],
            label_type="center",
            fontsize=9,
            color=words,
            fontweight="bold",
        )
    panel.set_xticks(place, shares.keys())
    panel.set_ylim(0, 104)
    panel.set_ylabel("test accuracy (%)")
    panel.grid(False, axis="x")
