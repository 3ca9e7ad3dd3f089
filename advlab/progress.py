"""Progress on standard error: a bar on a terminal, elsewhere a line every ten seconds."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from typing import Protocol, TextIO, TypeVar

T = TypeVar("T")

_BETWEEN_LINES = 10.0  # seconds, where there is no terminal
_BETWEEN_SIGNS = 1.0  # seconds
_BETWEEN_EPOCHS = 1.0  # seconds; shorter epochs would flood the screen
_WIDTH = 80

_silent = False


@contextmanager
def quiet(logger: str) -> Iterator[None]:
    """Keep a library from printing a line for each attempt; what fails in the end is raised.

    Args:
        logger: the name of its logger.
    """
    log = logging.getLogger(logger)
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)


class Bar(Protocol):
    """What counts the work that is done."""

    def update(self, n: float = 1) -> object:
        """Count ``n`` more."""
        ...

    def set_description(self, desc: str) -> object:
        """Name the part that is under way."""
        ...

    def set_postfix(self, ordered_dict: Mapping[str, str], *, refresh: bool) -> object:
        """Figures to show behind the count, by name."""
        ...


def silence() -> None:
    """Show no progress in this process from now on: it is one of several that share a terminal."""
    global _silent
    _silent = True


@contextmanager
def progress_bar(
    total: float | None, title: str, unit: str = "", *, done: float = 0, scale: bool = False
) -> Iterator[Bar]:
    """Show how far work has come, while the context lasts.

    Args:
        total: how much there is to do; None where nobody knows.
        unit: what is counted, in the plural.
        done: how much of it was done before.
        scale: write large numbers with k, M and G.
    """
    if _silent or not _on_terminal():
        lines = _Lines(total, title, unit, done)
        with _innermost(lines.print_if_due):
            yield lines
        return
    from tqdm import tqdm

    width = min(_WIDTH, os.get_terminal_size(sys.stderr.fileno()).columns or _WIDTH)
    spaced = f" {unit}" if unit else ""
    with (
        tqdm(
            total=total,
            desc=title,
            unit=spaced,
            initial=done,
            unit_scale=scale,
            leave=False,
            ncols=width,
            delay=0.3,
        ) as bar,
        _innermost(bar.refresh),
    ):
        yield bar


_shown: list[Callable[[], object]] = []
"""What shows each of the bars that are there, the innermost last."""
_last_sign = 0.0


@contextmanager
def _innermost(show: Callable[[], object]) -> Iterator[None]:
    _shown.append(show)
    try:
        yield
    finally:
        _shown.pop()


def sign_of_life() -> None:
    """Show the innermost bar again where it has not moved for a while: work goes on that counts
    nothing yet, such as the steps of an attack on one batch of images."""
    global _last_sign
    now = time.monotonic()
    if _shown and now - _last_sign >= _BETWEEN_SIGNS:
        _last_sign = now
        _shown[-1]()


def with_progress(
    items: Iterable[T], title: str, unit: str = "", total: int | None = None
) -> Iterator[T]:
    """The items, one by one, with a bar that counts them; ``total`` where they have no length of
    their own."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with progress_bar(total, title, unit) as bar:
        for item in items:
            yield item
            bar.update()


def note(text: str, file: TextIO | None = None) -> None:
    """A line that stays, above the bars; on standard error where no other file is given."""
    if _silent:
        return
    file = file or sys.stderr
    if _on_terminal():
        from tqdm import tqdm

        tqdm.write(text, file=file)
    else:
        print(text, file=file, flush=True)


def _on_terminal() -> bool:
    """Whether standard error is a terminal; it is None where it was closed."""
    return sys.stderr is not None and sys.stderr.isatty()


class EpochNotes:
    """A line for each epoch of a training that stays; of epochs under a second, one a second."""

    def __init__(self, epochs: int) -> None:
        """Of a training of this many epochs, which begins or goes on now."""
        self._epochs, self._last = epochs, time.monotonic()

    def __call__(self, epoch: int, figures: Mapping[str, str]) -> None:
        """Epoch ``epoch``, from 1, is over; figures by name, as text."""
        now = time.monotonic()
        if now - self._last >= _BETWEEN_EPOCHS:
            self._last = now
            note(
                f"epoch {epoch:{len(str(self._epochs))}}/{self._epochs}: "
                + ", ".join(f"{name} {text}" for name, text in figures.items())
            )


class _Lines:
    """A line every ten seconds."""

    def __init__(self, total: float | None, title: str, unit: str, done: float) -> None:
        self._total, self._title, self._unit, self._done = total, title, unit, done
        self._begun = self._last = time.monotonic()
        self._figures = ""

    def update(self, n: float = 1) -> None:
        self._done += n
        self.print_if_due()

    def print_if_due(self) -> None:
        """Print a line where the last one was long ago."""
        now = time.monotonic()
        if now - self._last >= _BETWEEN_LINES:
            self._last = now
            note(self._line(now - self._begun))

    def set_description(self, desc: str) -> None:
        self._title = desc
        self.print_if_due()

    def set_postfix(self, ordered_dict: Mapping[str, str], *, refresh: bool) -> None:
        del refresh
        self._figures = "".join(f", {name} {text}" for name, text in ordered_dict.items())

    def _line(self, seconds: float) -> str:
        of = f" of {self._total:,.0f}" if self._total else ""
        return (
            f"{self._title}: {self._done:,.0f}{of} {self._unit}".rstrip()
            + f"{self._figures}, {seconds:.0f} s"
        )
