"""``advlab plot RUN …``: draw the figures of runs again, in another format, size or style."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from advlab.components import suggestion
from advlab.config.options.plot import PlotOptions
from advlab.errors import EnvironmentFailure, UsageError
from advlab.plots import record
from advlab.plots.look import restyled
from advlab.plots.style import styled, write
from advlab.progress import with_progress
from advlab.runs import folder
from advlab.runs.files import recording


def main(names: Sequence[str], options: PlotOptions) -> int:
    """Draw the figures of the named runs from the records that lie in their folders.

    A figure is named as the run named it, with style and width in its name where they are not the
    run's own. What the run drew itself is not changed, unless the same file is asked for.

    Args:
        names: folders as ``advlab list`` prints them, or ``command/name`` under ``options.out``.

    Returns:
        The exit status, 0.

    Raises:
        UsageError: a name is missing or names no run with figures, or no run has the figure asked
            for. Nothing is drawn.
        EnvironmentFailure: a record is damaged, or a file cannot be written.
    """
    if not names:
        raise UsageError(
            "plot: names of runs are missing, such as train/NAME; 'advlab list' shows all runs"
        )
    chosen = [(run, _records(run, options)) for run in (_run(name, options) for name in names)]
    for run, records in chosen:
        target = Path(options.to) if options.to is not None else run
        if options.to is not None and len(chosen) > 1:
            target = target / run.parent.name / run.name
        try:
            target.mkdir(parents=True, exist_ok=True)
            with recording(target if options.to is None else run):
                drawn = [
                    _draw(name, file, target, options)
                    for name, file in with_progress(records.items(), run.name, "figures")
                ]
        except OSError as error:
            raise EnvironmentFailure(f"{target}: {error.strerror}") from error
        print(f"in {target}: {', '.join(sorted(path.name for path in drawn))}")
    return 0


def _draw(name: str, file: Path, target: Path, options: PlotOptions) -> Path:
    with styled():
        figure = restyled(record.drawn_again(file), options.style, options.width)
    changed = "" if options.style == "screen" else f"-{options.style}"
    changed += "" if options.width is None else f"-{options.width:g}in"
    path = target / f"{name}{changed}.{options.format}"
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="constrained_layout not applied")
        try:
            write(figure, path, options.format)
        except UserWarning:
            raise UsageError(
                f"--width {options.width:g}: too narrow for {name}, whose panels would vanish"
            ) from None
    return path


def _run(name: str, options: PlotOptions) -> Path:
    """The folder of a run.

    Raises:
        UsageError: there is none of that name.
    """
    candidates = (Path(name), Path(options.out) / name)
    for candidate in candidates:
        if folder.is_run(candidate) or record.records_in(candidate):
            return candidate
    below = "" if candidates[1] in candidates[0].parents else f" and no {candidates[1]}"
    raise UsageError(f"plot: there is no run {name}{below}; 'advlab list' shows all runs")


def _records(run: Path, options: PlotOptions) -> dict[str, Path]:
    """The records of a run's figures, by their names.

    Raises:
        UsageError: there are none, or none of the name asked for.
    """
    records = record.records_in(run)
    if not records:
        raise UsageError(
            f"plot: {run} holds no records of figures; it was interrupted before they were drawn, "
            "draws none, or is of an earlier version of advlab"
        )
    if options.figure is None:
        return records
    if options.figure not in records:
        raise UsageError(
            f"--figure {options.figure}: {run} has no such figure"
            f"{suggestion(options.figure, records)}; it has {', '.join(records)}"
        )
    return {options.figure: records[options.figure]}
