"""Runs as TensorBoard shows them: event files, of finished runs and of one under way."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advlab.components import optional
from advlab.errors import EnvironmentFailure
from advlab.logs import logger
from advlab.runs import identity
from advlab.runs.files import read_lines
from advlab.runs.results import Finished, Result

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

TENSORBOARD = "tensorboard"
EVENTS = "events.out.tfevents.*"
_HISTORIES = ("history.jsonl", "evaluations.jsonl")
_STEPS = ("epoch", "step")  # what a line of a history is numbered by
_BETWEEN_LOOKS = 1.0  # seconds between two looks at the histories of a run under way

Finish = Callable[[Finished[Result]], None]
"""Called with a run that was carried to its end."""


def check(what: str) -> None:
    """Refuse event files where TensorBoard is not installed.

    Args:
        what: what needs it, for the refusal.

    Raises:
        EnvironmentFailure: it is not.
    """
    optional(TENSORBOARD, what, TENSORBOARD)


def events_of(out: Path, run: Path) -> Path:
    """The folder under ``out`` for the event files of the run in a folder."""
    return out / TENSORBOARD / run.parent.name / run.name


def write(run: Finished[Result], target: Path) -> None:
    """Write the history, figures, options and headline of a finished run, in place of the event
    files in ``target``.

    Raises:
        EnvironmentFailure: a history is damaged.
        OSError: a file cannot be written.
    """
    result = run.result
    finished = datetime.fromisoformat(result.date).timestamp() if result.date else time.time()
    writer = _writer(target)
    # The clock of a line is that of the run: its end less what was still to do.
    last = _Follower(run.folder, writer).catch_up(finished, result.seconds)
    _conclude(writer, run, target, last)


@contextlib.contextmanager
def tracked(kind: str | None, folder: Path, out: Path) -> Iterator[Finish]:
    """Keep event files of the run in ``folder`` up to date meanwhile, from a thread of their own.

    What an interrupted run has written is written anew when it goes on, so that no epoch is there
    twice. A file that cannot be written ends the tracking and not the run.

    Args:
        kind: ``tensorboard``; None for no tracking.
        out: the folder of all runs.

    Returns:
        What is to be called with the finished run.
    """
    if kind is None:
        yield lambda run: None
        return
    target = events_of(out, folder)
    writer = _writer(target)
    follower = _Follower(folder, writer)
    over = threading.Event()
    thread = threading.Thread(target=follower.follow, args=(over,), daemon=True)

    def end() -> None:
        over.set()
        thread.join()

    def finish(run: Finished[Result]) -> None:
        end()
        try:
            _conclude(writer, run, target, follower.catch_up(time.time()))
        except OSError as error:
            follower.failure = error

    thread.start()
    try:
        yield finish
    finally:
        end()
        writer.close()
        if follower.failure is not None:
            logger.info(f"--track {kind}: stopped, {follower.failure}")


def _writer(target: Path) -> SummaryWriter:
    from torch.utils.tensorboard import SummaryWriter

    for earlier in target.glob(EVENTS):
        earlier.unlink()
    return SummaryWriter(str(target))


class _Follower:
    """Writes the lines of a run's histories that it has not written yet."""

    def __init__(self, folder: Path, writer: SummaryWriter) -> None:
        self.failure: Exception | None = None
        self._folder, self._writer = folder, writer
        self._written = dict.fromkeys(_HISTORIES, 0)
        self._last = 0

    def follow(self, over: threading.Event) -> None:
        """Look again and again until it is over, and once more then."""
        try:
            while not over.wait(_BETWEEN_LOOKS):
                self.catch_up(time.time())
            self.catch_up(time.time())
        except (OSError, EnvironmentFailure) as error:
            self.failure = error

    def catch_up(self, now: float, elapsed: float | None = None) -> int:
        """Write the new lines, and return the number of the last one.

        Args:
            now: when ``elapsed`` seconds of the run had gone by, or when its last line was written.
        """
        for name in _HISTORIES:
            lines = _lines(self._folder / name)
            new = lines[self._written[name] :]
            if not new:
                continue
            self._written[name] = len(lines)
            latest = float(new[-1].get("seconds", 0.0)) if elapsed is None else elapsed
            for line in new:
                number = next((int(line[key]) for key in _STEPS if key in line), 0)
                clock = now - max(0.0, latest - float(line.get("seconds", latest)))
                for key, value in _numbers(line):
                    self._writer.add_scalar(key, value, number, walltime=clock)
                self._last = max(self._last, number)
            self._writer.flush()
        return self._last


def _lines(file: Path) -> list[dict[str, Any]]:
    try:
        return read_lines(file)
    except ValueError as error:
        raise EnvironmentFailure(f"{file} is damaged ({error})") from error


def _conclude(writer: Any, run: Finished[Result], target: Path, last: int) -> None:
    """Write what a run has at its end: pictures, the summary, options and the headline."""
    import numpy as np
    from PIL import Image

    for picture in sorted(run.folder.glob("*.png")):
        with Image.open(picture) as image:
            pixels = np.asarray(image.convert("RGB"))
        writer.add_image(picture.stem, pixels, last, dataformats="HWC")
    writer.add_text("summary", run.result.summary(), last)
    headline = run.result.headline_of()
    if headline is not None:
        figures = {headline.field: run.result.headline_value(headline)}
        writer.add_hparams(_options(run), figures, run_name=str(target.resolve()), global_step=last)
    writer.close()


def _numbers(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, float]]:
    """The numbers of a record and of the records in it, by names such as ``real/fid``."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{before}{key}/")
        elif type(value) in (int, float) and key not in (*_STEPS, "seconds"):
            yield f"{before}{key}", float(value)


def _options(run: Finished[Result]) -> dict[str, Any]:
    """The options of a run, as TensorBoard takes them: numbers, texts and truth values."""
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
