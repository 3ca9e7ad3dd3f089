"""Runs in trackers such as TensorBoard: finished runs, and one under way."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from advlab.components import component_names, load_component
from advlab.errors import EnvironmentFailure
from advlab.logs import logger
from advlab.runs import identity
from advlab.runs.files import read_lines
from advlab.runs.results import Finished, Result

PACKAGE = "advlab.runs.trackers"
# The histories, and what stands before the names in them: an evaluation during training is of fewer
# images than the figure of the same name at the end.
_HISTORIES = {"history.jsonl": "", "evaluations.jsonl": "evaluation/"}
_STEPS = ("epoch", "step")  # what a line of a history is numbered by
_SERIES = "random_fraction"  # tells the lines of several trainings in one history apart
_BETWEEN_LOOKS = 1.0  # seconds between two looks at the histories of a run under way

Finish = Callable[[Finished[Result]], None]
"""Called with a run that was carried to its end."""


@dataclass(frozen=True)
class Conclusion:
    """What a tracker is given at the end of a run.

    Attributes:
        step: the number of the last line of its history.
        pictures: the files of its pictures.
        summary: the result in a line.
        options: numbers, texts and truth values, by name.
        headline: the figure that the run is about, by name; empty where there is none.
    """

    step: int
    pictures: Sequence[Path]
    summary: str
    options: Mapping[str, bool | float | str]
    headline: Mapping[str, float]


class Tracker(Protocol):
    """What the class ``Tracker`` of a file in ``advlab/runs/trackers`` does; the file also holds
    ``check``, ``holds`` and ``SHOWS``, the command that shows what is in ``{top}``."""

    def figure(self, name: str, value: float, step: int, clock: float) -> None:
        """Take a figure of one step, measured at a time in seconds since 1970."""

    def flush(self) -> None:
        """Write what was taken."""

    def conclude(self, end: Conclusion) -> None:
        """Write what a run has at its end."""

    def close(self) -> None:
        """End the run, whole or not."""


def tracker_names() -> list[str]:
    """The names for ``--track``."""
    return component_names(PACKAGE)


def module_of(kind: str) -> Any:
    """The file of a tracker.

    Raises:
        UsageError: there is none of that name.
    """
    return load_component(PACKAGE, kind, "tracker")


def name_of(run: Path) -> str:
    """What trackers call the run in a folder, such as ``train/first``."""
    return f"{run.parent.name}/{run.name}"


def write(kind: str, run: Finished[Result], top: Path) -> None:
    """Write the history, figures, options and headline of a finished run, in place of what is
    there of it.

    Args:
        top: the folder of the tracker.

    Raises:
        EnvironmentFailure: a history is damaged.
        OSError: a file cannot be written.
    """
    result = run.result
    finished = datetime.fromisoformat(result.date).timestamp() if result.date else time.time()
    tracker = _begun(kind, top, name_of(run.folder))
    try:
        # The clock of a line is that of the run: its end less what was still to do.
        last = _Follower(run.folder, tracker).catch_up(finished, result.seconds)
        tracker.conclude(_conclusion(run, last))
    finally:
        tracker.close()


@contextlib.contextmanager
def tracked(kind: str | None, folder: Path, out: Path) -> Iterator[Finish]:
    """Keep a tracker up to date with the run in ``folder`` meanwhile, from a thread of its own.

    What an interrupted run has written is written anew when it goes on, so that no epoch is there
    twice. A tracker that fails ends the tracking and not the run.

    Args:
        kind: its name; None for no tracking.
        out: the folder of all runs.

    Returns:
        What is to be called with the finished run.
    """
    if kind is None:
        yield lambda run: None
        return
    top = out / kind
    tracker = _begun(kind, top, name_of(folder))
    follower = _Follower(folder, tracker)
    over = threading.Event()
    thread = threading.Thread(target=follower.follow, args=(over,), daemon=True)

    def end() -> None:
        over.set()
        thread.join()

    def finish(run: Finished[Result]) -> None:
        end()
        if follower.failure is not None:
            return
        with follower.failing_alone():
            tracker.conclude(_conclusion(run, follower.catch_up(time.time())))
            logger.info(f"'{module_of(kind).SHOWS.format(top=top)}' shows the run")

    thread.start()
    try:
        yield finish
    finally:
        end()
        with follower.failing_alone():
            tracker.close()
        if follower.failure is not None:
            logger.info(f"--track {kind}: stopped, {follower.failure}")


def _begun(kind: str, top: Path, name: str) -> Tracker:
    """A tracker that takes the run ``name``.

    Raises:
        EnvironmentFailure: it cannot.
    """
    try:
        tracker: Tracker = module_of(kind).Tracker(top, name)
    except OSError:
        raise
    except Exception as error:  # of its own kinds
        text = " ".join(str(error).split())[:200]
        raise EnvironmentFailure(
            f"{kind} cannot begin the run {name} ({type(error).__name__}: {text})"
        ) from error
    return tracker


class _Follower:
    """Writes the lines of a run's histories that it has not written yet."""

    def __init__(self, folder: Path, tracker: Tracker) -> None:
        self.failure: Exception | None = None
        self._folder, self._tracker = folder, tracker
        self._written = dict.fromkeys(_HISTORIES, 0)
        self._last = 0

    def follow(self, over: threading.Event) -> None:
        """Look again and again until it is over, and once more then."""
        with self.failing_alone():
            while not over.wait(_BETWEEN_LOOKS):
                self.catch_up(time.time())
            self.catch_up(time.time())

    @contextlib.contextmanager
    def failing_alone(self) -> Iterator[None]:
        """Within it, an error is kept and goes no further.

        Trackers are other people's programs with errors of their own kinds, and a run is worth
        more than its picture in one of them.
        """
        try:
            yield
        except Exception as error:
            self.failure = self.failure or error

    def catch_up(self, now: float, elapsed: float | None = None) -> int:
        """Write the new lines, and return the number of the last one.

        Args:
            now: when ``elapsed`` seconds of the run had gone by, or when its last line was written.
        """
        for name, before in _HISTORIES.items():
            lines = _lines(self._folder / name)
            new = lines[self._written[name] :]
            if not new:
                continue
            self._written[name] = len(lines)
            latest = float(new[-1].get("seconds", 0.0)) if elapsed is None else elapsed
            for line in new:
                number = next((int(line[key]) for key in _STEPS if key in line), 0)
                clock = now - max(0.0, latest - float(line.get("seconds", latest)))
                series = f"{_SERIES}_{line[_SERIES]:g}/" if _SERIES in line else ""
                for key, value in _numbers(line, f"{before}{series}"):
                    self._tracker.figure(key, value, number, clock)
                self._last = max(self._last, number)
            self._tracker.flush()
        return self._last


def _lines(file: Path) -> list[dict[str, Any]]:
    try:
        return read_lines(file)
    except ValueError as error:
        raise EnvironmentFailure(f"{file} is damaged ({error})") from error


def _conclusion(run: Finished[Result], last: int) -> Conclusion:
    """What a run has at its end, after the line ``last`` of its history."""
    headline = run.result.headline_of()
    figures = {} if headline is None else {headline.field: run.result.headline_value(headline)}
    return Conclusion(
        last, sorted(run.folder.glob("*.png")), run.result.summary(), _options(run), figures
    )


def _numbers(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, float]]:
    """The numbers of a record and of the records in it, by names such as ``real/fid``."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{before}{key}/")
        elif type(value) in (int, float) and key not in (*_STEPS, _SERIES, "seconds"):
            yield f"{before}{key}", float(value)


def _options(run: Finished[Result]) -> dict[str, Any]:
    """The options of a run, as trackers take them: numbers, texts and truth values."""
    stored = identity.read(run.folder)
    words = {"command": run.result.command, "component": run.result.component}
    options = {} if stored is None else stored.options
    return {
        **words,
        **{
            name: value if isinstance(value, (bool, int, float, str)) else str(value)
            for name, value in options.items()
            if value is not None
        },
    }
