"""Trainings that a search ends early, since others did better at the same epoch.

Whoever carries out a run of such a search binds a judge. The loop that trains asks it before every
further epoch. Nothing is asked where no judge is bound.

A run that was ended is unfinished: it has no result, and is never taken for a finished one. Its
file ``pruned.json`` says what became of it. The same run without a judge goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from advlab.errors import EnvironmentFailure, UsageError
from advlab.runs.files import read_json, write_json
from advlab.runs.table import percent

FILE = "pruned.json"

Judge = Callable[[Sequence[float]], bool]
"""From the validation figures of all epochs so far, fractions: whether the training ends here."""


@dataclass
class _Judged:
    """The run that a judge is bound to: the first that begins."""

    judge: Judge
    folder: Path | None = None


_judged: ContextVar[_Judged | None] = ContextVar("_judged", default=None)


class Pruned(EnvironmentFailure):
    """A search ended a training early.

    Attributes:
        epoch: the last one that was trained.
        best: the best validation figure of its epochs, a fraction.
    """

    def __init__(self, epoch: int, best: float) -> None:
        super().__init__(
            f"pruned after epoch {epoch}: its validation figure, {percent(best)}, is below the "
            "median of the finished runs there"
        )
        self.epoch, self.best = epoch, best


@contextmanager
def judged_by(judge: Judge) -> Iterator[None]:
    """Have the training of the run that begins meanwhile end where ``judge`` says so; that of no
    other run which the first one carries out on its way."""
    token = _judged.set(_Judged(judge))
    try:
        yield
    finally:
        _judged.reset(token)


def begin(folder: Path) -> None:
    """A run begins in ``folder``, or goes on there."""
    if (folder / FILE).is_file():
        (folder / FILE).unlink()
    judged = _judged.get()
    if judged is not None and judged.folder is None:
        judged.folder = folder


def check(folder: Path, history: Sequence[Mapping[str, float]], figure: str) -> None:
    """End a training after the last of these epochs where its judge says so.

    Args:
        folder: of the run.
        figure: the key of its validation figure in the history, higher for better.

    Raises:
        Pruned: it ends here.
    """
    judged = _judged.get()
    if judged is None or judged.folder != folder or not history:
        return
    values = [record[figure] for record in history]
    if judged.judge(values):
        pruned = Pruned(len(values), max(values))
        write_json(folder / FILE, {"epoch": pruned.epoch, "figure": figure, "best": pruned.best})
        raise pruned


def refuse(folder: Path) -> None:
    """Refuse the network of a run that was ended early, which is trained by half.

    Raises:
        UsageError: the run in ``folder`` was.
    """
    if not (folder / FILE).is_file():
        return
    try:
        epoch = read_json(folder / FILE).get("epoch")
    except ValueError:
        epoch = "?"
    raise UsageError(
        f"{folder}: a search pruned this training after epoch {epoch}; "
        f"'advlab --config {folder / 'config.yaml'} --name {folder.name}' trains it to its end"
    )
