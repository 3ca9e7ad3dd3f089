"""Attacks with a budget that follows what they win: the images nearest to being broken first."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from torch import Tensor

from advlab.evaluation.entry import Entry
from advlab.networks.operations import OperationCount
from advlab.perturbation.goal import Goal
from advlab.perturbation.randomness import repeatable
from advlab.perturbation.sweep import Point
from advlab.perturbation.victim import Victim

_FIRST = 20  # the first group is one of so many parts of all images
_LEAST = 25  # images in it
_NEARLY_ALL = 0.8  # of a group: where so many break, all others are attacked together
_SOME = 0.1  # of a group: where fewer break, the next one is no larger
_BATCHES = 4  # of a group, for processes that share it
_SMALLEST_BATCH = 25
# Operations of a forward pass, one or two milliseconds on a core, beside which the calls that every
# step of an attack makes whatever the batch take little
_WORTH_A_CALL = 1.5e8


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
    attacks so far. The next one is as large where less than a tenth of it broke, else twice as
    large, and holds all that are left where nearly all of it broke. So an attack that breaks
    nothing costs little, and one that breaks much is carried out on all images.

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
        if broken >= _NEARLY_ALL * len(group):
            size = len(rest)
        elif broken >= _SOME * len(group):
            size *= 2


@dataclass(frozen=True)
class BatchSizes:
    """How many images are in a batch.

    That does not depend on how many processes there are, since the last bits of a result change
    with the batch.

    Attributes:
        most: in any batch.
        fewest: in a batch of a group of images nearest to being broken that has more.
    """

    most: int
    fewest: int = _SMALLEST_BATCH

    @classmethod
    def of_network(cls, victim: Victim, images: Tensor, most: int) -> BatchSizes:
        """Those of a network: 25 images at least, or more where it is so small that the calls
        around it would take longer than itself.

        The operations of its convolutions and products of matrices are counted in one forward pass.
        Where they cannot be, as in a network that TorchScript compiled, it is taken for a large
        one.

        Args:
            images: any of those that it is evaluated on, (N, C, H, W).
        """
        images = images[:_SMALLEST_BATCH].to(victim.device)
        counter = OperationCount()
        # A compiled network refuses to be looked into, in more ways than can be listed. What
        # matters is seen by all that follows.
        with repeatable(0, victim.device), suppress(Exception), counter:
            victim.logits(images)
        operations = counter.total / len(images)
        enough = math.ceil(_WORTH_A_CALL / operations) if operations else 0
        return cls(most, min(most, max(_SMALLEST_BATCH, enough)))

    def of(self, entry: Entry, group: int) -> int:
        """Of so many images that an attack takes together: ``most``, or fewer of a small group, so
        that several processes have something to do."""
        if not entry.nearest_first:
            return self.most
        return min(self.most, max(self.fewest, math.ceil(group / _BATCHES)))
