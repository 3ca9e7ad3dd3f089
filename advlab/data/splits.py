"""Stratified sampling of validation sets, test sets and smaller training sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from advlab.errors import UsageError

Index = NDArray[np.int64]

_FEWEST, _REPEATED = 12, 4  # examples in all, and beyond the first of each class
_PAIRS = 8  # neighbours of other classes that random order would make, at least


def sizes_in_words(train: int, val: int, test: int) -> str:
    """How many examples each split holds, such as "split into 80 for training, 10 for validation
    and 10 for testing"; empty where there is nothing to train on."""
    if train + val == 0:
        return ""
    return f"split into {train:,} for training, {val:,} for validation and {test:,} for testing"


def counts_per_class(counts: Index, total: int, min_kept: int) -> Index:
    """Return how many examples of each class to draw, in proportion to ``counts``.

    At least one example of every class is drawn and at least ``min_kept`` remain. The numbers are
    rounded by the largest-remainder method; ties go to the lower label.

    Args:
        counts: examples of each class, int64 (classes,).
        total: number of examples to draw.
        min_kept: examples of each class that must remain.

    Raises:
        ValueError: the constraints cannot be met.
    """
    upper = counts - min_kept
    if total < len(counts) or total > upper.sum() or (upper < 1).any():
        raise ValueError(f"cannot draw {total} from classes of {counts.tolist()} images")
    ideal = counts * (total / counts.sum())
    drawn: Index = np.clip(np.floor(ideal).astype(np.int64), 1, upper)
    while (missing := total - int(drawn.sum())) != 0:
        gap = ideal - drawn
        if missing > 0:
            drawn[int(np.argmax(np.where(drawn < upper, gap, -np.inf)))] += 1
        else:
            drawn[int(np.argmin(np.where(drawn > 1, gap, np.inf)))] -= 1
    return drawn


def stratified_draw(labels: Index, total: int, seed: int, min_kept: int = 1) -> tuple[Index, Index]:
    """Draw ``total`` examples in the proportions of their classes.

    The result depends only on the arguments. It uses NumPy's RandomState, whose stream is frozen,
    so that a split is the same under every version of the libraries.

    Args:
        labels: class of each example, int64 (N,).
        total: number of examples to draw.
        min_kept: examples of each class that must remain.

    Returns:
        Indices of the remaining and of the drawn examples, each in ascending order.
    """
    present, counts = np.unique(labels, return_counts=True)
    random = np.random.RandomState(seed)
    drawn = np.zeros(len(labels), dtype=bool)
    for label, count in zip(
        present, counts_per_class(counts.astype(np.int64), total, min_kept), strict=True
    ):
        members = np.flatnonzero(labels == label)
        drawn[random.permutation(members)[:count]] = True
    return np.flatnonzero(~drawn), np.flatnonzero(drawn)


def draw_fraction(
    labels: Index,
    fraction: float,
    seed: int,
    where: str,
    classes: Sequence[str] | None = None,
    parts: int = 2,
    places: Mapping[int, str] | None = None,
) -> tuple[Index, Index]:
    """Draw a fraction of the examples by class, at least one of each class.

    Args:
        labels: class of each example, int64 (N,).
        fraction: fraction to draw, rounded to whole examples.
        where: file or folder to name in the error message.
        classes: class names by label, for the message; the labels where not given.
        parts: how many parts every class will be in: 3 if another one is drawn from the rest.
        places: where the first example of each class is, for the message.

    Returns:
        Indices of the remaining and of the drawn examples, as ``stratified_draw`` returns them.

    Raises:
        UsageError: a class has fewer examples than there are parts.
    """
    present, counts = np.unique(labels, return_counts=True)
    fewest = int(counts.min())
    if fewest < parts:
        label = int(present[counts.argmin()])
        examples = f"{fewest} example" + "s" * (fewest != 1)
        if places is not None and label in places:
            examples += f" ({'first ' * (fewest > 1)}in {places[label]})"
        raise UsageError(
            f"{where}: class {label if classes is None else repr(classes[label])} has {examples}; "
            f"a split into {parts} parts needs at least {parts} of each class"
        )
    upper = int((counts - (parts - 1)).sum())
    total = min(max(round(len(labels) * fraction), len(present)), upper)
    return stratified_draw(labels, total, seed, min_kept=parts - 1)


def is_by_class(labels: Tensor) -> bool:
    """Return whether examples are stored class by class: neighbours differ in class less than half
    as often as in a random order, or each class stands in one piece, or labels only ascend. That is
    not asked of so few examples that chance might do it.

    Args:
        labels: int64 (N,).
    """
    counts = torch.bincount(labels)
    fractions = counts.double() / max(1, len(labels))
    expected = float((len(labels) - 1) * (1 - fractions.square().sum()))
    changes = int((labels[1:] != labels[:-1]).sum())
    present = int((counts > 0).sum())
    if len(labels) < _FEWEST or present < 2:
        return False
    in_one_piece = changes + 1 == present and len(labels) - present >= _REPEATED
    ascending = bool((labels[1:] >= labels[:-1]).all())
    return in_one_piece or ascending or (expected >= _PAIRS and changes < expected / 2)


def drawn_order(count: int) -> Tensor:
    """Return the numbers from 0 to ``count`` - 1 in a random order, the same each time, int64."""
    return torch.from_numpy(np.random.RandomState(0).permutation(count))
