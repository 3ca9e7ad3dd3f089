"""Runs of a plan in several processes, each given a resolved configuration."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import wait
from threading import Thread
from typing import Any, Generic, TypeVar

from advlab.config.resolve import Config, from_mapping, to_mapping
from advlab.errors import AdvlabError, EnvironmentFailure, UsageError
from advlab.progress import silence, with_progress
from advlab.runs.results import Finished, Result

R = TypeVar("R", bound=Result)
Runner = Callable[[Config, Callable[[str], None]], Finished[R]]


@dataclass(frozen=True)
class CellOutcome(Generic[R]):
    """What became of a cell.

    Attributes:
        lines: what it said.
        finished: the finished run; None where something stopped it.
        refusal: why, in a line; empty where nothing did.
        usage_error: whether the request is wrong, and with it that of every other cell.
    """

    lines: Sequence[str]
    finished: Finished[R] | None
    refusal: str = ""
    usage_error: bool = False


def side_by_side(
    run: Runner[R], cells: Sequence[Config], workers: int
) -> Iterator[tuple[int, CellOutcome[R]]]:
    """Carry out the cells in ``workers`` processes; place and outcome of each, as they are done.

    Every worker computes with its share of the processor's threads, unless ``--threads`` says
    otherwise. Leaving the iterator early stops them all; what a run had written by then, it goes on
    from.
    """
    threads = max(1, (os.cpu_count() or 1) // workers)
    context = multiprocessing.get_context("spawn")  # a forked torch may hang in its own threads
    with ProcessPoolExecutor(min(workers, len(cells)), context, _begin, (threads,)) as pool:
        places = {
            pool.submit(_carried_out, run, to_mapping(cell)): place
            for place, cell in enumerate(cells)
        }
        try:
            for done in with_progress(as_completed(places), "carried out", "runs", len(cells)):
                yield places[done], done.result()
        except BrokenProcessPool as error:
            raise EnvironmentFailure(
                "a worker was killed, for want of memory perhaps; the same line goes on, with "
                "fewer --workers"
            ) from error
        except BaseException:  # Ctrl-C, or whoever asked has heard enough
            with _deaf_to_interrupts():
                pool.shutdown(wait=False, cancel_futures=True)
                for child in multiprocessing.active_children():
                    child.kill()
                pool.shutdown(wait=True)
            raise


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


def _end_with_parent() -> None:
    """End this process when the one that started it dies, however it dies."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    Thread(target=watch, daemon=True, name="parent watch").start()


def _begin(threads: int) -> None:
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches the whole group; the first process ends all others
    _end_with_parent()
    silence()
    import torch

    torch.set_num_threads(threads)


def _carried_out(run: Runner[R], mapping: Mapping[str, Any]) -> CellOutcome[R]:
    lines: list[str] = []
    try:
        return CellOutcome(lines, run(from_mapping(mapping), lines.append))
    except UsageError as error:
        return CellOutcome(lines, None, str(error), usage_error=True)
    except (AdvlabError, OSError) as error:
        return CellOutcome(lines, None, str(error))
