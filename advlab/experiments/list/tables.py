"""Finished runs as a table, CSV, JSON or LaTeX."""

from __future__ import annotations

import csv
import io
import json
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from advlab.config.options.listing import ListCommandOptions
from advlab.errors import AdvlabError
from advlab.runs import results
from advlab.runs.results import EarlierResult, Result
from advlab.runs.table import table

_WIDTH = 100  # of the table, in characters
_DATE_WIDTH = 10
_FRAME = 13  # bars and spaces of a table with four columns
_MAX_DATASET, _MAX_RESULT = 14, 43  # widths of these columns, in characters


@dataclass(frozen=True)
class Listed:
    """A finished run, or one that is damaged.

    Attributes:
        folder: its folder.
        result: its result, or the error with which reading it failed.
        date: when it finished, UTC, ISO 8601; for a damaged run, when its file was last written.
    """

    folder: Path
    result: Result | EarlierResult | AdvlabError
    date: str

    @property
    def dataset(self) -> str:
        """Name of the data set; a dash if it is unknown."""
        return "–" if isinstance(self.result, AdvlabError) else self.result.dataset

    @property
    def summary(self) -> str:
        """The headline figure and its conditions, or what is wrong with the run."""
        if not isinstance(self.result, AdvlabError):
            return self.result.summary()
        message = str(self.result).removeprefix(f"{self.folder / results.FILE} ")
        return message.split("; --overwrite")[0]


def listed(options: ListCommandOptions) -> list[Listed]:
    """Return the runs under ``options.out`` that match the filters, the newest last.

    A damaged run has no data set and no model, and therefore matches no filter for these.
    """
    all_runs = [
        Listed(folder, result, _finished_at(folder, result))
        for folder, result in results.every_run(Path(options.out), options.command or "*")
    ]
    matching = [
        run
        for run in all_runs
        if (options.since is None or run.date[:10] >= options.since)
        and (options.dataset is None or run.dataset == options.dataset)
        and (options.model is None or getattr(run.result, "model", None) == options.model)
    ]
    return sorted(matching, key=lambda run: (run.date, str(run.folder)))


def _finished_at(folder: Path, result: Result | EarlierResult | AdvlabError) -> str:
    if not isinstance(result, AdvlabError) and result.date:
        return result.date
    written = (folder / results.FILE).stat().st_mtime
    return datetime.fromtimestamp(written, timezone.utc).isoformat(timespec="seconds")


def as_table(runs: Sequence[Listed]) -> str:
    """Return a text table of at most 100 characters per line.

    Long names are shortened in the middle, and long results continue in the next row.
    """
    available = _WIDTH - _FRAME - _DATE_WIDTH
    head = ["run", "data set", "result", "date"]
    dataset = min(
        max(len(text) for text in (head[1], *(run.dataset for run in runs))), _MAX_DATASET
    )
    result = min(max(len(text) for text in (head[2], *(run.summary for run in runs))), _MAX_RESULT)
    rows = []
    for run in runs:
        first, *continued = textwrap.wrap(run.summary, result, break_on_hyphens=False) or [""]
        name = shortened(str(run.folder), available - dataset - result)
        rows.append([name, shortened(run.dataset, dataset), first, run.date[:_DATE_WIDTH]])
        rows += [["", "", line, ""] for line in continued]
    return table(head, rows)


def shortened(name: str, width: int) -> str:
    """Replace the middle of a name that exceeds ``width`` characters with an ellipsis."""
    if len(name) <= width:
        return name
    head = (width - 1) // 2
    return f"{name[:head]}…{name[len(name) - (width - 1 - head) :]}"


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
        if isinstance(result, Result) and result.headline is not None:
            figure = (result.headline.field, result.headline_value())
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
    if isinstance(run.result, AdvlabError):
        return {**head, "damaged": run.summary}
    if isinstance(run.result, EarlierResult):
        return {**head, "result": run.result.values}
    return {**head, "result": run.result.model_dump(mode="json")}


def as_latex(runs: Sequence[Listed]) -> str:
    """Return a LaTeX ``tabular`` that uses the booktabs package."""
    rows = [
        " & ".join(
            map(_escaped, (str(run.folder), run.dataset, run.summary, run.date[:_DATE_WIDTH]))
        )
        + r" \\"
        for run in runs
    ]
    return "\n".join(
        [
            r"\begin{tabular}{llll}",
            r"\toprule",
            r"run & data set & result & date \\",
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


_LATEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "–": "--",
    "…": r"\ldots{}",
    "ε": r"$\varepsilon$",
    "±": r"$\pm$",
    "∞": r"$\infty$",
    "σ": r"$\sigma$",
    "α": r"$\alpha$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "×": r"$\times$",
}


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in text)


FORMS: Mapping[str, Callable[[Sequence[Listed]], str]] = {
    "csv": as_csv,
    "json": as_json,
    "latex": as_latex,
}
