"""``advlab export TRACKER RUN …``: finished runs in a tracker such as TensorBoard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from advlab.components import suggestion
from advlab.config.options.export import ExportOptions
from advlab.errors import UsageError
from advlab.experiments.named_runs import finished_run
from advlab.progress import with_progress
from advlab.runs import tracking
from advlab.runs.table import counted


def main(words: Sequence[str], options: ExportOptions) -> int:
    """Write the history, the figures, the options and the headline of the named runs.

    Args:
        words: the name of a tracker, then folders as ``advlab list`` prints them, or
            ``command/name`` under ``options.out``.

    Returns:
        The exit status, 0.

    Raises:
        UsageError: the tracker is unknown, a name is missing or names no finished run, or the
            tracker holds one already. Nothing is written.
        EnvironmentFailure: the tracker is not installed, or a history is damaged.
        OSError: a file cannot be written.
    """
    kind, *names = words or [""]
    known = tracking.tracker_names()
    if kind not in known:
        what = f"unknown tracker {kind!r}{suggestion(kind, known)}" if kind else "which tracker?"
        raise UsageError(f"export: {what}; 'advlab export {'|'.join(known)} RUN ...' writes to one")
    if not names:
        raise UsageError(
            f"export {kind}: names of runs are missing, such as train/NAME; 'advlab list' shows "
            "all runs"
        )
    out = Path(options.out)
    runs = [finished_run(name, out, f"export {kind}") for name in names]
    tracker = tracking.module_of(kind)
    tracker.check(f"advlab export {kind}")
    top = Path(options.to) if options.to is not None else out / kind
    names_there = [tracking.name_of(run.folder) for run in runs]
    for name in names_there:
        if names_there.count(name) > 1:
            raise UsageError(
                f"export {kind}: two of the runs are called {name} there; --to takes each to a "
                "folder of its own"
            )
        if not options.overwrite and tracker.holds(top, name):
            raise UsageError(f"{top} holds the run {name} already; --overwrite replaces it")
    for run in with_progress(runs, "export", "runs"):
        tracking.write(kind, run, top)
    print(f"in {top}: {counted(len(runs), 'run')}; '{tracker.SHOWS.format(top=top)}' shows them")
    return 0
