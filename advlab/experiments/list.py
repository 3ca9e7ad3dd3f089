"""``advlab list``: what can be typed, what ships, what was run."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from advlab.config.commands import ListCommandOptions
from advlab.config.registry import COMMANDS
from advlab.datasets import _info
from advlab.runs.files import read_json
from advlab.runs.headline import HEADLINES
from advlab.runs.table import describe, table
from advlab.texts import _raw


def main(options: ListCommandOptions) -> int:
    """Print components, data sets, the configurations in ``configs/`` and the finished runs under ``options.out``."""
    for package in dict.fromkeys(command.package for command in COMMANDS.values()):
        sharing = [command for command in COMMANDS.values() if command.package == package]
        parts = {name: _first_line(sharing[0].options(name).__doc__) for name in sharing[0].components()}
        print(f"{sharing[0].kind}s ({', '.join(f'advlab {command.name} NAME' for command in sharing)})\n{describe(parts)}\n")
    sets = {name: _info.module_of(name).INFO.title for name in _info.known()}
    sets |= {name: f"{_raw.module_of(name).INFO.title} (texts)" for name in _raw.known()}
    sets |= {"folder:PATH": "your own images or texts, a sub-folder a class", "csv:PATH": "your own texts"}
    print(f"data sets (--dataset NAME; advlab data says more)\n{describe(sets)}\n")
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
        headline = HEADLINES[metrics["headline"]]
        sign = -1 if headline.lower else 1
        best = max(metrics["settings"], key=lambda setting: sign * float(setting[f"{headline.key}_mean"]))
        figure = f"{headline.words} {headline.text(best[f'{headline.key}_mean'])}"
        settings = len(metrics["settings"])
        return (
            f"{figure}, the best of {settings} settings ({best['setting']})" if settings > 1 else f"{figure}, mean of {best['runs']} runs"
        )
    return next((f"{one.words} {one.text(metrics[one.key])}" for one in HEADLINES.values() if one.key in metrics), "–")


def _comment(path: Path) -> str:
    """The first line of a configuration's head comment; of a file that cannot be read, nothing."""
    with contextlib.suppress(OSError), path.open(encoding="utf-8", errors="replace") as lines:
        return next(lines, "").lstrip("# ").strip()
    return ""


def _first_line(text: str | None) -> str:
    return (text or "").strip().splitlines()[0]
