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

_WIDTH = 100  # columns of a terminal that is wide enough for the table
_DATE = 10
_FRAME = 13  # bars and spaces of a table of four columns
_DATASET, _RESULT = 14, 43  # columns that they have where there is not room for everything


@dataclass(frozen=True)
class Listed:
    """A finished run, or one that is damaged.

    Attributes:
        folder: its folder.
        found: what it reports, or why that cannot be read.
        date: when it was finished, UTC, ISO 8601; of a damaged one, when its file was last written.
    """

    folder: Path
    found: Result | EarlierResult | AdvlabError
    date: str

    @property
    def dataset(self) -> str:
        """The data set; a dash where that is not known."""
        return "–" if isinstance(self.found, AdvlabError) else self.found.dataset

    @property
    def summary(self) -> str:
        """The headline figure and what it holds for, or what is wrong with the run."""
        if not isinstance(self.found, AdvlabError):
            return self.found.summary()
        said = str(self.found).removeprefix(f"{self.folder / results.FILE} ")
        return said.split("; --overwrite")[0]


def listed(options: ListCommandOptions) -> list[Listed]:
    """The runs under ``options.out`` that its filters leave, the newest last.

    A damaged run has no data set and no model, so a filter for these leaves it out.
    """
    every = [
        Listed(folder, found, _moment(folder, found))
        for folder, found in results.every_run(Path(options.out), options.command or "*")
    ]
    kept = [
        run
        for run in every
        if (options.since is None or run.date[:10] >= options.since)
        and (options.dataset is None or run.dataset == options.dataset)
        and (options.model is None or getattr(run.found, "model", None) == options.model)
    ]
    return sorted(kept, key=lambda run: (run.date, str(run.folder)))


def _moment(folder: Path, found: Result | EarlierResult | AdvlabError) -> str:
    if not isinstance(found, AdvlabError) and found.date:
        return found.date
    written = (folder / results.FILE).stat().st_mtime
    return datetime.fromtimestamp(written, timezone.utc).isoformat(timespec="seconds")


def as_table(runs: Sequence[Listed]) -> str:
    """At most 100 columns wide: long names lose their middle, long results go on in the next
    row."""
    room = _WIDTH - _FRAME - _DATE
    head = ["run", "data set", "result", "date"]
    dataset = min(max(len(text) for text in (head[1], *(run.dataset for run in runs))), _DATASET)
    result = min(max(len(text) for text in (head[2], *(run.summary for run in runs))), _RESULT)
    rows = []
    for run in runs:
        first, *more = textwrap.wrap(run.summary, result, break_on_hyphens=False) or [""]
        name = shortened(str(run.folder), room - dataset - result)
        rows.append([name, shortened(run.dataset, dataset), first, run.date[:_DATE]])
        rows += [["", "", line, ""] for line in more]
    return table(head, rows)


def shortened(name: str, width: int) -> str:
    """A name that loses its middle where it is too long: its begin and its end tell more."""
    if len(name) <= width:
        return name
    head = (width - 1) // 2
    return f"{name[:head]}…{name[len(name) - (width - 1 - head) :]}"


def as_csv(runs: Sequence[Listed]) -> str:
    """A line for each run; ``value`` is the figure as a number, where a run is about one."""
    written = io.StringIO()
    lines = csv.writer(written, lineterminator="\n")
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
        found = run.found
        figure: Sequence[object] = ("", "")
        if isinstance(found, Result) and found.headline is not None:
            figure = (found.headline.field, found.headline_value())
        told = [
            getattr(found, name, None)
            for name in ("command", "component", "dataset", "model", "seed")
        ]
        cells = ["" if value is None else value for value in told]
        lines.writerow([run.folder, *cells, *figure, run.summary, run.date])
    return written.getvalue().rstrip("\n")


def as_json(runs: Sequence[Listed]) -> str:
    """The whole result of each run, beside its folder."""
    return json.dumps([_values(run) for run in runs], indent=2, ensure_ascii=False)


def _values(run: Listed) -> Mapping[str, object]:
    head = {"run": str(run.folder), "date": run.date}
    if isinstance(run.found, AdvlabError):
        return {**head, "damaged": run.summary}
    if isinstance(run.found, EarlierResult):
        return {**head, "result": run.found.values}
    return {**head, "result": run.found.model_dump(mode="json")}


def as_latex(runs: Sequence[Listed]) -> str:
    """A ``tabular`` with the rules of the booktabs package."""
    rows = [
        " & ".join(map(_escaped, (str(run.folder), run.dataset, run.summary, run.date[:_DATE])))
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
