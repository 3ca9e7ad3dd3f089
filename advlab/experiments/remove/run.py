"""``advlab remove RUN …``: delete runs, and nothing but runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from advlab.config.options.listing import RemoveOptions
from advlab.errors import UsageError
from advlab.runs import folder
from advlab.runs.table import counted


def main(names: Sequence[str], options: RemoveOptions) -> int:
    """Remove the named runs, or show what would go; exit status 0.

    Args:
        names: folders as ``advlab list`` prints them, or ``command/name`` under ``options.out``.

    Raises:
        UsageError: a name is missing, given twice, or none of a run; then nothing is removed.
        EnvironmentFailure: another process is at work in one of them.
    """
    if not names:
        raise UsageError(
            "remove: which runs? 'advlab list' shows them; 'advlab remove train/NAME' removes one"
        )
    runs = [_run(name, Path(options.out)) for name in names]
    places = [run.resolve() for run in runs]
    for place, name in zip(places, names, strict=True):
        if places.count(place) > 1:
            raise UsageError(f"remove: {name} is named twice")
    for run in runs:
        ours, foreign = folder.contents(run)
        if options.dry_run:
            print(f"{run} would be removed: {counted(len(ours), 'file')}{_left(foreign)}")
            continue
        print(f"{run} removed: {counted(len(ours), 'file')}{_left(folder.remove(run))}")
    return 0


def _run(name: str, out: Path) -> Path:
    """The folder of a run that is there.

    Raises:
        UsageError: there is none of that name.
    """
    for place in (Path(name), out / name):
        if folder.is_run(place):
            return place
    there = next((place for place in (Path(name), out / name) if place.exists()), None)
    if there is None:
        raise UsageError(
            f"remove: there is no run {name}, nor {out / name}; 'advlab list' shows them"
        )
    raise UsageError(
        f"remove: {there} is no run of this version of advlab, and only such are removed"
    )


def _left(foreign: Sequence[str]) -> str:
    return f"; left, since advlab did not write it: {', '.join(foreign)}" if foreign else ""
