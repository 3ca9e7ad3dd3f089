"""``advlab demo``: small runs on embedded data, and one page of their results."""

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
from advlab.experiments.demo.chapters import CHAPTERS, Done, Step
from advlab.progress import note, progress_bar
from advlab.results.comparison import ComparisonResult
from advlab.runs import results
from advlab.runs.files import write_text
from advlab.runs.machine import prepare
from advlab.runs.page import Section, write_page
from advlab.runs.results import Finished, Result

PAGE, LOG = "index.html", "log.txt"

_INTRODUCTION = (
    "What a laboratory for adversarial machine learning does, run just now on this "
    "machine, on data that come with it: handwritten "
    "digits and short film reviews. Every picture and figure below was made by the line above "
    "it, which can be typed as it stands."
)


def main(options: DemoOptions) -> int:
    """Carry out every chapter, those that are finished already excepted, and write the page; exit
    status 0.

    Raises:
        EnvironmentFailure: a chapter did not finish; the log says more.
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
            done = [_carried_out(step, folder, shared, log) for step in chapter.steps]
            words, figure, pictures = chapter.told(done)
            sections.append(
                Section(chapter.title, [step.line() for step in chapter.steps], words, pictures)
            )
            summary.append((chapter.title, figure))
            bar.update()
            note(f"{chapter.title}: {figure}", sys.stdout)
    seconds = time.perf_counter() - started
    write_text(folder / LOG, log.getvalue())
    footer = (
        f"advlab {machine.advlab}, torch {machine.torch}, {machine.processor}, {machine.threads} "
        f"threads, {machine.device}; "
        f"seed {options.seed}. The figures are of one small run: RESULTS.md says what larger "
        "ones reach."
    )
    write_page(folder / PAGE, "advlab: a demonstration", _INTRODUCTION, summary, sections, footer)
    print(f"{seconds:.0f} seconds; the page is {folder / PAGE}")
    return 0


def _carried_out(step: Step, folder: Path, shared: Mapping[str, Any], log: io.StringIO) -> Done:
    """Carry the step's runs out, those that are finished already excepted."""
    given = {
        key: str(folder / value[1:]) if str(value).startswith("@") else value
        for key, value in step.flags.items()
    }
    place = {"out": str(folder), "name": step.name}
    plan = resolve(step.command, [step.component], {**given, **place, **shared}, Document(""))
    log.write(f"$ {step.line()}\n")
    try:
        with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            status = importlib.import_module(plan.command.experiment).main(plan)
    finally:
        write_text(folder / LOG, log.getvalue())
    if status:
        raise EnvironmentFailure(
            f"'{step.line()}' did not finish; {folder / LOG} says more, and the same line goes "
            "on from here"
        )
    if len(plan.cells) == 1:
        return Done([_finished(folder / step.command / step.name)], None)
    compared = folder / "compare" / step.name
    comparison = results.read_as(ComparisonResult, compared)
    runs = [_finished(Path(run.folder)) for setting in comparison.settings for run in setting.runs]
    return Done(runs, compared)


def _finished(folder: Path) -> Finished[Result]:
    return Finished(results.read_as(Result, folder), folder)
