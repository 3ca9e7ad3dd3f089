"""The life-cycle of a run: find, compare, claim, resume, measure, write, report."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

from advlab.config.resolve import Config
from advlab.errors import EnvironmentFailure
from advlab.logs import logger
from advlab.runs import checksums, machine, pruning, results, tracking
from advlab.runs.folder import RunFolder, files_in, without_waiting
from advlab.runs.processes import LeftToFirst, Processes, current, taking_part
from advlab.runs.results import Finished, Result

_BEGIN = "begin "

R = TypeVar("R", bound=Result)


@dataclass(frozen=True)
class Experiment(Generic[R]):
    """One run, as an experiment describes it.

    Attributes:
        config: the settled configuration: nothing in it is left to be chosen.
        contents: sha256 of the data and of every network that the run starts from, by what it is.
        result: the class of what it reports.
        measure: carries the work out in the claimed folder, which it is given: trains, measures,
            writes files, draws. It goes on from what an interrupted run of the same identity left
            there.
        report: prints a result, of this moment or of an earlier one, without the files, which are
            named after it; nothing else is printed where this is None.
        name: the folder's name where ``--name`` gives none; derived from ``config`` where this is
            None.
    """

    config: Config
    contents: Mapping[str, str]
    result: type[R]
    measure: Callable[[Path], R]
    report: Callable[[R], None] | None = None
    name: str | None = None


def carry_out(experiment: Experiment[R]) -> Finished[R]:
    """Carry the run out, unless it is finished already; either way its report is printed.

    Where another process is at work on the same run, this one waits, and finds the run finished or
    goes on with what the other left. Several processes that carry out the run together do not wait.
    The first of them does all of this, and the others join in the training only.

    Raises:
        HeldElsewhere: another process is at work on the run, and nobody is to wait for it.
        UsageError: the folder holds another run, or files that are not advlab's; or the machine has
            not what is asked for.
        EnvironmentFailure: a finished run's files are not those that it wrote.
    """
    processes = current()
    if processes.size == 1:
        return _alone(experiment)
    if processes.rank:
        return _following(experiment, processes)
    with without_waiting():
        finished = _alone(_leading(experiment, processes))
    processes.announce(finished.result.model_dump_json())
    return finished


def _leading(experiment: Experiment[R], processes: Processes) -> Experiment[R]:
    """The run of the first of several processes, whose measurement the others join."""
    identity = RunFolder.of(experiment.config, experiment.contents).identity.text()

    def measure(folder: Path) -> R:
        processes.announce(_BEGIN + identity)
        with taking_part(processes):  # until the measurement leaves the others out
            result = experiment.measure(folder)
        record = result.machine.model_copy(update={"processes": processes.size})
        return result.model_copy(update={"machine": record})

    return replace(experiment, measure=measure)


def _following(experiment: Experiment[R], processes: Processes) -> Finished[R]:
    """The run of another process: its part of the training, and the result of the first one.

    Raises:
        EnvironmentFailure: the first process carries out another run.
    """
    folder = RunFolder.of(experiment.config, experiment.contents, experiment.name)
    message = processes.announce()
    if message.startswith(_BEGIN):
        if message != _BEGIN + folder.identity.text():
            raise EnvironmentFailure(
                f"{folder.path}: this process would carry out another run than the first one; all "
                "hosts need the same data and weights"
            )
        with contextlib.suppress(LeftToFirst):
            experiment.measure(folder.path)
        message = processes.announce()
    return Finished(experiment.result.model_validate_json(message), folder.path)


def _alone(experiment: Experiment[R]) -> Finished[R]:
    folder = RunFolder.of(experiment.config, experiment.contents, experiment.name)
    folder.check_same()
    if folder.finished and not folder.overwrite:
        return _finished_earlier(experiment, folder)
    options = experiment.config.options
    machine.check(options)  # before anything is written
    track = getattr(options, "track", None)
    if track is not None:
        tracking.module_of(track).check(f"--track {track}")
    with folder.claim():
        if folder.finished and not folder.overwrite:  # by another process, while this one waited
            return _finished_earlier(experiment, folder)
        with (
            folder.begin(),
            tracking.tracked(track, folder.path, Path(options.out)) as finish,
        ):
            pruning.begin(folder.path)
            started = time.perf_counter()
            measured = experiment.measure(folder.path)
            took = round(time.perf_counter() - started, 4)
            result = measured.model_copy(update={"total_seconds": took, "date": results.now()})
            results.write(folder.path, result)
            finish(Finished(result, folder.path))
        folder.tidy()
    return _reported(experiment, result, folder.path)


def _finished_earlier(experiment: Experiment[R], folder: RunFolder) -> Finished[R]:
    """The run that is there already, and its report."""
    result = results.read_as(experiment.result, folder.path)
    checksums.check(folder.path)
    folder.tidy()
    logger.info(f"{folder.path} is finished already (--overwrite runs it again)")
    if remark := checksums.config_remark(folder.path):
        logger.info(f"note: {remark}; no line is made from it")
    return _reported(experiment, result, folder.path)


def _reported(experiment: Experiment[R], result: R, folder: Path) -> Finished[R]:
    """Print the result and name its files."""
    if experiment.report is not None:
        experiment.report(result)
    logger.info(files_in(folder))
    return Finished(result, folder)
