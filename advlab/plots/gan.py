"""Figures of GAN training: losses, scores, quality and classes of generated images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from advlab.plots.style import (
    CLASS_COLOURS,
    COLOURS,
    GREY,
    MARKERS,
    axes,
    drawing,
    figure,
    in_lines,
    log_scale,
)

Column = NDArray[np.float64]
_LABEL = 30  # characters in a line of a legend
_SMOOTHED = 50  # points that a line of steps is drawn with, at least


def _key(steps: int) -> str:
    """What the lines of both panels are."""
    left = "every step"
    if steps > 4 * _SMOOTHED:
        left = "median of neighbouring steps and the middle 80 % of them"
    return f"left: {left}; right: mean of each epoch"


def _mark(panel: Axes, indicators: Sequence[tuple[int, str]], factor: float = 1.0) -> None:
    """A line at the epoch in which each indicator was first seen, its name beside it."""
    for number, (epoch, name) in enumerate(indicators):
        place = factor * epoch
        panel.axvline(place, color=COLOURS[3], linewidth=1.2, linestyle="--")
        top = 0.98 - 0.09 * (number % 4)
        panel.annotate(
            name, (place, top), xycoords=("data", "axes fraction"), xytext=(3, 0), textcoords=(
                "offset points"
            ),
            fontsize=7.5, color=COLOURS[3], va="top",
        )  # fmt: skip


def _binned(values: Column) -> tuple[Column, Column, Column, Column]:
    """Place, median, and the middle four fifths of values in bins of equal length."""
    bins = np.array_split(np.arange(len(values)), max(1, min(len(values), 4 * _SMOOTHED)))
    place = np.array([part.mean() + 1 for part in bins])
    low, middle, high = (
        np.array([np.quantile(values[part], q) for part in bins]) for q in (0.1, 0.5, 0.9)
    )
    return place, middle, low, high


_MOST_NAMED = 24  # classes in a legend


def _by_step(
    panel: Axes, lines: Mapping[str, Column], colours: Sequence[str], dash: str = "-"
) -> None:
    for (name, values), colour in zip(lines.items(), colours, strict=False):
        place, middle, low, high = _binned(values)
        panel.fill_between(place, low, high, color=colour, alpha=0.2, linewidth=0)
        panel.plot(place, middle, dash, color=colour, label=name, linewidth=1.4)
    panel.set_xlabel("step")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))


def _by_epoch(
    panel: Axes, epochs: Sequence[int], lines: Mapping[str, Sequence[float]], colours: Sequence[str]
) -> None:
    marker = "o" if len(epochs) <= 30 else None
    for (name, values), colour in zip(lines.items(), colours, strict=False):
        panel.plot(epochs, values, color=colour, marker=marker, label=name)
    panel.set_xlabel("epoch")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(epochs) == 1:  # else the axis would be cut into fractions of an epoch
        panel.set_xlim(epochs[0] - 1, epochs[0] + 1)
        panel.set_xticks(epochs)


def _legend(panel: Axes, columns: int = 2) -> None:
    """Above the panel, where no line runs."""
    panel.legend(
        loc="lower center",
        bbox_to_anchor=(0.5, 0.99),
        ncols=columns,
        fontsize=8.5,
        columnspacing=1.2,
    )


@drawing
def losses(
    steps: Mapping[str, Column],
    history: Sequence[Mapping[str, float]],
    indicators: Sequence[tuple[int, str]],
    title: str,
    caption: str,
) -> Figure:
    """Both losses by step (median and middle four fifths of neighbouring steps) and by epoch
    (mean)."""
    drawn = figure(10, 3.9, title, caption, _key(len(steps["loss_d"])))
    left, right = axes(drawn, 1, 2)[0]
    names = {"loss_d": "discriminator", "loss_g": "generator"}
    _by_step(left, {name: steps[key] for key, name in names.items()}, COLOURS)
    epochs = [int(record["epoch"]) for record in history]
    _by_epoch(
        right,
        epochs,
        {name: [record[key] for record in history] for key, name in names.items()},
        COLOURS,
    )
    for panel in (left, right):
        panel.set_ylabel("loss")
        _legend(panel)
    _mark(left, indicators, len(steps["loss_d"]) / max(1, len(history)))
    _mark(right, indicators)
    return drawn


@drawing
def scores(
    steps: Mapping[str, Column],
    history: Sequence[Mapping[str, float]],
    indicators: Sequence[tuple[int, str]],
    probabilities: bool,
    title: str,
    caption: str,
) -> Figure:
    """Draw the discriminator's scores of real and of generated images.

    Args:
        probabilities: whether scores are D(x) in [0, 1], where 0.5 means that it cannot tell.
    """
    drawn = figure(10, 3.9, title, caption, _key(len(steps["d_real"])))
    left, right = axes(drawn, 1, 2)[0]
    names = {"d_real": "real images", "d_fake": "generated images"}
    _by_step(left, {name: steps[key] for key, name in names.items()}, COLOURS[2:])
    epochs = [int(record["epoch"]) for record in history]
    _by_epoch(
        right,
        epochs,
        {name: [record[key] for record in history] for key, name in names.items()},
        COLOURS[2:],
    )
    for panel in (left, right):
        panel.set_ylabel("D(x), probability of being real" if probabilities else "score")
        if probabilities:
            panel.set_ylim(-0.02, 1.02)
            panel.axhline(0.5, color=GREY, linewidth=1, linestyle=":", label="cannot tell")
        _legend(panel, 3)
    _mark(left, indicators, len(steps["d_real"]) / max(1, len(history)))
    _mark(right, indicators)
    return drawn


@drawing
def quality(
    epochs: Sequence[int],
    fid: Sequence[float],
    variety: Mapping[str, Sequence[float]],
    indicators: Sequence[tuple[int, str]],
    reference: float | None,
    reference_images: int,
    kept: int,
    samples: int,
    title: str,
    caption: str,
) -> Figure:
    """FID on the small sample of each evaluation, and how varied the images were beside real ones.

    Args:
        epochs: of the evaluations.
        fid: in each of them.
        variety: in each of them, by what it is about; real images reach 1.
        indicators: epoch and name of what the collapse monitor found.
        reference: the FID of real images that were held out.
        reference_images: how many these are: as many as each evaluation generated, or fewer where
            there are no more.
        kept: the epoch that the checkpoint is of.
        samples: how many images each evaluation generated. FID falls with their number.
    """
    drawn = figure(7.0, 7.0, title, caption)
    upper, lower = axes(drawn, 2, 1)[:, 0]
    _by_epoch(upper, epochs, {"generated images": fid}, COLOURS)
    upper.set_ylabel(f"FID of {samples:,} images")
    if reference:
        label = f"{reference_images:,} real images"
        upper.axhline(reference, color=GREY, linewidth=1.2, linestyle=":", label=label)
    log_scale(upper)
    upper.axvline(kept, color=GREY, linewidth=1, label=f"kept: epoch {kept}")
    _legend(upper)
    _by_epoch(lower, epochs, variety, COLOURS)
    lower.axhline(1, color=GREY, linewidth=1.2, linestyle=":", label="real images")
    lower.set_ylim(-0.03, max(1.15, 1.05 * max(max(values) for values in variety.values())))
    lower.set_ylabel("relative to real images")
    _legend(lower)
    _mark(upper, indicators)
    _mark(lower, indicators)
    return drawn


@drawing
def balance(
    generated: Column, real: Column, classes: Sequence[str], title: str, caption: str
) -> Figure:
    """The share of each class among generated and real images, as the frozen classifier takes
    them."""
    many = len(classes) > 30
    drawn = figure(max(5.6, min(12.0, 1.6 + 0.5 * len(classes))), 3.9, title, caption)
    panel = axes(drawn)[0, 0]
    order = np.argsort(-real, kind="stable") if many else np.arange(len(classes))
    place = np.arange(len(classes))
    if many:
        panel.fill_between(
            place,
            100 * real[order],
            step="mid",
            color=COLOURS[2],
            alpha=0.35,
            label="real images",
            linewidth=0,
        )
        panel.step(
            place,
            100 * generated[order],
            where="mid",
            color=COLOURS[0],
            linewidth=0.9,
            label="generated images",
        )
        panel.set_xlabel("class, by its share among real images")
    else:
        panel.bar(place - 0.2, 100 * real, 0.38, color=COLOURS[2], label="real images")
        panel.bar(place + 0.2, 100 * generated, 0.38, color=COLOURS[0], label="generated images")
        long = max(len(name) for name in classes) > 3
        panel.set_xticks(
            place, classes, rotation=45 if long else 0, ha="right" if long else "center"
        )
        panel.set_xlabel("class")
    panel.set_ylabel("share of the images (%)")
    panel.grid(False, axis="x")
    panel.legend(loc="upper center", bbox_to_anchor=(0.5, 1.13), ncols=2)
    return drawn


@drawing
def maps(
    panels: Sequence[tuple[str, Column, Sequence[int], Column | None]],
    images: NDArray[np.uint8],
    classes: Sequence[str],
    title: str,
    caption: str,
) -> Figure:
    """Images at places in the plane, all the other places as dots.

    Args:
        panels: for each its words, places (N, 2), which of them to draw as images, and the class of
            each for the dots' colour and form.
        images: uint8 (N, C, H, W).
        classes: their names.
    """
    drawn = figure(7.2 * len(panels), 7.4, title, caption)
    points: dict[str, PathCollection] = {}
    for panel, (words, places, chosen, labels) in zip(
        axes(drawn, 1, len(panels))[0], panels, strict=True
    ):
        if labels is None:
            panel.scatter(places[:, 0], places[:, 1], s=7, c=GREY, alpha=0.5, linewidths=0)
        for label in [] if labels is None else sorted({int(one) for one in labels}):
            own = places[np.asarray(labels) == label]
            colour, form = _class_colour(label), MARKERS[label // len(CLASS_COLOURS) % 8]
            points[classes[label]] = panel.scatter(
                own[:, 0], own[:, 1], s=9, c=colour, marker=form, alpha=0.5, linewidths=0
            )
        side = 24 / images.shape[2]
        for number in chosen:
            image = images[number].transpose(1, 2, 0)
            rgb = image if image.shape[2] == 3 else np.repeat(image[:, :, :1], 3, axis=2)
            # The frame stands for the image's dot, which it hides.
            box = AnnotationBbox(
                OffsetImage(rgb, zoom=side),
                tuple(places[number]),
                frameon=labels is not None,
                bboxprops={"edgecolor": GREY if labels is None else _class_colour(labels[number])},
                pad=0.05,
            )
            panel.add_artist(box)
        panel.set_title(words)
        panel.set_xlabel("first principal component")
        panel.set_ylabel("second principal component")
        panel.margins(0.06)
    if 0 < len(points) <= _MOST_NAMED:
        drawn.legend(
            points.values(),
            points.keys(),
            loc="outside right upper",
            title="taken for",
            markerscale=2,
        )
    return drawn


def _class_colour(label: int) -> str:
    """The colour of a class; those of further tens come again, with other markers."""
    return CLASS_COLOURS[int(label) % len(CLASS_COLOURS)]


@drawing
def several(
    runs: Mapping[str, tuple[Mapping[str, Column], Sequence[Mapping[str, float]]]],
    title: str,
    caption: str,
) -> Figure:
    """Both losses of several runs: a row for each network, by step on the left and by epoch on the
    right. Of more runs than there are colours, the next ones are dashed and dotted."""
    names = [in_lines(label, _LABEL) for label in runs]
    lines = sum(1 + name.count("\n") for name in names)
    drawn = figure(12, max(6.6, 1.5 + 0.25 * lines), title, caption)
    panels = axes(drawn, 2, 2)
    looks = [(colour, dash) for dash in ("-", "--", ":", "-.") for colour in COLOURS]
    looks *= 1 + len(runs) // len(looks)
    for row, (key, name) in zip(
        panels, (("loss_d", "discriminator"), ("loss_g", "generator")), strict=True
    ):
        for label, (steps, history), (colour, dash) in zip(
            names, runs.values(), looks, strict=False
        ):
            _by_step(row[0], {label: steps[key]}, [colour], dash)
            epochs = [record["epoch"] for record in history]
            row[1].plot(
                epochs,
                [record[key] for record in history],
                color=colour,
                linestyle=dash,
                label=label,
                marker="o" if len(epochs) <= 30 else None,
            )
        row[1].set_xlabel("epoch")
        row[1].xaxis.set_major_locator(MaxNLocator(integer=True))
        for panel in row:
            panel.set_ylabel(f"loss of the {name}")
    drawn.legend(*panels[0, 1].get_legend_handles_labels(), loc="outside right upper", fontsize=8.5)
    return drawn
