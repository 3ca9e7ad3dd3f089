"""Cells of a grid in several processes: a configuration goes in, a plain result comes out.

A team carries out calls: the processes of this machine, or a cluster. Which one it is makes no
difference to what is handed to it, nor to what becomes of a cell whose process is killed.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
import warnings
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from threading import enumerate as threads_alive
from typing import Any, Generic, Protocol, TypeVar

from joblib.externals.loky import ProcessPoolExecutor

from advlab.config.resolve import Config, from_mapping, to_mapping
from advlab.errors import AdvlabError, EnvironmentFailure, UsageError
from advlab.experiments.cell_queue import POLL, CellQueue
from advlab.logs import collected
from advlab.progress import progress_bar, silence
from advlab.runs.folder import HeldElsewhere, without_waiting
from advlab.runs.results import Finished, Result

R = TypeVar("R", bound=Result)
Runner = Callable[[Config], Finished[R]]

MOST_RETRIES = 2
"""How often a cell, or a shard of images, whose worker was killed is tried again."""

KILLED = (
    "its worker was killed every time, for want of memory perhaps; fewer workers leave more to each"
)
"""Why such a call is given up."""


@dataclass(frozen=True)
class CellOutcome(Generic[R]):
    """What became of a cell.

    Attributes:
        lines: what it logged.
        finished: the finished run; None where something stopped it.
        refusal: why, in a line; empty where nothing did.
        usage_error: whether the request is wrong, and with it that of every other cell.
        again: why the cell is begun again later, in a line; empty where it is done with.
        held: the folder that another process is at work in, where that is why.
    """

    lines: Sequence[str]
    finished: Finished[R] | None
    refusal: str = ""
    usage_error: bool = False
    again: str = ""
    held: Path | None = None


_FEEDERS_END = 5.0
"""How many seconds such a thread is waited for: it has nothing left to do."""


class WorkerKilled(Exception):
    """The process that carried out a call died over it.

    Attributes:
        final: whether the call was tried again often enough already.
    """

    def __init__(self, final: bool = False) -> None:
        super().__init__()
        self.final = final


class Team(Protocol):
    """Processes that carry out calls."""

    def capacity(self) -> int:
        """How many calls may be under way at present."""
        ...

    def submit(self, call: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Have a call carried out.

        Returns:
            What it will return. It raises ``WorkerKilled`` where its process died.
        """
        ...

    def close(self) -> None:
        """Part with the processes, which have nothing left to do."""
        ...

    def stop(self) -> None:
        """End every call at once."""
        ...


@dataclass(frozen=True)
class Crew:
    """The processes that share the images of one run.

    Attributes:
        team: they themselves.
        threads: that each of them computes with where ``--threads`` does not say.
    """

    team: Team
    threads: int

    def compute_alike(self, threads: int) -> None:
        """Have this process compute with as many threads as the others, whose number changes the
        last bits.

        Args:
            threads: that ``--threads`` gives; 0 where it does not.
        """
        import torch

        torch.set_num_threads(threads or self.threads)


class Cells(Protocol):
    """Runs by their places, each of which may be settled when it is asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: int, /) -> Config: ...


def side_by_side(
    run: Runner[R],
    cells: Cells,
    team: Team,
    runner: Callable[[int], Runner[R]] | None = None,
) -> Generator[tuple[int, CellOutcome[R]], None, None]:
    """Carry out the cells with a team; place and outcome of each, as they are done.

    A cell may come several times, with ``again`` in all but its last outcome. No more cells are
    submitted than the team can begin, so that nothing piles up here. Leaving the iterator early
    stops them all; what a run had written by then, it goes on from.

    Args:
        runner: what carries out the cell at a place; ``run`` where not given.
    """
    queue, killed = CellQueue(len(cells)), Counter[int]()
    at_work: dict[Future[Any], int] = {}
    done: SimpleQueue[Future[Any]] = SimpleQueue()
    with at_its_end(team), progress_bar(len(cells), "carried out", "runs") as bar:
        while queue or at_work:
            while len(at_work) < team.capacity() and (place := queue.take()) is not None:
                call = runner(place) if runner is not None else run
                future = team.submit(carried_out, call, to_mapping(cells[place]))
                at_work[future] = place
                future.add_done_callback(done.put)
            with contextlib.suppress(Empty):
                future = done.get(timeout=POLL)
                place = at_work.pop(future)
                outcome = _outcome(future, place, killed)
                if outcome.again:
                    queue.put_back(place, outcome.held)
                yield place, outcome
                bar.update(0 if outcome.again else 1)


def results_of(
    team: Team, call: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]
) -> Iterator[tuple[int, Any]]:
    """Have a call carried out with each of these arguments; place and what it returned, as they
    are done.

    Raises:
        EnvironmentFailure: the worker of one of them was killed every time.
    """
    waiting, killed = deque(range(len(arguments))), Counter[int]()
    at_work: dict[Future[Any], int] = {}
    done: SimpleQueue[Future[Any]] = SimpleQueue()
    while waiting or at_work:
        while waiting and len(at_work) < team.capacity():
            place = waiting.popleft()
            future = team.submit(call, *arguments[place])
            at_work[future] = place
            future.add_done_callback(done.put)
        with contextlib.suppress(Empty):
            future = done.get(timeout=POLL)
            place = at_work.pop(future)
            try:
                yield place, future.result()
            except WorkerKilled as error:
                killed[place] += 1
                if killed[place] > MOST_RETRIES or error.final:
                    raise EnvironmentFailure(KILLED) from None
                waiting.append(place)


@contextlib.contextmanager
def at_its_end(team: Team) -> Iterator[None]:
    """Part with the team afterwards; where something stops the work, end every call at once."""
    try:
        yield
        team.close()
    except BaseException:  # Ctrl-C, or whoever asked has heard enough
        with _deaf_to_interrupts():
            team.stop()
        raise


def _outcome(future: Future[Any], place: int, killed: Counter[int]) -> CellOutcome[Any]:
    """What a call returned, or what its worker's death means for the cell."""
    try:
        outcome: CellOutcome[Any] = future.result()
    except WorkerKilled as error:
        killed[place] += 1
        if killed[place] <= MOST_RETRIES and not error.final:
            return CellOutcome((), None, again="its worker was killed; it is tried again")
        return CellOutcome((), None, KILLED)
    return outcome


def carried_out(run: Runner[R], mapping: Mapping[str, Any]) -> CellOutcome[R]:
    """Carry out a cell in this process, one of several that share a terminal or have none.

    Args:
        mapping: the cell, as ``to_mapping`` writes it.
    """
    silence()
    with collected() as lines:
        try:
            with own_threads(), without_waiting():
                return CellOutcome(lines, run(from_mapping(mapping)))
        except HeldElsewhere as held:
            return CellOutcome(lines, None, again=put_off(held), held=held.folder)
        except UsageError as error:
            return CellOutcome(lines, None, str(error), usage_error=True)
        except (AdvlabError, OSError) as error:
            return CellOutcome(lines, None, str(error))


def put_off(held: HeldElsewhere) -> str:
    """The line that says what becomes of a cell that another process is at work on."""
    return f"{held}; it is looked at again after the others"


@contextlib.contextmanager
def own_threads() -> Iterator[None]:
    """Leave the process its number of threads, which the ``--threads`` of a cell changes: a worker
    of a cluster may be given cells of another line next."""
    import torch

    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


class LocalTeam:
    """Processes of this machine.

    Each has an executor of its own: one that is killed takes no other with it, and which cell it
    was carrying out is known.
    """

    def __init__(self, workers: int, cells: int) -> None:
        """Of ``workers`` processes at most, which start when there is something to do.

        Every one computes with its share of the processor's threads, unless ``--threads`` says
        otherwise.
        """
        self._threads = threads_each(workers)
        self._most = min(workers, cells)
        self._all: list[Executor] = []
        self._idle: list[Executor] = []
        self._before = set(threads_alive())

    def capacity(self) -> int:
        """How many calls may be under way."""
        return self._most

    def submit(self, call: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Have a call carried out by a process that has nothing to do, or by a new one."""
        while True:
            executor = self._idle.pop() if self._idle else self._start()
            try:
                with _interrupts_held_back():  # what starts now must never hear of Ctrl-C
                    inner = executor.submit(call, *arguments)
                break
            except BrokenProcessPool:  # it was killed while it had nothing to do
                self._all.remove(executor)
        outer: Future[Any] = Future()

        def pass_on(ended: Future[Any]) -> None:
            error = ended.exception()
            if isinstance(error, BrokenProcessPool):
                self._all.remove(executor)
                outer.set_exception(WorkerKilled())
                return
            self._idle.append(executor)
            if error is not None:
                outer.set_exception(error)
            else:
                outer.set_result(ended.result())

        inner.add_done_callback(pass_on)
        return outer

    def close(self) -> None:
        """End the processes, which have nothing left to do."""
        for executor in self._all:
            executor.shutdown(wait=True)
        self._join_feeders()

    def stop(self) -> None:
        """Kill the processes and all that they started."""
        with warnings.catch_warnings():
            # Where the system has no tool that finds a process's children, it is killed alone.
            warnings.simplefilter("ignore")
            for executor in list(self._all):
                executor.shutdown(wait=True, kill_workers=True)  # type: ignore[call-arg]
        self._join_feeders()

    def _join_feeders(self) -> None:
        """Wait for the threads that filled the queues, which an executor leaves to end by itself.

        They hold semaphores. Where the interpreter ends before they do, it stops them between
        removing a semaphore and saying so, and loky warns of a leak on standard error.
        """
        for thread in set(threads_alive()) - self._before:
            if thread.name == "QueueFeederThread":
                thread.join(timeout=_FEEDERS_END)

    def _start(self) -> Executor:
        executor: Executor = ProcessPoolExecutor(
            1, initializer=_begin, initargs=(self._threads, os.getpid())
        )
        self._all.append(executor)
        return executor


def threads_each(workers: int) -> int:
    """How many threads each of these processes computes with, of those of this machine."""
    return max(1, (os.cpu_count() or 1) // workers)


@contextlib.contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Let a Ctrl-C come through only afterwards. Processes and threads that are started meanwhile
    never see one, from their first instruction on."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Ignore further Ctrl-Cs meanwhile: whoever types five of them wants one clean end, and no
    traceback."""
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # not in the main thread, which alone is interrupted
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before or signal.default_int_handler)


def _begin(threads: int, parent: int) -> None:
    """Prepare a worker process of this machine.

    Args:
        parent: the number of the process that started it.
    """
    # Ctrl-C reaches the whole group; the first process ends all others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with(parent)
    import torch

    torch.set_num_threads(threads)


def _end_with(parent: int) -> None:
    """End this process when the one that started it dies, however it dies."""
    started_by = multiprocessing.parent_process()
    sentinel = started_by.sentinel if started_by is not None else None

    def watch() -> None:
        if sentinel is not None:  # Windows, where the number of a dead parent stays
            wait([sentinel])
        while sentinel is None and os.getppid() == parent:
            time.sleep(POLL)
        os._exit(1)

    Thread(target=watch, daemon=True, name="parent watch").start()
