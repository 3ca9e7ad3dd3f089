"""Attacks with a budget that follows what they win: the images nearest to being broken first."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from torch import Tensor

from advlab.evaluation.entry import Entry
from advlab.perturbation.goal import Goal
from advlab.perturbation.sweep import Point

_FIRST = 20  # the first group is one of so many parts of all images
_LEAST = 25  # images in it
_NEARLY_ALL = 0.8  # of a group: where so many break, all others are attacked together
_BATCHES = 4  # of a group, for processes that share it
_SMALLEST_BATCH = 25


def leads(logits: Tensor, labels: Tensor) -> Tensor:
    """By how much the best wrong class exceeds the true one, (N,): below 0 for images that are
    classified correctly, and nearer to 0 the nearer they are to being broken.

    Args:
        logits: (N, classes).
        labels: true classes, int64 (N,).
    """
    return Goal(labels).loss(logits, "margin").double()


def attacked(
    index: Tensor,
    nearest: Tensor,
    labels: Tensor,
    attack: Callable[[Tensor], Point],
    *,
    nearest_first: bool,
) -> Iterator[tuple[Tensor, Point]]:
    """Attack images; yield those that were attacked together, and what came of them.

    Without ``nearest_first`` these are all of them. With it they are groups, until one withstands
    whole. The first is a twentieth of all images, those whose lead came nearest to 0 under the
    attacks so far. Each further one is twice as large, or holds all that are left where nearly all
    of the one before broke. So an attack that breaks nothing costs little, and one that breaks much
    is carried out on all images.

    Args:
        index: the images to attack, ascending, int64 (M,).
        nearest: the largest lead of each image so far, of all images, float64 (N,). Those of
            attacked images are raised here.
        labels: true classes of all images, int64 (N,).
        attack: attacks the images at an index (K,), untargeted.
    """
    rest, size = index, len(index)
    if nearest_first:
        rest = index[nearest[index].argsort(descending=True, stable=True)]
        size = max(_LEAST, math.ceil(len(nearest) / _FIRST))
    while len(rest):
        if len(rest) < 1.5 * size:  # no group of a few images, which would take as long
            size = len(rest)
        group, rest = rest[:size].sort().values, rest[size:]
        point = attack(group)
        nearest[group] = nearest[group].maximum(leads(point.logits, labels[group]))
        yield group, point
        broken = int(point.reached.sum())
        if broken == 0:
            return
        size = len(rest) if broken >= _NEARLY_ALL * len(group) else 2 * size


def batch_of(entry: Entry, group: int, most: int) -> int:
    """How many of the images that an attack takes together are in a batch: ``most``, or fewer of a
    small group, so that several processes have something to do.

    It does not depend on how many processes there are, since the last bits of a result change with
    the batch.
    """
    if not entry.nearest_first:
        return most
    return min(most, max(_SMALLEST_BATCH, math.ceil(group / _BATCHES)))
