"""Shards: the batches of images of one run, spread over several processes.

A shard is a batch that a single process would have attacked as well, of the same images in the same
order. What comes of it depends on nothing else, so that the run has the same bits wherever its
shards are carried out, and in whatever order.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import astuple
from itertools import chain
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from advlab.config.radii import eps_text
from advlab.errors import EnvironmentFailure, UsageError
from advlab.experiments.cell_queue import POLL
from advlab.experiments.shard_worker import Job, Shard, ShardOutcome, attack_shard
from advlab.experiments.workers import KILLED, MOST_RETRIES, Team, WorkerKilled
from advlab.perturbation.sweep import AttackedBatch
from advlab.perturbation.victim import GradientCount
from advlab.runs import sealed

WORTH_STORING = 1.0
"""Seconds that a shard must have taken to be written down: what takes less is attacked again."""

Ahead = Callable[[Mapping[Shard, ShardOutcome]], Iterable[Shard]]
"""From the shards that are known: those that will be asked for later, the first ones first."""


class Shards:
    """The shards of one run: those at work, and those that are known.

    What took long is written to the run's folder, from which a resumed run goes on.
    """

    def __init__(self, team: Team, job: Job, folder: Path, resume: bool) -> None:
        """Of a run in a claimed folder; ``resume`` says whether to look for what an interrupted
        run has left there."""
        self._team, self._job, self._folder = team, job, folder
        self._stored = {file.name for file in folder.glob("resume-shard-*")} if resume else set()
        self._known: dict[Shard, ShardOutcome] = {}
        self._at_work: dict[Future[Any], Shard] = {}
        self._killed = Counter[Shard]()
        self._done: SimpleQueue[Future[Any]] = SimpleQueue()

    def begin(self, shards: Iterable[Shard]) -> None:
        """Submit as many of the shards as the team can begin now, without waiting for them."""
        submitted = set(self._at_work.values())
        free = self._team.capacity() - len(submitted)
        for shard in shards:
            if free <= 0:
                return
            if shard in submitted or self._restored(shard) is not None:
                continue
            future = self._team.submit(attack_shard, self._job, shard)
            self._at_work[future] = shard
            future.add_done_callback(self._done.put)
            submitted.add(shard)
            free -= 1

    def results(
        self, wanted: Sequence[Shard], ahead: Ahead = lambda known: ()
    ) -> Iterator[tuple[int, AttackedBatch]]:
        """Place and outcome of each wanted shard, as they are done.

        Where a process has none of them to do, it begins with those ``ahead``.

        Raises:
            UsageError: the request is wrong, as a worker found.
            EnvironmentFailure: a worker was killed over a shard again and again, or something
                outside failed.
        """
        missing = dict(enumerate(wanted))
        while missing:
            for place, shard in list(missing.items()):
                outcome = self._restored(shard)
                if outcome is not None and outcome.batch is not None:
                    del missing[place]
                    yield place, outcome.batch
            if missing:
                self.begin(chain(missing.values(), ahead(self._known)))
                with contextlib.suppress(Empty):
                    self._take_in(self._done.get(timeout=POLL))

    def forget(self, label: str, eps: float) -> None:
        """Drop the shards of an attack at an eps, here and in the folder: the run has stored what
        came of them."""
        for shard in [one for one in self._known if (one.label, one.eps) == (label, eps)]:
            del self._known[shard]
            (self._folder / _file_of(shard)).unlink(missing_ok=True)

    def _take_in(self, future: Future[Any]) -> None:
        """Note what became of a shard; one whose worker was killed is no longer at work."""
        shard = self._at_work.pop(future)
        try:
            outcome: ShardOutcome = future.result()
        except WorkerKilled as error:
            self._killed[shard] += 1
            if self._killed[shard] > MOST_RETRIES or error.final:
                raise EnvironmentFailure(f"{_described(shard)}: {KILLED}") from None
            return
        if outcome.usage_error:
            raise UsageError(outcome.refusal)
        if outcome.batch is None:
            raise EnvironmentFailure(outcome.refusal)
        self._known[shard] = outcome
        if outcome.batch.seconds >= WORTH_STORING:
            _store(self._folder / _file_of(shard), outcome, outcome.batch)

    def _restored(self, shard: Shard) -> ShardOutcome | None:
        """What is known of a shard, perhaps from an interrupted run.

        Raises:
            UsageError: the file belongs to a run of other settings, data or networks.
            EnvironmentFailure: it is damaged.
        """
        if shard not in self._known and self._stored and _file_of(shard) in self._stored:
            outcome = _read(self._folder / _file_of(shard))
            if outcome is not None:
                self._known[shard] = outcome
        return self._known.get(shard)


def _described(shard: Shard) -> str:
    """A shard in words."""
    return (
        f"{shard.label} at ε {eps_text(shard.eps)} on {len(shard.index)} images from number "
        f"{shard.index[0]} on"
    )


def _file_of(shard: Shard) -> str:
    """Name of the file that holds a shard. A finished run removes files of such names."""
    key = json.dumps([shard.label, shard.eps, shard.index, shard.classes])
    return f"resume-shard-{hashlib.sha256(key.encode()).hexdigest()[:20]}.safetensors"


def _store(file: Path, outcome: ShardOutcome, batch: AttackedBatch) -> None:
    tensors = {"perturbed": batch.perturbed}
    if outcome.reached is not None:
        tensors["reached"] = outcome.reached
    counts = {"gradients": json.dumps(astuple(batch.gradients)), "seconds": repr(batch.seconds)}
    sealed.write_tensors(file, tensors, counts)


def _read(file: Path) -> ShardOutcome | None:
    content = sealed.read_tensors(file)
    if content is None:
        return None
    tensors, counts = content
    gradients = GradientCount(*json.loads(counts["gradients"]))
    batch = AttackedBatch(tensors["perturbed"], gradients, float(counts["seconds"]))
    return ShardOutcome(batch, tensors.get("reached"))
