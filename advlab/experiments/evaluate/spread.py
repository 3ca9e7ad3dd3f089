"""An evaluation whose images several processes share.

Each attack of a suite takes the images that are still robust after the one before it. Its first
batch is certain, and may begin, as soon as enough of the earlier batches are known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import JsonValue
from torch import Tensor

from advlab.config.options.run import EvaluateOptions
from advlab.evaluation.entry import Entry
from advlab.experiments.shard_worker import Shard, ShardOutcome
from advlab.experiments.shards import Shards
from advlab.experiments.workers import Crew
from advlab.perturbation.sweep import AttackedBatch, Batches

Make = Callable[[int, Sequence[int]], Shard]
"""From a place among the stages and images to the shard of that attack on them."""


@dataclass(frozen=True)
class Spread:
    """How an evaluation is spread over several processes.

    Attributes:
        crew: the processes.
        mapping: the configuration from which they load the network and the images.
    """

    crew: Crew
    mapping: Mapping[str, object]


@dataclass(frozen=True)
class Stage:
    """One attack of the suite at one ε.

    Attributes:
        settings: what a result says of the attack's settings.
        options: the attack's options.
    """

    entry: Entry
    eps: float
    settings: dict[str, JsonValue]
    options: Any

    @classmethod
    def of(cls, entry: Entry, eps: float, options: EvaluateOptions) -> Stage:
        """The attack at this ε in an evaluation with these options."""
        own = {"seed": entry.seed(options.seed), "batch_size": options.batch_size}
        settings = {**entry.settings, **own}
        surrogate = "another network" if entry.transfer else None
        given = {**settings, "norm": options.norm, "eps": [eps], "surrogate": surrogate}
        return cls(entry, eps, settings, entry.kind().model_validate(given))


class SpreadStages:
    """The attacks of an evaluation, whose batches other processes carry out."""

    def __init__(
        self, shards: Shards, stages: Sequence[Stage], labels: Tensor, batch_size: int
    ) -> None:
        """Of these attacks, in this order; labels (N,) are those of all images."""
        self._shards, self._stages, self._batch = shards, stages, batch_size
        self._labels: list[int] = labels.tolist()

    def begin(self, index: Tensor) -> None:
        """Begin with the first attack on these images (N,), without waiting for it."""
        self._shards.begin(following(self._make, 0, self._end(0), index.tolist(), {}, self._batch))

    def _end(self, first: int) -> int:
        """The place behind ``first`` and the attacks after it whose images can be known before it
        has ended: not those of an attack on the images nearest to being broken, which are chosen
        when all others are known."""
        later = range(first, len(self._stages))
        chosen = (place for place in later if self._stages[place].entry.nearest_first)
        return next(chosen, len(self._stages))

    def batches(self, place: int, index: Tensor) -> Batches:
        """What attacks batches of the images at ``index`` (N,) by the attack at a place."""

        def attacked(eps: float, batches: Sequence[Tensor]) -> Iterator[tuple[int, AttackedBatch]]:
            del eps  # it is that of the stage
            wanted = [self._make(place, index[chosen].tolist()) for chosen in batches]
            numbers = index[torch.cat(list(batches))].tolist()

            def ahead(known: Mapping[Shard, ShardOutcome]) -> Iterator[Shard]:
                return following(self._make, place, self._end(place), numbers, known, self._batch)

            return self._shards.results(wanted, ahead)

        return attacked

    def forget(self, place: int) -> None:
        """Drop the batches of an attack: what came of them is stored."""
        stage = self._stages[place]
        self._shards.forget(stage.entry.label, stage.eps)

    def _make(self, place: int, index: Sequence[int]) -> Shard:
        stage = self._stages[place]
        return Shard(
            stage.entry.label,
            stage.eps,
            tuple(index),
            tuple(self._labels[image] for image in index),
            stage.entry.attack,
            stage.options,
            transfer=stage.entry.transfer,
            judged=True,
        )


def following(
    make: Make,
    first: int,
    end: int,
    index: Sequence[int],
    known: Mapping[Shard, ShardOutcome],
    batch_size: int,
) -> Iterator[Shard]:
    """The shards that can be attacked now, those of earlier attacks first.

    Of an attack's batches those are certain whose images are known to have withstood the attacks
    before it: a batch begins where the one before it ends, so that nothing is certain behind a
    batch that is not known yet.

    Args:
        make: makes a shard.
        first: the place of the attack that is under way.
        end: behind the place of the last one.
        index: the images that it attacks.
        known: the shards that are known.
        batch_size: images in a batch.
    """
    certain, complete = list(index), True
    for place in range(first, end):
        until = len(certain) if complete else len(certain) - len(certain) % batch_size
        shards = [
            make(place, certain[start : start + batch_size])
            for start in range(0, until, batch_size)
        ]
        yield from shards
        certain = []
        for shard in shards:
            outcome = known.get(shard)
            if outcome is None or outcome.reached is None:
                complete = False
                break
            pairs = zip(shard.index, outcome.reached.tolist(), strict=True)
            certain += [image for image, reached in pairs if not reached]
