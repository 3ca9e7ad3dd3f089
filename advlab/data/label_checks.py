"""Checks of labels before training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from advlab.errors import EnvironmentFailure


def check_labels(
    labels: NDArray[np.integer], images: int, classes: int, path: Path, every_class: bool
) -> None:
    """Check labels read from ``path`` against the numbers of images and classes.

    Args:
        every_class: whether each class must occur; True for training data.

    Raises:
        EnvironmentFailure: the counts differ, a label is out of range, or a class is missing. The
            message names ``path``.
    """
    if len(labels) != images:
        raise EnvironmentFailure(f"{path}: {len(labels):,} labels for {images:,} images")
    if not images:
        raise EnvironmentFailure(f"{path}: no images")
    outside = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(outside):
        first = int(outside[0])
        raise EnvironmentFailure(
            f"{path}: label {int(labels[first])} of image {first} is out of range; labels go "
            f"from 0 to {classes - 1}"
        )
    if every_class:
        missing = np.flatnonzero(np.bincount(labels.astype(np.int64), minlength=classes) == 0)
        if len(missing):
            raise EnvironmentFailure(
                f"{path}: no image of class {int(missing[0])}; all {classes} classes must occur"
            )
