"""``advlab list``: what can be typed, what ships, what was run."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from advlab.config.commands import ListCommandOptions
from advlab.config.registry import COMMANDS
from advlab.datasets import _info
from advlab.runs.files import read_json
from advlab.runs.table import describe, percent, table

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
    configurations = {str(path): _comment(path) for path in sorted(Path("configs").glob("*.yaml")) if path.is_file()}
    if configurations:
        print(f"configurations (--config FILE)\n{describe(configurations)}\n")
    runs = finished_runs(Path(options.out))
    print(table(["finished run", "data set", "result"], runs) if runs else f"no finished runs under {options.out}")
    return 0


def finished_runs(out: Path) -> list[list[str]]:
    """Folder, data set and headline figure of every finished run under ``out``."""
    rows = []
    for file in sorted(out.glob("*/*/metrics.json")):
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError, LookupError):  # not written by us, or damaged
            metrics = read_json(file)
            rows.append([str(file.parent), str(metrics.get("dataset", "–")), _headline(metrics)])
    return rows


def _headline(metrics: dict[str, Any]) -> str:
    """The figure that a run is about; of a comparison, the mean of its best setting."""
    if "settings" in metrics:
        best = max(metrics["settings"], key=lambda setting: float(setting[f"{metrics['headline']}_mean"]))
        figure = f"{metrics['headline'].replace('_', ' ')} {percent(best[metrics['headline'] + '_mean'])}"
        settings = len(metrics["settings"])
        return (
            f"{figure}, the highest of {settings} settings ({best['setting']})"
            if settings > 1
            else f"{figure}, mean of {best['runs']} runs"
        )
    return next((f"{key.replace('_', ' ')} {percent(metrics[key])}" for key in _HEADLINES if key in metrics), "–")


def _comment(path: Path) -> str:
    """The first line of a configuration's head comment; of a file that cannot be read, nothing."""
    with contextlib.suppress(OSError), path.open(encoding="utf-8", errors="replace") as lines:
        return next(lines, "").lstrip("# ").strip()
    return ""


def _first_line(text: str | None) -> str:
    return (text or "").strip().splitlines()[0]
