"""What advlab says of its work, through Python's ``logging`` under the name ``advlab``.

The command line prints it on standard output. A program that uses the library sees nothing of it
unless it asks, for instance with ``logging.basicConfig(level=logging.INFO)``.
"""

from __future__ import annotations

import logging
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

logger = logging.getLogger("advlab")
"""Takes a sentence or a table as one message."""

# What is asked for in one thread does not concern the runs of another.
_silent: ContextVar[bool] = ContextVar("silent", default=False)
_indent: ContextVar[str] = ContextVar("indent", default="")
_heads: ContextVar[list[str]] = ContextVar("heads")
_collected: ContextVar[list[str]] = ContextVar("collected")


@contextmanager
def printed() -> Iterator[None]:
    """Print what is logged meanwhile on standard output; within another such context, once."""
    if any(isinstance(handler, _ToStandardOutput) for handler in logger.handlers):
        yield
        return
    handler, level, propagate = _ToStandardOutput(), logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = propagate
        logger.setLevel(level)
        logger.removeHandler(handler)


@contextmanager
def collected() -> Iterator[list[str]]:
    """Gather what is logged meanwhile, a message an entry, and hand it to nobody else.

    It is for processes whose output another one prints: from now on they log all that they can.
    """
    logger.setLevel(logging.INFO)
    lines: list[str] = []
    token = _collected.set(lines)
    try:
        yield lines
    finally:
        _collected.reset(token)


@contextmanager
def indented(by: str = "  ") -> Iterator[None]:
    """Indent what is logged meanwhile, as of a run that another run needs first."""
    token = _indent.set(_indent.get() + by)
    try:
        yield
    finally:
        _indent.reset(token)


@contextmanager
def headed(head: str) -> Iterator[None]:
    """Put ``head`` before the first message that is logged meanwhile."""
    token = _heads.set([head])
    try:
        yield
    finally:
        _heads.reset(token)


@contextmanager
def silenced() -> Iterator[None]:
    """Drop what is logged meanwhile, as of all trainings of a study but the first."""
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)


def _as_asked(record: logging.LogRecord) -> bool:
    """Give a message its head and its indent; whether handlers are to see it."""
    if _silent.get():
        return False
    heads = _heads.get([])
    text = (heads.pop() if heads else "") + record.getMessage()
    record.msg, record.args = textwrap.indent(text, _indent.get()), None
    lines = _collected.get(None)
    if lines is not None:
        lines.append(record.msg)
    return lines is None


class _ToStandardOutput(logging.Handler):
    """Prints on what is the standard output at the time.

    An error in doing so is raised, unlike that of other handlers: whoever reads may be gone.
    """

    def emit(self, record: logging.LogRecord) -> None:
        print(record.getMessage(), flush=True)


logger.addHandler(logging.NullHandler())
logger.addFilter(_as_asked)
