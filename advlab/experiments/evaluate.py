"""``advlab evaluate``: check the network, run the suite on what still stands, check the result, and write the verdict."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from advlab import names
from advlab.config.commands import EvaluateOptions
from advlab.config.radii import eps_text
from advlab.config.resolve import Config, Plan
from advlab.datasets import _load as datasets
from advlab.datasets._set import Images, ImageSet
from advlab.errors import UserError
from advlab.experiments._checks import postflight, preflight
from advlab.experiments._factory import made_by
from advlab.experiments._grid import run_plan
from advlab.experiments._standing import Standing
from advlab.experiments._verdict import citation, draw, report, verdict
from advlab.experiments._victim import Subject, check_fits, data_for, load_subject, trained
from advlab.metrics.classification import is_correct
from advlab.models._filters import see_through
from advlab.perturbation.geometry import check_radius
from advlab.perturbation.sweep import Tasks, judge, sweep
from advlab.perturbation.victim import Victim
from advlab.runs.files import write_json
from advlab.runs.folder import RunFolder, newest_finished
from advlab.runs.machine import Machine, prepare
from advlab.runs.table import counted, percent
from advlab.suites._entry import Entry
from advlab.training import checkpoint

_PROBE = 100  # images that the checks look at


@dataclass(frozen=True)
class Candidate:
    """The network under evaluation.

    Attributes:
        where: a checkpoint's place or a factory's, by which the run is told from others.
        described: what the verdict says of it.
    """

    network: nn.Module
    label: str
    where: str
    described: dict[str, Any]
    filtered: bool


def main(plan: Plan) -> int:
    """Run every cell of the plan; exit status 0 where all of them finished."""
    return run_plan(plan, run, headline="robust_accuracy")


def run(config: Config, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Evaluate one network, unless the run is there already.

    Returns:
        The run's metrics, with its folder under ``folder``.
    """
    options = config.options
    assert isinstance(options, EvaluateOptions)
    check_radius(options.norm, max(options.eps))
    entries = chosen(config)
    if options.factory and options.checkpoint:
        raise UserError("--factory and --checkpoint each name a network; leave one of them out")
    given = None if options.checkpoint is None else load_subject(options.checkpoint, "--checkpoint")
    data = data_for(options, given) if options.factory is None else datasets.load(options)
    made = made_by(options.factory, data) if options.factory else None
    say(data.introduction())
    candidate = _own(options.factory, made) if made is not None else _ours(given or trained(options, data, say))
    surrogate = _surrogate(options, data, candidate) if any(entry.transfer for entry in entries) else None
    place = {} if made is not None else {"checkpoint": candidate.where, "model": candidate.described["model"]}
    config = config.changed(dataset=data.name, **place)
    folder = RunFolder(config)
    folder.check_unchanged()
    if folder.finished and not options.overwrite:
        metrics = folder.metrics()
        if metrics["network"] != candidate.described:
            raise UserError(f"{folder.path} evaluated an earlier network at {candidate.where}; --overwrite evaluates the one there now")
        say(f"{folder.path} is finished already (--overwrite runs it again)")
        report(metrics, folder.path, say)
        return {**metrics, "folder": str(folder.path)}
    machine = prepare(options)
    if made is not None and options.precision == "auto":
        machine = Machine(machine.device, "fp32")  # whose network may not stand any other
    with folder.claim():
        # Finished now, it was by another process while this one was getting here.
        metrics = folder.metrics() if folder.finished else _evaluate(config, entries, candidate, surrogate, data, machine, folder, say)
    return {**metrics, "folder": str(folder.path)}


def chosen(config: Config) -> list[Entry]:
    """The attacks of the suite, or those of them that ``--attacks`` names.

    Raises:
        UserError: the suite has none of that name.
    """
    options = config.options
    entries: list[Entry] = names.load("advlab.suites", config.component, "suite").entries(options)
    if options.attacks is None:
        return entries
    known = {entry.label.lower(): entry for entry in entries}
    for name in options.attacks:
        if name.lower() not in known:
            labels = [entry.label for entry in entries]
            raise UserError(
                f"--attacks {name}: not in the {config.component} suite{names.suggestion(name, labels)}; it has {', '.join(labels)}"
            )
    wanted = {name.lower() for name in options.attacks}
    return [entry for entry in entries if entry.label.lower() in wanted]


def _ours(subject: Subject) -> Candidate:
    place = subject.file.parent if subject.file.name == checkpoint.FILE else subject.file
    return Candidate(subject.network, subject.label, str(place), subject.describe(), bool(subject.card.filters))


def _own(factory: str | None, network: nn.Module) -> Candidate:
    described = {"model": type(network).__name__, "factory": factory, "sha256": checkpoint.sha256_of(network)}
    return Candidate(network, str(factory), str(factory), described, filtered=False)


def _surrogate(options: EvaluateOptions, data: ImageSet, candidate: Candidate) -> Subject | None:
    """The network that transferred images are made on; None where there is no other one."""
    if options.surrogate is not None:
        subject = load_subject(options.surrogate, "--surrogate")
        check_fits(subject, data)
        return subject
    shape = {"dataset": data.name, "data_sha256": data.sha256()}
    folder = newest_finished(Path(options.out), "train", unlike={"checkpoint_sha256": candidate.described["sha256"]}, **shape)
    return None if folder is None else load_subject(str(folder), "--surrogate")


def _evaluate(
    config: Config,
    entries: Sequence[Entry],
    candidate: Candidate,
    surrogate: Subject | None,
    data: ImageSet,
    machine: Machine,
    folder: RunFolder,
    say: Callable[[str], None],
) -> dict[str, Any]:
    options = config.options
    started = time.perf_counter()
    if candidate.filtered and options.bpda:
        see_through(candidate.network)
    try:
        victim = Victim(candidate.network, machine)
    except RuntimeError as error:  # torch copies only what it made itself
        raise UserError(f"{candidate.where}: this network cannot be copied: {error}") from error
    images = data.test.select(torch.arange(min(options.limit or len(data.test), len(data.test))))
    say(
        f"{config.component} suite on {candidate.label}, {counted(len(images), 'image')} of {data.name}, "
        f"gradients in {machine.precision} on {machine.device}"
    )
    clean = judge(victim, images.inputs(slice(None), "cpu"))
    right = is_correct(clean, images.labels)
    eps = sorted({one for one in options.eps if one > 0})
    probe = right.nonzero().squeeze(1)[:_PROBE]
    looked_at = images.select(probe if len(probe) else torch.arange(min(_PROBE, len(images))))
    failed = preflight(victim, looked_at, options.norm, max(options.eps) or 0.1, options.seed)
    accuracy = int(right.sum()) / len(images)
    if accuracy < 1 / len(data.classes):
        failed["below chance"] = f"accuracy on clean images is {percent(accuracy)}; guessing gives {percent(1 / len(data.classes))}"
    for name, sentence in failed.items():
        say(f"CHECK FAILED: {name}: {sentence}")
    standing = Standing.restored(folder.path) if options.resume else None
    if standing is None:
        standing = Standing(
            images.inputs(slice(None)).clone(),
            torch.where(right, torch.inf, -1.0).double(),
            torch.full((len(images),), -1, dtype=torch.int64),
        )
    skipped = _attack_all(config, entries, victim, surrogate, images, standing, eps, machine, folder, say)
    failed.update(_after(standing, eps, len(images)))
    other = surrogate.describe() if surrogate is not None else None
    metrics = verdict(config, candidate.described, other, data, images, standing, accuracy, failed, skipped, machine)
    metrics["total_seconds"] = round(time.perf_counter() - started, 3)
    draw(folder.path, metrics, eps)
    write_json(folder.path / "verdict.json", citation(metrics))
    folder.finish(metrics)
    report(metrics, folder.path, say)
    return metrics


def _attack_all(
    config: Config,
    entries: Sequence[Entry],
    victim: Victim,
    surrogate: Subject | None,
    images: Images,
    standing: Standing,
    eps: Sequence[float],
    machine: Machine,
    folder: RunFolder,
    say: Callable[[str], None],
) -> dict[str, str]:
    """Every attack at every radius, the smallest first, on whatever still stands; why an attack was left out, by its name."""
    options = config.options
    skipped: dict[str, str] = {}
    source = None if surrogate is None else Victim(surrogate.network, machine)
    for radius in eps:
        for entry in entries:
            if not entry.knows(options.norm):
                skipped[entry.label] = f"it has no {options.norm} form"
            elif entry.transfer and source is None:
                skipped[entry.label] = "no other network on this data set was found; --surrogate names one"
            elif _classes(victim, images) < entry.classes:
                skipped[entry.label] = f"it needs {entry.classes} classes"
            elif not standing.done(entry.label, radius):
                _attack_one(config, entry, victim, source if entry.transfer else None, images, standing, radius, say)
                standing.store(folder.path)
    for label, reason in skipped.items():
        say(f"left out: {label}: {reason}")
    return skipped


def _classes(victim: Victim, images: Images) -> int:
    """How many classes the network tells apart."""
    return int(victim.logits(images.inputs(slice(0, 1), victim.device)).shape[1])


def _attack_one(
    config: Config,
    entry: Entry,
    victim: Victim,
    source: Victim | None,
    images: Images,
    standing: Standing,
    eps: float,
    say: Callable[[str], None],
) -> None:
    options = config.options
    started = time.perf_counter()
    index = standing.index()
    settings = {
        **entry.settings,
        "norm": options.norm,
        "eps": [eps],
        "seed": options.seed,
        "batch_size": options.batch_size,
        "surrogate": "another network" if source is not None else None,
    }
    fell = 0
    if len(index):
        tasks = Tasks(images, index, images.labels[index], targeted=False)
        attack = names.load("advlab.attacks", entry.attack, "attack").perturb
        (point,) = sweep(attack, victim, tasks, entry.kind()(**settings), surrogate=source)
        standing.fell(index[point.reached], point.perturbed[point.reached], entry.label, eps)
        fell = int(point.reached.sum())
    seconds = time.perf_counter() - started
    standing.rows.append(
        {
            "eps": eps,
            "attack": entry.label,
            "sight": entry.sight,
            "given": len(index),
            "fell": fell,
            "left": standing.share(),
            "seconds": round(seconds, 3),
            "settings": {key: value for key, value in settings.items() if key not in ("eps", "norm", "surrogate")},
        }
    )
    if len(index):
        say(f"ε {eps_text(eps)}, {entry.label}: {fell:,} of {len(index):,} fell, {percent(standing.share())} left, {seconds:.1f} s")


def _after(standing: Standing, eps: Sequence[float], total: int) -> dict[str, str]:
    """What is wrong with the result at any radius."""
    found: dict[str, str] = {}
    for radius in eps:
        rows = [row for row in standing.rows if row["eps"] == radius]
        white = [row for row in rows if row["sight"] != "black"]
        if white:
            left = round(white[-1]["left"] * total)
            found.update(postflight({row["attack"]: (row["sight"], row["fell"]) for row in rows}, left, total))
    return found
