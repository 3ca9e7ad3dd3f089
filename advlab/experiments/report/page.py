"""The page: its content as HTML, from templates beside this file."""

from __future__ import annotations

import base64
import functools
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from advlab import __version__
from advlab.errors import AdvlabError
from advlab.experiments.report.board import Board, boards
from advlab.experiments.report.gather import Run
from advlab.experiments.report.tables import NOT_BELIEVED, Table, tables
from advlab.runs.results import Result

MARK = '<meta name="generator" content="advlab report">'
"""What tells a page of this command from a file of the user."""

_HERE = Path(__file__).parent
_HEAD = 12  # hexadecimal digits that tell hashes apart for people


def html(runs: Sequence[Run], title: str) -> str:
    """The whole page.

    Args:
        runs: newest first.
        title: what the runs are of, for the heading: their folder.
    """
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    readable = [run for run in runs if not isinstance(run.result, AdvlabError)]
    all_boards, all_tables = boards(runs), tables(runs)
    text = (
        _templates()
        .get_template("page.html")
        .render(
            title=title,
            mark=MARK,
            style=(_HERE / "page.css").read_text(encoding="utf-8"),
            script=script,
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            boards=all_boards,
            tables=all_tables,
            doubtful=_doubtful(all_boards, all_tables),
            runs=readable,
            damaged=[run for run in runs if isinstance(run.result, AdvlabError)],
            anchors={run.name: f"run-{number}" for number, run in enumerate(readable, start=1)},
            version=__version__,
        )
    )
    # A file name that is no text must not keep the page from being written.
    return text.encode("utf-8", "replace").decode("utf-8")


def _doubtful(boards: Sequence[Board], tables: Sequence[Table]) -> list[Run]:
    """The runs with a failed check, each once."""
    on_boards = [row.runs for board in boards for row in board.rows if row.doubts]
    in_tables = [row.runs for table in tables for row in table.rows if row.warning == NOT_BELIEVED]
    return list({run.name: run for runs in on_boards + in_tables for run in runs}.values())


def _address(place: Path) -> str:
    """A path as a link from the page's own folder."""
    return quote(os.fsencode(place.as_posix()))


def _short(digest: str) -> str:
    return digest[:_HEAD]


def _machine(run: Run) -> str:
    """Where and for how long a run was computed."""
    if not isinstance(run.result, Result):
        return ""
    machine = run.result.machine
    seconds = f"{run.result.seconds:,.1f} seconds on "
    processes = "" if machine.processes == 1 else f"{machine.processes} processes, "
    versions = f"advlab {machine.advlab}, torch {machine.torch}, Python {machine.python}"
    return (
        f"{seconds}{machine.processor}, {machine.device}, {processes}{machine.threads} "
        f"thread{'' if machine.threads == 1 else 's'}, {machine.precision}; {versions}"
    )


@functools.cache
def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(address=_address, short=_short, machine=_machine)
    return environment
