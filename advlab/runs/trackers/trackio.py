"""Trackio: a run of the project ``advlab``, in a database of its own.

The folder is the one that ``TRACKIO_DIR`` in the environment names, where it does.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Mapping
from contextvars import Context
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advlab.components import optional
from advlab.errors import EnvironmentFailure

if TYPE_CHECKING:
    from advlab.runs.tracking import Conclusion

SHOWS = "TRACKIO_DIR={top} trackio show --project advlab"

_PROJECT = "advlab"
_FOLDER = "TRACKIO_DIR"


def check(what: str) -> None:
    """Refuse to track where Trackio is not installed; see ``tensorboard.check``.

    It is not imported, since it takes its folder from the environment when it is.
    """
    if find_spec("trackio") is None:
        optional("trackio", what, "trackio")


_TRACKIO = partial(optional, what="--track trackio", extra="trackio")


def holds(top: Path, name: str) -> bool:
    """Whether the database in ``top``, or in the folder that the environment names, holds the run
    ``name`` already."""
    return bool(_runs(_trackio(top), name))


class Tracker:
    """Writes one run, in place of what was written of it before."""

    def __init__(self, top: Path, name: str) -> None:
        """Begin the run ``name`` in the database in ``top``."""
        self._trackio, self._name = _trackio(top), name
        self._figures: dict[int, dict[str, float]] = {}
        self._written: set[int] = set()
        self._begin({})

    def _begin(self, options: Mapping[str, bool | float | str]) -> None:
        for earlier in _runs(self._trackio, self._name):
            earlier.delete()
        # Trackio ends the run that is under way in a context where another one begins.
        self._context = Context()
        self._run: Any = self._quietly(
            self._trackio.init,
            _PROJECT,
            self._name,
            config=dict(options),
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    def figure(self, name: str, value: float, step: int, clock: float) -> None:
        """A figure of one step; Trackio takes the time of its own clock."""
        self._figures.setdefault(step, {})[name] = value

    def flush(self) -> None:
        """Hand over the figures of each step together."""
        for step in sorted(self._figures.keys() - self._written):
            self._run.log(self._figures[step], step=step)
        self._written |= self._figures.keys()

    def conclude(self, end: Conclusion) -> None:
        """Write what a run has at its end: pictures, the summary, options and the headline.

        Trackio takes options at the beginning only, where they are not known yet, so the run is
        written anew.
        """
        self._quietly(self._run.finish)
        self._begin(end.options)
        self._written.clear()
        self._figures.setdefault(end.step, {}).update(end.headline)
        self.flush()
        pictures = {file.stem: self._trackio.Image(file) for file in end.pictures}
        self._run.log({**pictures, "summary": end.summary}, step=end.step)

    def close(self) -> None:
        """End the run, whole or not."""
        self.flush()
        self._quietly(self._run.finish)

    def _quietly(self, call: Callable[..., Any], *given: Any, **named: Any) -> Any:
        """Call what prints how it goes: output is for the figures of the run itself."""
        with contextlib.redirect_stdout(io.StringIO()):
            return self._context.run(call, *given, **named)


def _trackio(top: Path) -> Any:
    """The package, with its database in ``top`` or where the environment says.

    Raises:
        EnvironmentFailure: this process has it with another folder already.
    """
    folder = Path(os.environ.setdefault(_FOLDER, str(top.resolve())))
    trackio = _TRACKIO("trackio")
    used = Path(_TRACKIO("trackio.utils").TRACKIO_DIR)
    if used != folder:
        raise EnvironmentFailure(
            f"Trackio writes to {used} in this process, since it was imported before {_FOLDER} was "
            f"{folder}; start a new one"
        )
    return trackio


def _runs(trackio: Any, name: str) -> list[Any]:
    try:
        return [run for run in trackio.Api().runs(_PROJECT) if run.name == name]
    except ValueError:  # there is no such project yet
        return []
