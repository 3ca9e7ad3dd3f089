"""``advlab export tensorboard RUN …``: finished runs as event files of TensorBoard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from advlab.components import optional, suggestion
from advlab.config.options.export import ExportOptions
from advlab.errors import EnvironmentFailure, UsageError
from advlab.experiments.named_runs import finished_run
from advlab.progress import with_progress
from advlab.runs import identity
from advlab.runs.files import read_lines
from advlab.runs.results import Finished, Result
from advlab.runs.table import counted

TENSORBOARD = "tensorboard"
_EVENTS = "events.out.tfevents.*"
_HISTORIES = ("history.jsonl", "evaluations.jsonl")
_STEPS = ("epoch", "step")  # what a line of a history is numbered by


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
    optional(TENSORBOARD, f"advlab export {TENSORBOARD}", TENSORBOARD)
    top = Path(options.to) if options.to is not None else out / TENSORBOARD
    targets = [top / run.folder.parent.name / run.folder.name for run in runs]
    for target in targets:
        if not options.overwrite and next(target.glob(_EVENTS), None) is not None:
            raise UsageError(f"{target} holds event files already; --overwrite replaces them")
    for run, target in with_progress(list(zip(runs, targets, strict=True)), "export", "runs"):
        for earlier in target.glob(_EVENTS):
            earlier.unlink()
        _write(run, target)
    print(f"in {top}: {counted(len(runs), 'run')}; 'tensorboard --logdir {top}' shows them")
    return 0


def _write(run: Finished[Result], target: Path) -> None:
    import numpy as np
    from PIL import Image
    from torch.utils.tensorboard import SummaryWriter

    result = run.result
    finished = datetime.fromisoformat(result.date).timestamp() if result.date else 0.0
    writer = SummaryWriter(str(target))
    last = 0
    for number, name, value, seconds in _scalars(run):
        # The clock of a line is that of the run: its end less what was still to do.
        clock = finished - max(0.0, result.seconds - seconds) if finished else None
        writer.add_scalar(name, value, number, walltime=clock)
        last = max(last, number)
    for picture in sorted(run.folder.glob("*.png")):
        with Image.open(picture) as image:
            pixels = np.asarray(image.convert("RGB"))
        writer.add_image(picture.stem, pixels, last, dataformats="HWC")
    writer.add_text("summary", result.summary(), last)
    headline = result.headline_of()
    if headline is not None:
        figures = {headline.field: result.headline_value(headline)}
        writer.add_hparams(_options(run), figures, run_name=str(target.resolve()), global_step=last)
    writer.close()


def _scalars(run: Finished[Result]) -> Iterator[tuple[int, str, float, float]]:
    """Number, name, value and seconds since the start of each figure in the histories of a run.

    Raises:
        EnvironmentFailure: a history is damaged.
    """
    for name in _HISTORIES:
        file = run.folder / name
        try:
            lines = read_lines(file)
        except ValueError as error:
            raise EnvironmentFailure(f"{file} is damaged ({error})") from error
        for line in lines:
            number = next((int(line[key]) for key in _STEPS if key in line), 0)
            seconds = float(line.get("seconds", run.result.seconds))
            for key, value in _numbers(line):
                yield number, key, value, seconds


def _numbers(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, float]]:
    """The numbers of a record and of the records in it, by names such as ``real/fid``."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{before}{key}/")
        elif type(value) in (int, float) and key not in (*_STEPS, "seconds"):
            yield f"{before}{key}", float(value)


def _options(run: Finished[Result]) -> dict[str, Any]:
    """The options of a run, as TensorBoard takes them: numbers, texts and truth values."""
    stored = identity.read(run.folder)
    words = {"command": run.result.command, "component": run.result.component}
    options = {} if stored is None else stored.options
    return {
        **words,
        **{
            name: value if isinstance(value, (bool, int, float, str)) else str(value)
            for name, value in options.items()
            if value is not None
        },
    }
