"""Finished runs as a table, CSV, JSON or LaTeX."""

from __future__ import annotations

import csv
import io
import json
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import zip_longest
from pathlib import Path

from advlab.config.options.listing import ListCommandOptions
from advlab.config.references import names_code
from advlab.errors import AdvlabError
from advlab.runs import checksums, results
from advlab.runs.results import EarlierResult, Result
from advlab.runs.table import latex, table

_DATE_WIDTH = 10
_FRAME = 13  # bars and spaces of a table with four columns
_MAX_DATASET, _MAX_RESULT = 14, 43  # widths of these columns on a terminal, in characters
_MIN_WIDTH = 20  # of names and results


@dataclass(frozen=True)
class Listed:
    """A finished run, or one that is damaged.

    Attributes:
        folder: its folder.
        result: its result, or the error with which reading it failed.
        date: when it finished, UTC, ISO 8601; for a damaged run, when its file was last written.
        written: when its result was written, in nanoseconds: the order of runs of one second.
        remark: what is wrong with its configuration; empty where nothing is known to be.
    """

    folder: Path
    result: Result | EarlierResult | AdvlabError
    date: str
    written: int
    remark: str = ""

    @property
    def dataset(self) -> str:
        """Name of the data set; a dash if it is unknown."""
        return "–" if isinstance(self.result, AdvlabError) else self.result.dataset

    @property
    def summary(self) -> str:
        """The headline figure and its conditions, or what is wrong with the run."""
        if not isinstance(self.result, AdvlabError):
            remark = f"; {self.remark}" if self.remark else ""
            return self.result.summary() + _processes(self.result) + remark
        message = str(self.result).removeprefix(f"{self.folder / results.FILE} ")
        return message.split("; --overwrite")[0]


def _processes(result: Result | EarlierResult) -> str:
    """How many processes shared each batch, where there were several."""
    count = result.machine.processes if isinstance(result, Result) else 1
    return "" if count == 1 else f", {count} processes"


def listed(options: ListCommandOptions) -> list[Listed]:
    """Return the runs under ``options.out`` that match the filters, the newest last.

    A damaged run has no data set and no model, and therefore matches no filter for these.
    """
    all_runs = [
        Listed(
            folder,
            result,
            _finished_at(folder, result),
            results.written_at(folder),
            checksums.config_remark(folder),
        )
        for folder, result in results.every_run(Path(options.out), options.command or "*")
    ]
    matching = [
        run
        for run in all_runs
        if (options.since is None or run.date[:10] >= options.since)
        and (options.dataset is None or run.dataset == options.dataset)
        and (options.model is None or options.model in _models(run.result))
    ]
    return sorted(matching, key=lambda run: (run.date, run.written, str(run.folder)))


def _models(result: Result | EarlierResult | AdvlabError) -> set[str | None]:
    """What ``--model`` may name a run by: the kind of its network, or the code that made it, with
    or without its module."""
    network, model = getattr(result, "network", None), getattr(result, "model", None)
    function = model.rsplit(":", 1)[-1] if model is not None and names_code(model) else model
    return {model, function, getattr(network, "source", None)}


def _finished_at(folder: Path, result: Result | EarlierResult | AdvlabError) -> str:
    if not isinstance(result, AdvlabError) and result.date:
        return result.date
    written = results.written_at(folder) / 1e9
    return datetime.fromtimestamp(written, timezone.utc).isoformat(timespec="seconds")


def as_table(runs: Sequence[Listed], width: int | None = None) -> str:
    """Return a text table; nothing in it is shortened.

    Args:
        width: of a terminal, in characters: names and results that are longer than their columns
            continue in the next line. Without it each run has one line.
    """
    head = ["run", "data set", "result", "date"]
    texts = [[str(run.folder), run.dataset, run.summary, run.date[:_DATE_WIDTH]] for run in runs]
    if width is None:
        return table(head, texts)
    longest = [max(map(len, column)) for column in zip(head, *texts, strict=True)]
    dataset = min(longest[1], _MAX_DATASET)
    rest = width - _FRAME - _DATE_WIDTH - dataset
    result = max(_MIN_WIDTH, min(longest[2], _MAX_RESULT, rest - _MIN_WIDTH))
    name = max(_MIN_WIDTH, rest - result)
    rows = []
    for run, data, summary, date in texts:
        columns = [
            _pieces(run, name),
            _pieces(data, dataset),
            textwrap.wrap(summary, result, break_on_hyphens=False) or [""],
            [date],
        ]
        rows += [list(line) for line in zip_longest(*columns, fillvalue="")]
    return table(head, rows)


def _pieces(name: str, width: int) -> list[str]:
    """A name in pieces of ``width`` characters, whose lines put together give the name again."""
    return [name[start : start + width] for start in range(0, len(name), width)] or [""]


def as_csv(runs: Sequence[Listed]) -> str:
    """Return a CSV line per run; ``value`` is the headline figure as a number, if there is one."""
    buffer = io.StringIO()
    lines = csv.writer(buffer, lineterminator="\n")
    lines.writerow(
        [
            "run",
            "command",
            "component",
            "dataset",
            "model",
            "seed",
            "figure",
            "value",
            "result",
            "date",
        ]
    )
    for run in runs:
        result = run.result
        figure: Sequence[object] = ("", "")
        headline = result.headline_of() if isinstance(result, Result) else None
        if isinstance(result, Result) and headline is not None:
            figure = (headline.field, result.headline_value())
        values = [
            getattr(result, name, None)
            for name in ("command", "component", "dataset", "model", "seed")
        ]
        cells = ["" if value is None else value for value in values]
        lines.writerow([run.folder, *cells, *figure, run.summary, run.date])
    return buffer.getvalue().rstrip("\n")


def as_json(runs: Sequence[Listed]) -> str:
    """Return the folder, date and complete result of each run as JSON."""
    return json.dumps([_json_values(run) for run in runs], indent=2, ensure_ascii=False)


def _json_values(run: Listed) -> Mapping[str, object]:
    head = {"run": str(run.folder), "date": run.date}
    if run.remark:
        head["remark"] = run.remark
    if isinstance(run.result, AdvlabError):
        return {**head, "damaged": run.summary}
    if isinstance(run.result, EarlierResult):
        return {**head, "result": run.result.values}
    return {**head, "result": run.result.model_dump(mode="json")}


def as_latex(runs: Sequence[Listed]) -> str:
    """Return a LaTeX ``tabular`` that uses the booktabs package."""
    rows = [[str(run.folder), run.dataset, run.summary, run.date[:_DATE_WIDTH]] for run in runs]
    return latex(["run", "data set", "result", "date"], rows)


FORMS: Mapping[str, Callable[[Sequence[Listed]], str]] = {
    "csv": as_csv,
    "json": as_json,
    "latex": as_latex,
}
