"""Finished runs by the names that ``advlab list`` prints."""

from __future__ import annotations

from pathlib import Path

from advlab.errors import UsageError
from advlab.runs import results
from advlab.runs.results import Finished, Result


def finished_run(name: str, out: Path, command: str) -> Finished[Result]:
    """The finished run of a name.

    Args:
        name: a folder, or ``command/name`` under ``out``.
        command: what a refusal begins with.

    Raises:
        UsageError: there is none, or it is of an earlier version of advlab.
        EnvironmentFailure: its result is damaged.
    """
    candidates = (Path(name), out / name)
    folder = next((one for one in candidates if (one / results.FILE).is_file()), None)
    if folder is None:
        raise UsageError(
            f"{command}: there is no finished run {name} and no {out / name}; 'advlab list' shows "
            "all runs"
        )
    result = results.read(folder)
    if not isinstance(result, Result):
        raise UsageError(f"{command}: {folder} is of an earlier version of advlab; run it again")
    return Finished(result, folder)
