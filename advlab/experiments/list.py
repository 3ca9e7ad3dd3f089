"""``advlab list``: what can be typed, what ships, what was run."""

from __future__ import annotations

import contextlib
from pathlib import Path

from advlab.cli.flags import describe
from advlab.config.commands import ListCommandOptions
from advlab.config.registry import COMMANDS
from advlab.datasets import _info
from advlab.runs.files import read_json
from advlab.runs.table import percent, table

_HEADLINES = ("test_accuracy", "robust_accuracy")


def main(options: ListCommandOptions) -> int:
    """Print components, data sets, the configurations in ``configs/`` and the finished runs under ``options.out``."""
    for command in COMMANDS.values():
        parts = {name: _first_line(command.options(name).__doc__) for name in command.components()}
        print(f"{command.kind}s (advlab {command.name} NAME)\n{describe(parts)}\n")
    sets = {name: _info.module_of(name).INFO.title for name in _info.known()}
    print(
        f"data sets (--dataset NAME; advlab data says more)\n{describe({**sets, 'folder:PATH': 'your own images, a sub-folder a class'})}\n"
    )
    configurations = {str(path): _comment(path) for path in sorted(Path("configs").glob("*.yaml"))}
    if configurations:
        print(f"configurations (--config FILE)\n{describe(configurations)}\n")
    runs = finished_runs(Path(options.out))
    print(table(["finished run", "data set", "result"], runs) if runs else f"no finished runs under {options.out}")
    return 0


def finished_runs(out: Path) -> list[list[str]]:
    """Folder, data set and headline figure of every finished run under ``out``."""
    rows = []
    for file in sorted(out.glob("*/*/metrics.json")):
        with contextlib.suppress(OSError, ValueError, TypeError):
            metrics = read_json(file)
            found = [f"{key.replace('_', ' ')} {percent(metrics[key])}" for key in _HEADLINES if key in metrics]
            rows.append([str(file.parent), str(metrics.get("dataset", "–")), found[0] if found else "–"])
    return rows


def _comment(path: Path) -> str:
    """The first line of a configuration's head comment."""
    with path.open(encoding="utf-8") as lines:
        return next(lines, "").lstrip("# ").strip()


def _first_line(text: str | None) -> str:
    return (text or "").strip().splitlines()[0]
