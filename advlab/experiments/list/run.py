"""``advlab list``: components, data sets, recipes and finished runs."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from advlab.components import component_names, load_component, suggestion
from advlab.config import yamlfile
from advlab.config.options.listing import ListCommandOptions
from advlab.config.registry import COMMANDS, Command
from advlab.data import catalogue, raw_texts
from advlab.errors import UsageError
from advlab.experiments.list import attacks
from advlab.experiments.list.tables import FORMS, as_table, listed
from advlab.runs import results
from advlab.runs.table import describe

# Components that an option names: by the option, their package and what they are.
_METHODS = {
    "advlab poison --detect": ("advlab.poisoning.detectors", "detection methods"),
    "advlab poison --repair": ("advlab.poisoning.repairs", "repairs"),
    "advlab poison --detect-inputs": ("advlab.poisoning.input_detectors", "detectors of inputs"),
    "advlab evaluate detection --detector": (
        "advlab.evaluation.detectors",
        "detectors of adversarial images",
    ),
}


def main(options: ListCommandOptions, words: Sequence[str] = ()) -> int:
    """Print components, data sets, recipes, configurations in ``configs/`` and finished runs.

    With a filter or another format than a table, only runs under ``options.out`` are printed.

    Args:
        words: a kind of components, such as ``attacks``, for these alone; else nothing.

    Returns:
        The exit status, 0.

    Raises:
        UsageError: ``--command`` names no command, or the words no kind of components.
    """
    if words or options.table:
        _print_kind(words, options)
        return 0
    if options.command is not None and options.command not in (*COMMANDS, "compare"):
        known = [*COMMANDS, "compare"]
        near = suggestion(options.command, known)
        raise UsageError(
            f"--command: unknown command {options.command!r}{near}; there are: {', '.join(known)}"
        )
    if options.schemas:
        print(json.dumps(results.schemas(), indent=2, ensure_ascii=False))
        return 0
    if options.format != "table":
        print(FORMS[options.format](listed(options)))
        return 0
    if any((options.command, options.dataset, options.model, options.since)):
        _print_runs(options)
        return 0
    for commands in _sharing():
        _print_components(commands)
    for line, (package, kinds) in _METHODS.items():
        methods = {
            name: _first_line(load_component(package, name, kinds).__doc__)
            for name in component_names(package)
        }
        print(f"{kinds} ({line} NAME)\n{describe(methods, _width())}\n")
    sets = {name: catalogue.dataset_module(name).INFO.title for name in catalogue.dataset_names()}
    sets |= {
        name: f"{raw_texts.dataset_module(name).INFO.title} (texts)"
        for name in raw_texts.dataset_names()
    }
    sets |= {
        "folder:PATH": "your own images or texts, one sub-folder per class",
        "csv:PATH": "your own texts in a CSV file",
        "npz:FILE": "your own images in a NumPy archive",
        "parquet:PATH": "images or texts in Parquet files",
        "hf:NAME": "images or texts of the Hugging Face Hub",
        "torchvision:NAME": "images of another set of torchvision, such as EuroSAT",
    }
    print(f"data sets (--dataset NAME; details: advlab data)\n{describe(sets, _width())}\n")
    recipes = {name: _comment(yamlfile.RECIPES / f"{name}.yaml") for name in yamlfile.recipes()}
    print(f"recipes (--config NAME)\n{describe(recipes, _width())}\n")
    configurations = {
        str(path): _comment(path)
        for path in sorted(Path("configs").glob("*.yaml"))
        if path.is_file()
    }
    if configurations:
        print(f"configurations (--config FILE)\n{describe(configurations, _width())}\n")
    _print_runs(options)
    return 0


def _sharing() -> list[list[Command]]:
    """The commands; those that share a package of components, such as train and memorize, go
    together."""
    packages: dict[str, list[Command]] = {}
    for command in COMMANDS.values():
        packages.setdefault(command.package or command.name, []).append(command)
    return list(packages.values())


def _print_components(commands: Sequence[Command]) -> None:
    components = {
        name: _first_line(commands[0].options(name).__doc__) for name in commands[0].components()
    }
    lines = ", ".join(f"advlab {command.name} NAME" for command in commands)
    print(f"{commands[0].kind}s ({lines})\n{describe(components, _width())}\n")


def _print_kind(words: Sequence[str], options: ListCommandOptions) -> None:
    """Print the components of one kind.

    Raises:
        UsageError: there is no such kind, or no such table of it.
    """
    kinds: dict[str, list[list[Command]]] = {}
    for commands in _sharing():
        kinds.setdefault(f"{commands[0].kind}s", []).append(commands)
    if options.table and list(words) != ["attacks"]:
        raise UsageError("--table goes with 'advlab list attacks'")
    if words[0] in COMMANDS:
        raise UsageError(
            f"list: unexpected {words[0]!r}; 'advlab list --command {words[0]}' lists its runs"
        )
    if len(words) > 1 or words[0] not in kinds:
        raise UsageError(
            f"list: unexpected {' '.join(words)!r}{suggestion(words[0], kinds)}; 'advlab list' "
            f"lists everything, and 'advlab list KIND' one of {', '.join(kinds)}"
        )
    if options.table:
        print(attacks.as_table())
    else:
        for commands in kinds[words[0]]:
            _print_components(commands)


def _print_runs(options: ListCommandOptions) -> None:
    runs = listed(options)
    if runs:
        print(f"finished runs, newest last\n{as_table(runs, _width())}")
    else:
        filtered = any((options.command, options.dataset, options.model, options.since))
        print(f"no {'such ' if filtered else ''}finished runs under {options.out}")


def _width() -> int | None:
    """Columns of the terminal; None where there is none."""
    terminal = sys.stdout is not None and sys.stdout.isatty()  # None where it was closed
    return shutil.get_terminal_size().columns if terminal else None


def _comment(path: Path) -> str:
    """Return the first line of the comment at the head of a file, or "" if it is unreadable."""
    with contextlib.suppress(OSError), path.open(encoding="utf-8", errors="replace") as lines:
        return next(lines, "").lstrip("# ").strip()
    return ""


def _first_line(text: str | None) -> str:
    return (text or "").strip().splitlines()[0]
