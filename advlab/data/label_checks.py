"""Checks of labels before training, and remarks on classes without examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from advlab.data import label_names
from advlab.errors import EnvironmentFailure, UsageError

_LAST_BYTE = 255  # what segmentation and other data sets of bytes write for "no label"


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


def check_parts(
    place: str, classes: Sequence[str], labels: Mapping[str, NDArray[np.int64]], noun: str
) -> None:
    """Check that two classes or more are trained, and every class that is tested.

    Nothing is checked where there are no training examples.

    Args:
        place: what a refusal begins with.
        labels: labels of the ``training``, ``validation`` and ``test`` examples.
        noun: what the examples are, in the plural.

    Raises:
        UsageError: the training examples are of one class, or a class of the other examples is not
            among theirs.
    """
    trained = set(np.unique(labels["training"]).tolist())
    if len(trained) == 1:
        raise UsageError(
            f"{place}: all training {noun} are of the class {classes[trained.pop()]!r}; at least "
            "two classes are needed"
        )
    for part in ("validation", "test") if trained else ():
        if unknown := sorted(set(np.unique(labels[part]).tolist()) - trained):
            raise UsageError(
                f"{place}: the class {classes[unknown[0]]!r} of the {part} {noun} is not among the "
                f"training {noun}"
            )


def absent_classes(
    classes: Sequence[str], labels: Mapping[str, NDArray[np.int64]], noun: str
) -> list[str]:
    """Return sentences on the classes without any example, and on those that are not tested.

    Args:
        labels: labels of the examples by part, of which one is ``test``.
        noun: what an example is, in the singular.
    """
    present = {part: set(np.unique(one).tolist()) for part, one in labels.items()}
    somewhere = set().union(*present.values())
    empty = [name for label, name in enumerate(classes) if label not in somewhere]
    untested = [classes[label] for label in sorted(somewhere - present["test"])]
    return [
        f"classes without {article} {noun}: {_listed(names)}"
        for article, names in (("any", empty), ("a test", untested))
        if names
    ]


def unlabelled(classes: Sequence[str], noun: str) -> list[str]:
    """Return a sentence about classes that may mark examples without a label.

    That is -1 beside at least two others, as of STL-10's images; of -1 and 1 alone both are meant
    as classes. It is 255, the largest byte, far beyond all others. And it is a name such as
    ``N/A``.

    Args:
        noun: what the examples are, in the plural.
    """
    several = len(classes) > 2
    numbers = [int(name) for name in classes if name.isdecimal()]
    odd = {"-1"} if several else set()
    if several and len(numbers) == len(classes) and sorted(numbers)[-2] < _LAST_BYTE // 2:
        odd.add(str(_LAST_BYTE))
    names = [name for name in classes if label_names.perhaps_missing(name) or name in odd]
    if not names:
        return []
    one = len(names) == 1
    like = "is a class like any other" if one else "are classes like any others"
    marks = "it marks" if one else "they mark"
    return [f"{_listed(names)} {like} here; if {marks} {noun} without a label, leave them out"]


def _listed(names: Sequence[str]) -> str:
    """At most three names, and how many there are of more."""
    more = f", … ({len(names):,} classes)" if len(names) > 3 else ""
    return ", ".join(map(repr, names[:3])) + more
