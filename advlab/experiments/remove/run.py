"""``advlab remove RUN …``: delete runs of advlab."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from advlab.config.options.listing import RemoveOptions
from advlab.errors import UsageError
from advlab.runs import folder
from advlab.runs.table import counted


def main(names: Sequence[str], options: RemoveOptions) -> int:
    """Remove the named runs, or with ``--dry-run`` print what would be removed.

    Args:
        names: folders as ``advlab list`` prints them, or ``command/name`` under ``options.out``.

    Returns:
        The exit status, 0.

    Raises:
        UsageError: a name is missing, given twice, or not the name of a run. Nothing is removed.
        EnvironmentFailure: another process uses one of the runs.
    """
    if not names:
        raise UsageError(
            "remove: names of runs are missing, such as train/NAME; 'advlab list' shows all runs"
        )
    runs = [_run(name, Path(options.out)) for name in names]
    folders = [run.resolve() for run in runs]
    for run_folder, name in zip(folders, names, strict=True):
        if folders.count(run_folder) > 1:
            raise UsageError(f"remove: {name} is named twice")
    for run in runs:
        own_files, foreign_files = folder.contents(run)
        if options.dry_run:
            print(
                f"{run} would be removed: {counted(len(own_files), 'file')}{_note(foreign_files)}"
            )
            continue
        kept_files = folder.remove(run)
        print(f"{run} removed: {counted(len(own_files), 'file')}{_note(kept_files)}")
    return 0


def _run(name: str, out: Path) -> Path:
    """Return the folder of an existing run.

    Raises:
        UsageError: no run has this name.
    """
    candidates = (Path(name), out / name)
    for candidate in candidates:
        if folder.is_run(candidate):
            return candidate
    existing = next((candidate for candidate in candidates if candidate.exists()), None)
    if existing is None:
        raise UsageError(
            f"remove: there is no run {name} and no {out / name}; 'advlab list' shows all runs"
        )
    raise UsageError(
        f"remove: {existing} is not a run of this version of advlab; only such runs are removed"
    )


def _note(foreign_files: Sequence[str]) -> str:
    if not foreign_files:
        return ""
    return f"; not written by advlab and kept: {', '.join(foreign_files)}"
