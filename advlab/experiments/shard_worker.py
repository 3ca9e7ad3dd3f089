"""What a worker process does with a shard of images: it attacks them as one process would have."""

from __future__ import annotations

import copy
import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from advlab.components import load_component
from advlab.config.resolve import from_mapping
from advlab.data.image_set import Images
from advlab.errors import AdvlabError, EnvironmentFailure, UsageError
from advlab.evaluation.certify import Smoothing, Vote, certify_image
from advlab.experiments.target_images import as_surrogate, with_images
from advlab.experiments.target_model import named
from advlab.experiments.workers import own_threads
from advlab.networks.filters import see_through
from advlab.perturbation.sweep import AttackedBatch, Tasks, attack_batch
from advlab.perturbation.victim import Victim
from advlab.progress import silence
from advlab.runs.machine import Machine, prepare


@dataclass(frozen=True)
class Job:
    """A run whose shards are spread: what a worker loads once, and keeps until it gets another.

    Attributes:
        mapping: the run's configuration, as ``to_mapping`` writes it. It names the network.
        contents: sha256 of what was loaded from it in the first process, by what it is; a worker
            must find the same.
        surrogate: what names the network that images are made on, where it is another one.
        machine: device and precision.
        threads: that each process computes with.
        first: the number of the first test image.
        images: how many test images there are, from that one on.
        transparent: whether input filters are passed backwards (BPDA).
    """

    mapping: Mapping[str, object]
    contents: Mapping[str, str]
    surrogate: str | None
    machine: Machine
    threads: int
    first: int
    images: int
    transparent: bool = False


@dataclass(frozen=True)
class Shard:
    """One batch of tasks under one attack at one ε.

    Two shards are equal where the same comes of them: an attack's label stands for its settings.

    Attributes:
        label: what the run calls the attack.
        eps: radius, in pixel units of the norm.
        index: the task's images, numbered from the first one of the run.
        classes: the class to leave or to reach, for each of them.
        attack: a file of ``advlab/attacks``.
        options: the attack's options.
        targeted: whether classes are to be reached.
        transfer: whether the images are made on the surrogate.
        judged: whether ``ShardOutcome.reached`` is asked for.
    """

    label: str
    eps: float
    index: tuple[int, ...]
    classes: tuple[int, ...]
    attack: str = field(compare=False)
    options: Any = field(compare=False)
    targeted: bool = field(default=False, compare=False)
    transfer: bool = field(default=False, compare=False)
    judged: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class ShardOutcome:
    """What became of a shard.

    Attributes:
        batch: what the attack made of it; None where something stopped it.
        reached: which tasks reached their goal as far as this batch shows, bool (B,); None where
            it was not asked for. Figures rest on the logits of fixed batches instead, whose last
            bits may differ.
        refusal: why it was stopped, in a line.
        usage_error: whether the request is wrong.
    """

    batch: AttackedBatch | None
    reached: Tensor | None = None
    refusal: str = ""
    usage_error: bool = False


@dataclass(frozen=True)
class _Loaded:
    """What the shards of a job have in common."""

    images: Images
    victim: Victim
    source: Victim | None


# Of the last job. A worker has one run at a time, and two networks may be too large for it.
_kept: list[tuple[Job, _Loaded]] = []


def attack_shard(job: Job, shard: Shard) -> ShardOutcome:
    """Attack a shard in this process, one of several that share a terminal or have none."""
    silence()
    try:
        with own_threads():
            return _attack(_loaded(job), job, shard)
    except UsageError as error:
        return ShardOutcome(None, refusal=str(error), usage_error=True)
    except (AdvlabError, OSError) as error:
        return ShardOutcome(None, refusal=str(error))
    except Exception as error:
        raise _portable(error) from None


def certify_shard(job: Job, numbers: Sequence[int], smoothing: Smoothing) -> list[Vote]:
    """Certify the images of these numbers in this process, as ``attack_shard`` attacks.

    Raises:
        AdvlabError: as of ``attack_shard``'s outcome.
    """
    silence()
    try:
        with own_threads():
            loaded = _loaded(job)
            network, machine = loaded.victim.exact, job.machine
            return [
                certify_image(network, loaded.images, number, smoothing, machine)
                for number in numbers
            ]
    except Exception as error:
        raise _portable(error) from None


def _portable(error: Exception) -> Exception:
    """The error, or one that says the same and reaches the first process whole."""
    try:
        copy.copy(error)  # made anew from its arguments, as by the first process
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _loaded(job: Job) -> _Loaded:
    """The network and the images of a job, loaded where they are not those of the last one.

    Raises:
        UsageError: they are not those that the first process loaded.
    """
    options = from_mapping(job.mapping).options
    prepare(options)
    torch.set_num_threads(job.threads)
    if _kept and _kept[0][0] == job:
        return _kept[0][1]
    _kept.clear()
    gc.collect()
    target, data = with_images(options, named(options), job.machine.device)
    if target is None:
        raise UsageError("a shard's configuration names no network")
    contents = {"data": data.sha256(), **target.contents}
    if job.transparent:
        see_through(target.network)
    source = None
    if job.surrogate is not None:
        surrogate = as_surrogate(job.surrogate, data, job.machine.device)
        contents |= surrogate.contents_as("surrogate")
        source = Victim(surrogate.network, job.machine)
    _check_same(job, contents)
    chosen = torch.arange(job.first, job.first + job.images)
    loaded = _Loaded(data.test.select(chosen), Victim(target.network, job.machine), source)
    _kept.append((job, loaded))
    return loaded


def _check_same(job: Job, contents: Mapping[str, str]) -> None:
    """Refuse what is not the same in every process.

    Raises:
        EnvironmentFailure: something is not.
    """
    differing = [name for name, sha256 in job.contents.items() if contents.get(name) != sha256]
    if differing:
        raise EnvironmentFailure(
            f"a worker loaded another {differing[0]} than the first process; files may have "
            "changed, or code may draw random weights; leave out --workers and --cluster"
        )


def _attack(loaded: _Loaded, job: Job, shard: Shard) -> ShardOutcome:
    index, classes = torch.tensor(shard.index), torch.tensor(shard.classes)
    tasks = Tasks(loaded.images, index, classes, shard.targeted, job.first)
    everything = torch.arange(len(tasks))
    source = loaded.victim
    if shard.transfer:
        assert loaded.source is not None
        source = loaded.source
    attack = load_component("advlab.attacks", shard.attack, "attack").perturb
    batch = attack_batch(attack, source, tasks, everything, shard.eps, shard.options)
    if not shard.judged:
        return ShardOutcome(batch)
    device = loaded.victim.device
    logits = loaded.victim.logits(batch.perturbed.to(device))
    return ShardOutcome(batch, tasks.goal(everything, device).reached(logits).cpu())
