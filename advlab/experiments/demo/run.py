"""``advlab demo``: small runs on embedded data, and one page with their results."""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from advlab.config.options.run import DemoOptions, RunOptions
from advlab.config.resolve import resolve
from advlab.config.yamlfile import Document
from advlab.errors import EnvironmentFailure
from advlab.experiments.demo.chapters import CHAPTERS, Step, StepOutput
from advlab.progress import note, progress_bar
from advlab.results.comparison import ComparisonResult
from advlab.runs import results
from advlab.runs.files import write_text
from advlab.runs.machine import prepare
from advlab.runs.page import Section, write_page
from advlab.runs.results import Finished, Result
from advlab.runs.table import counted

PAGE, LOG = "index.html", "log.txt"

_INTRODUCTION = (
    "This page shows what advlab, a laboratory for adversarial machine learning, does. All "
    "experiments were run on this machine, on handwritten digits and short film reviews that "
    "ship with advlab. The command lines above the pictures of each chapter reproduce them."
)


def main(options: DemoOptions) -> int:
    """Run all chapters, except finished ones, and write the page.

    Returns:
        The exit status, 0.

    Raises:
        EnvironmentFailure: a chapter did not finish; the log holds the details.
    """
    folder = Path(options.out) / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    shared = {
        key: getattr(options, key)
        for key in ("seed", "device", "threads", "precision", "overwrite")
    }
    machine = prepare(RunOptions(**shared)).describe()
    log, sections, summary = io.StringIO(), [], []
    started = time.perf_counter()
    with progress_bar(len(CHAPTERS), CHAPTERS[0].title, "chapters") as bar:
        for chapter in CHAPTERS:
            bar.set_description(chapter.title)
            outputs = [_run_step(step, folder, shared, log) for step in chapter.steps]
            text, figure, pictures = chapter.describe(outputs)
            lines = [step.line(folder, _repeated(shared)) for step in chapter.steps]
            sections.append(Section(chapter.title, lines, text, pictures))
            summary.append((chapter.title, figure))
            bar.update()
            note(f"{chapter.title}: {figure}", sys.stdout)
    seconds = time.perf_counter() - started
    write_text(folder / LOG, log.getvalue())
    footer = (
        f"advlab {machine.advlab}, torch {machine.torch}, {machine.processor}, "
        f"{counted(machine.threads, 'thread')}, {machine.device}; "
        f"seed {options.seed}. Each figure is from one small run; RESULTS.md lists larger runs."
    )
    write_page(folder / PAGE, "advlab: a demonstration", _INTRODUCTION, summary, sections, footer)
    print(f"finished in {seconds:.0f} seconds; the page is {folder / PAGE}")
    return 0


def _run_step(step: Step, folder: Path, shared: Mapping[str, Any], log: io.StringIO) -> StepOutput:
    """Carry out the runs of a step, except finished ones."""
    repeated = _repeated(shared)
    flags = step.flags_in(folder, {**repeated, "overwrite": shared["overwrite"]})
    plan = resolve(step.command, [step.component], flags, Document(""))
    line = step.line(folder, repeated)
    log.write(f"$ {line}\n")
    try:
        with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            status = importlib.import_module(plan.command.experiment).main(plan)
    finally:
        write_text(folder / LOG, log.getvalue())
    if status:
        raise EnvironmentFailure(
            f"'{line}' did not finish; details are in {folder / LOG}; 'advlab demo' "
            "continues from here"
        )
    if len(plan.cells) == 1:
        return StepOutput([_finished(folder / step.command / step.name)], None)
    compared = folder / "compare" / step.name
    comparison = results.read_as(ComparisonResult, compared)
    runs = [_finished(Path(run.folder)) for setting in comparison.settings for run in setting.runs]
    return StepOutput(runs, compared)


def _repeated(shared: Mapping[str, Any]) -> dict[str, Any]:
    """What a line of the page says of the options that all steps share: those whose value is not
    the default. Without it a command takes its own, such as the precision of an attack."""
    return {
        key: value
        for key, value in shared.items()
        if key != "overwrite" and value != RunOptions.usual(key)
    }


def _finished(folder: Path) -> Finished[Result]:
    return Finished(results.read_as(Result, folder), folder)
