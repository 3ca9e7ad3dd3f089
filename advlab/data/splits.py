"""Stratified draws: validation sets and smaller training sets."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from advlab.errors import UsageError

Index = NDArray[np.int64]


def shares(counts: Index, total: int, leave: int) -> Index:
    """How many to draw of each class so that ``total`` are drawn in the proportion of ``counts``.

    Every class gives at least one and keeps at least ``leave``; what is left after rounding down
    goes to the largest remainders, the lower label first.

    Raises:
        ValueError: that cannot be done.
    """
    most = counts - leave
    if total < len(counts) or total > most.sum() or (most < 1).any():
        raise ValueError(f"cannot draw {total} from classes of {counts.tolist()} images")
    ideal = counts * (total / counts.sum())
    drawn: Index = np.clip(np.floor(ideal).astype(np.int64), 1, most)
    while (missing := total - int(drawn.sum())) != 0:
        gap = ideal - drawn
        if missing > 0:
            drawn[int(np.argmax(np.where(drawn < most, gap, -np.inf)))] += 1
        else:
            drawn[int(np.argmin(np.where(drawn > 1, gap, np.inf)))] -= 1
    return drawn


def draw(labels: Index, total: int, seed: int, leave: int = 1) -> tuple[Index, Index]:
    """Positions of the images that stay and of the ``total`` that are drawn, each in ascending
    order.

    The draw is by class and depends on the labels, ``total`` and ``seed`` alone. It comes from
    numpy's RandomState, whose stream is frozen for good, so that a split is the same under every
    version of the libraries.

    Args:
        labels: class of each image, int64 of shape (N,).
        leave: how many images of a class must stay.
    """
    present, counts = np.unique(labels, return_counts=True)
    random = np.random.RandomState(seed)
    drawn = np.zeros(len(labels), dtype=bool)
    for label, count in zip(present, shares(counts.astype(np.int64), total, leave), strict=True):
        members = np.flatnonzero(labels == label)
        drawn[random.permutation(members)[:count]] = True
    return np.flatnonzero(~drawn), np.flatnonzero(drawn)


def draw_share(labels: Index, share: float, seed: int, where: str) -> tuple[Index, Index]:
    """``draw`` of a share of the images, rounded, and at least one of each class.

    Raises:
        UsageError: a class has fewer than two images, so it cannot stand on both sides.
    """
    present, counts = np.unique(labels, return_counts=True)
    if counts.min() < 2:
        raise UsageError(
            f"{where}: class {int(present[counts.argmin()])} has a single image; a split needs "
            "at least 2 of each class"
        )
    most = int((counts - 1).sum())
    return draw(labels, min(max(round(len(labels) * share), len(present)), most), seed)
