"""``advlab export tensorboard RUN …``: finished runs as event files of TensorBoard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from advlab.components import suggestion
from advlab.config.options.export import ExportOptions
from advlab.errors import UsageError
from advlab.experiments.named_runs import finished_run
from advlab.progress import with_progress
from advlab.runs import trackers
from advlab.runs.table import counted
from advlab.runs.trackers import TENSORBOARD


def main(words: Sequence[str], options: ExportOptions) -> int:
    """Write the history, the figures, the options and the headline of the named runs.

    Args:
        words: ``tensorboard``, then folders as ``advlab list`` prints them, or ``command/name``
            under ``options.out``.

    Returns:
        The exit status, 0.

    Raises:
        UsageError: the form is unknown, a name is missing or names no finished run, or a folder
            holds event files already. Nothing is written.
        EnvironmentFailure: TensorBoard is not installed, or a history is damaged.
        OSError: a file cannot be written.
    """
    form, *names = words or [""]
    if form != TENSORBOARD:
        what = f"unknown form {form!r}{suggestion(form, [TENSORBOARD])};" if form else "which form?"
        raise UsageError(f"export: {what} 'advlab export {TENSORBOARD} RUN ...' writes event files")
    if not names:
        raise UsageError(
            f"export {TENSORBOARD}: names of runs are missing, such as train/NAME; 'advlab list' "
            "shows all runs"
        )
    out = Path(options.out)
    runs = [finished_run(name, out, f"export {TENSORBOARD}") for name in names]
    trackers.check(f"advlab export {TENSORBOARD}")
    top = Path(options.to) if options.to is not None else out / TENSORBOARD
    targets = [top / run.folder.parent.name / run.folder.name for run in runs]
    for target in targets:
        if not options.overwrite and next(target.glob(trackers.EVENTS), None) is not None:
            raise UsageError(f"{target} holds event files already; --overwrite replaces them")
    for run, target in with_progress(list(zip(runs, targets, strict=True)), "export", "runs"):
        trackers.write(run, target)
    print(f"in {top}: {counted(len(runs), 'run')}; 'tensorboard --logdir {top}' shows them")
    return 0
