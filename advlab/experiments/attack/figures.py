"""Figures of ``advlab attack``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from advlab.components import display_name
from advlab.config.radii import eps_text, norm_name
from advlab.config.references import dataset_title
from advlab.experiments.titles import title_of
from advlab.metrics.classification import confusion_matrix, is_correct
from advlab.metrics.intervals import interval
from advlab.perturbation import geometry
from advlab.perturbation.sweep import SMALLEST_EPS, Point, Tasks
from advlab.plots.confusion import confusion
from advlab.plots.robustness import (
    accuracy_against_eps,
    accuracy_against_norm,
    perceptibility,
    success_by_target,
)
from advlab.plots.sheets import Attacked, Flip, attacked, flips
from advlab.plots.style import save
from advlab.results.attack import AttackResult, PatchAttackResult, TransformedResult
from advlab.runs.table import counted, percent

OnImages = AttackResult | TransformedResult | PatchAttackResult

ROWS = 8
"""Images in a figure at most."""
_COLUMNS = 6


def draw(
    folder: Path,
    result: AttackResult,
    points: Sequence[Point],
    tasks: Tasks,
    clean: Tensor,
    clean_logits: Tensor,
    classes: Sequence[str],
    image: str | None,
) -> None:
    """Draw whatever this attack has to show: one image in full, or flips, confusions, the curve and
    its visibility."""
    caption = caption_of(result)
    what = title_words(result)
    before = clean_logits[tasks.index]
    within = len(points) > 1 and result.images_made_at == SMALLEST_EPS
    if within:
        caption += " · an image broken at a smaller ε is kept as it broke"
    if image is not None:
        pairs = [
            _pair(tasks, clean, before, point, task, classes, _radius(point, within))
            for point in points[-ROWS:]
            for task in range(min(len(tasks), ROWS))
        ]
        title = f"Test image {image}: {what}, {norm_name(result.norm)} norm"
        save(attacked(pairs[:ROWS], title, caption), folder / "attacked.png")
        return
    norm = result.norm
    last = points[-1]
    reached = torch.stack([point.reached for point in points]).any(0)
    flipped = flipped_tasks(reached, tasks, before)
    examples = flipped[: min(4, len(flipped))]
    if examples:
        pairs = [
            _pair(tasks, clean, before, first, task, classes, _extent(result, first, clean, task))
            for task in examples
            for first in [_first(points, task)]
        ]
        title = f"{what}, {_radius(last, within)} ({norm_name(norm)})"
        if len(points) > 1:
            title = f"{what}: images at the smallest ε ({norm_name(norm)}) that breaks them"
        save(attacked(pairs, title, caption), folder / "attacked.png")
        rows = [
            _flip(points, tasks, clean, before, task, classes, within) for task in flipped[:ROWS]
        ]
        title = f"Predictions flipped by {what}, {norm_name(norm)} norm"
        save(flips(rows, title, caption), folder / "flipped.png")
    reach = f"{what}, {_radius(last, within)} ({norm_name(norm)})"
    truth = tasks.images.labels[tasks.index]
    counts, left_out = predictions_by_class(truth, last.logits, len(classes))
    caption += left_out
    if len(tasks) != len(tasks.images):
        caption += f" · {counted(len(tasks), 'attack')}, none towards the class of the image"
    save(
        confusion(
            counts,
            classes,
            f"Predictions under {reach}",
            caption,
            columns="prediction under attack",
        ),
        folder / "confusion.png",
    )
    if result.target == "each":
        cells = confusion_matrix(truth, tasks.classes, len(classes)).numpy()
        hits = confusion_matrix(
            truth[last.reached], tasks.classes[last.reached], len(classes)
        ).numpy()
        fractions = hits / cells.clip(min=1)
        save(
            success_by_target(fractions, cells, classes, f"Reached by {reach}", caption),
            folder / "targets.png",
        )
    if result.smallest is not None:
        marks = [(point.eps, point.robust_accuracy) for point in result.points]
        title = f"Accuracy under {what} by the norm of the perturbation"
        drawn = accuracy_against_norm(
            result.smallest.curve,
            marks,
            len(classes),
            norm,
            title,
            caption,
            limit=result.smallest.eps,
        )
        save(drawn, folder / "norms.png")
    if len(points) > 1:
        name = display_name(result.component)
        line = {name: [(point.eps, point.robust_accuracy) for point in result.points]}
        ends = [interval(accuracy, result.images) for _, accuracy in line[name]]
        drawn = accuracy_against_eps(
            line,
            len(classes),
            norm,
            f"Accuracy under {what}",
            caption,
            within=within,
            intervals={name: ends},
        )
        save(drawn, folder / "curve.png")
        seen = [
            {
                "eps": point.eps,
                "psnr_mean": point.psnr_mean,
                "ssim_mean": point.ssim_mean,
                "robust_accuracy": point.robust_accuracy,
            }
            for point in result.points
            if point.psnr_mean is not None and point.ssim_mean is not None
        ]
        if len(seen) > 1:
            title = f"Visibility of {what}" + (
                " at the smallest ε that breaks each image" if within else ""
            )
            save(
                perceptibility(seen, norm, title, caption, within=within),
                folder / "perceptibility.png",
            )


def title_words(result: OnImages) -> str:
    """Attack, network, data set and target, as titles name them."""
    return (
        f"{display_name(result.component)} against {title_of(result.network)} on "
        f"{dataset_title(result.dataset)}" + (f", towards {result.target}" if result.target else "")
    )


def caption_of(result: OnImages, count: int | None = None) -> str:
    """What every figure of an attack holds for: data, images, clean accuracy and seed.

    Args:
        count: how many of the images the figure is about, where it leaves out those of the target.
    """
    images = counted(result.images, "test image")
    if count is not None and count < result.images:
        images = f"{count:,} of {images}, those that are not of class {result.target}"
        accuracy = f"clean accuracy of all {percent(result.clean_accuracy)}"
    else:
        accuracy = f"clean accuracy {percent(result.clean_accuracy)}"
    parts = [
        result.origin,
        f"{images}, {accuracy}",
        f"seed\N{NO-BREAK SPACE}{result.seed}",
    ]
    if result.surrogate is not None:
        parts.append(f"made on another network, {result.surrogate.model}")
    return " · ".join(parts)


def flipped_tasks(reached: Tensor, tasks: Tasks, before: Tensor) -> list[int]:
    """Tasks that the network had right and the attack brought to their goal, classes taking turns;
    at most twice as many as a figure has rows.

    Args:
        reached: which tasks were brought to their goal, bool (T,).
        before: the network's logits on the unperturbed images, (T, classes).
    """
    labels = tasks.images.labels[tasks.index]
    flipped = (reached & (before.argmax(1) == labels)).nonzero().squeeze(1)
    turn = torch.zeros(len(flipped), dtype=torch.int64)
    for label in labels[flipped].unique():
        members = labels[flipped] == label
        turn[members] = torch.arange(int(members.sum()))
    order = (turn * 10_000 + labels[flipped]).argsort(stable=True)
    return [int(i) for i in flipped[order][: ROWS * 2]]


def _first(points: Sequence[Point], task: int) -> Point:
    """The point of the smallest eps at which the task reached its goal."""
    return next(point for point in points if point.reached[task])


def _radius(point: Point, within: bool = False) -> str:
    """The eps of a point; where ``within``, as the largest that its images were made at."""
    return f"ε {'≤' if within else '='} {eps_text(point.eps)}"


def _extent(result: AttackResult, point: Point, clean: Tensor, task: int) -> str:
    """The eps of a point; of an attack that looks for the smallest perturbation, the norm of what
    it found."""
    if result.smallest is None:
        return _radius(point)
    p = float(result.norm.removeprefix("l"))  # "linf" is among them
    size = geometry.norm(point.perturbed[task : task + 1] - clean[task : task + 1], p)
    return f"{norm_name(result.norm)} norm {float(size):.3g}"


def prediction(logits: Tensor, classes: Sequence[str]) -> str:
    """The most likely class and its probability, such as ``7 (99.8 %)``; where logits are NaN or
    infinite, that there is none."""
    if not bool(logits.isfinite().all()):
        return "no class (not finite)"
    probabilities = torch.softmax(logits.double(), dim=0)
    best = int(logits.argmax())
    return f"{classes[best]} ({100 * float(probabilities[best]):.1f} %)"


def is_right(logits: Tensor, label: int) -> bool:
    """Whether the logits (classes,) of one image have their strict maximum at its label."""
    return bool(is_correct(logits[None], torch.tensor([label]))[0])


def predictions_by_class(
    labels: Tensor, logits: Tensor, classes: int
) -> tuple[NDArray[np.int64], str]:
    """How often images of each class are taken for each, (classes, classes), and what a caption
    says of those that are taken for none, since their logits are NaN or infinite."""
    finite = logits.isfinite().all(dim=1)
    counts = confusion_matrix(labels[finite], logits[finite].argmax(1), classes).numpy()
    missing = int((~finite).sum())
    if not missing:
        return counts, ""
    return counts, f" · left out: {counted(missing, 'image')} whose outputs are not finite"


def _pair(
    tasks: Tasks,
    clean: Tensor,
    before: Tensor,
    point: Point,
    task: int,
    classes: Sequence[str],
    words: str,
) -> Attacked:
    label = int(tasks.images.labels[tasks.index[task]])
    return Attacked(
        clean[task].numpy(),
        point.perturbed[task].numpy(),
        prediction(before[task], classes),
        prediction(point.logits[task], classes),
        words,
        int(tasks.numbers[task]),
        None if is_right(before[task], label) else classes[label],
    )


def _flip(
    points: Sequence[Point],
    tasks: Tasks,
    clean: Tensor,
    before: Tensor,
    task: int,
    classes: Sequence[str],
    within: bool,
) -> Flip:
    label = int(tasks.images.labels[tasks.index[task]])
    selected = [point for point in points if point.eps > 0][-_COLUMNS:]
    return Flip(
        truth=f"{classes[label]}, no. {int(tasks.numbers[task])}",
        pixels=[clean[task].numpy(), *[point.perturbed[task].numpy() for point in selected]],
        said=[
            prediction(before[task], classes),
            *[prediction(point.logits[task], classes) for point in selected],
        ],
        right=[
            is_right(before[task], label),
            *[is_right(point.logits[task], label) for point in selected],
        ],
        heads=["unattacked", *[_radius(point, within) for point in selected]],
    )
