"""The processes that share one run: a single one, or several that train together.

Several are started by ``torchrun``, which numbers them in environment variables.
``advlab.training.distributed`` connects them; what lies below it learns of them here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from advlab.errors import UsageError


@dataclass(frozen=True)
class Started:
    """What the environment says of the processes that were started together.

    Attributes:
        rank: number of this process, from 0.
        size: how many there are.
        local_rank: number of this process among those of its host, from 0.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0


def started() -> Started:
    """The processes that were started together, from the variables that ``torchrun`` sets.

    Raises:
        UsageError: a variable is missing, or the numbers do not fit together.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return Started()
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    texts = {name: os.environ.get(name, "") for name in names}
    wrong = [name for name, text in texts.items() if not text.isdecimal()]
    wrong += [name for name in ("MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if not wrong and int(texts["RANK"]) < int(texts["WORLD_SIZE"]):
        return Started(*(int(texts[name]) for name in names))
    reason = f"{wrong[0]} is not set" if wrong else f"RANK is {texts['RANK']}"
    raise UsageError(
        f"WORLD_SIZE is {texts['WORLD_SIZE']} in the environment, and {reason}; start several "
        "processes with torchrun, or unset WORLD_SIZE"
    )


class Processes:
    """The processes of a run. This class is a single process, which has nobody to agree with.

    Attributes:
        rank: number of this process, from 0. The first one, rank 0, writes all files.
        size: how many there are.
        local_rank: number of this process among those of its host, from 0.
    """

    rank = 0
    size = 1
    local_rank = 0

    def announce(self, text: str = "") -> str:
        """The text that the first process announces.

        Every process makes the same calls in the same order. The others wait for the first one as
        long as it takes.

        Args:
            text: what the first process announces; that of the others is ignored.
        """
        return text


_ALONE = Processes()
_current: ContextVar[Processes] = ContextVar("_current", default=_ALONE)


class LeftToFirst(BaseException):
    """The first process goes on alone, and this one is another. No error: it ends a measurement."""


def current() -> Processes:
    """The processes that take part in what is being done at the moment."""
    return _current.get()


@contextmanager
def taking_part(processes: Processes) -> Iterator[None]:
    """Have these processes take part in what is done meanwhile."""
    token = _current.set(processes)
    try:
        yield
    finally:
        _current.reset(token)


def leave_rest_to_first() -> None:
    """Leave the rest of a run's measurement, after its training, to the first process alone.

    Raises:
        LeftToFirst: this is another process.
    """
    if current().rank:
        raise LeftToFirst
    _current.set(_ALONE)
