"""Command lines from configurations: the line that repeats a run, and how a run is set."""

from __future__ import annotations

import contextlib
import math
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

from advlab.config.base import Options, flag_of
from advlab.config.registry import COMMANDS
from advlab.errors import AdvlabError

# What says how a run was carried out, and would only stand in the way of the next one.
_LEFT_OUT = frozenset({"overwrite", "resume", "workers", "track"})
# What the tables say in columns of their own.
_IN_COLUMNS = frozenset({"seed", "dataset", "model", "checkpoint", "eps", "norm", "limit"})


def line_of(values: Mapping[str, object]) -> str | None:
    """The line that carries out the run of a configuration: every option that is not its default.

    Returns:
        The line, quoted for a shell; None where the configuration is of no command of this version,
        or holds a value that no flag can give.
    """
    chosen = _chosen(values)
    if chosen is None:
        return None
    command, component, kind = chosen
    words = ["advlab", command, component]
    for name, value in _changed(kind, values):
        if name in _LEFT_OUT:
            continue
        flag = "--" + name.replace("_", "-")
        if value is None or (isinstance(value, list) and not value):
            return None
        if isinstance(value, bool):
            words.append(flag if value else "--no-" + flag[2:])
        elif isinstance(value, list):
            words += [flag, *map(_word, value)]
        else:
            text = _word(value)
            words += [f"{flag}={text}"] if text.startswith("-") else [flag, text]
    return shlex.join(words)


def settings_of(values: Mapping[str, object]) -> str:
    """The options that differ from their defaults and say what is computed, such as ``epochs 3,
    channels 4``; without those that tables show in columns."""
    chosen = _chosen(values)
    if chosen is None:
        return ""
    fields = chosen[2].model_fields
    return ", ".join(
        f"{name.replace('_', ' ')} {_as_text(value)}"
        for name, value in _changed(chosen[2], values)
        if flag_of(fields[name]).identity and name not in _IN_COLUMNS
    )


def _chosen(values: Mapping[str, object]) -> tuple[str, str, type[Options]] | None:
    """Command, component and options class of a configuration; None where there are none."""
    command = COMMANDS.get(str(values.get("command")))
    component = values.get(command.kind) if command is not None else None
    if command is None or not isinstance(component, str):
        return None
    network = values.get("model")
    with contextlib.suppress(AdvlabError):
        kind = command.options(component, network if isinstance(network, str) else None)
        return command.name, component, kind
    return None


def _changed(
    kind: type[Options], values: Mapping[str, object]
) -> Iterator[tuple[str, object | None]]:
    for name, field in kind.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if name in values and values[name] != default:
            yield name, values[name]


def _word(value: object) -> str:
    """A value as it is typed."""
    if isinstance(value, float) and math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return str(value)


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list):
        return " ".join(map(_as_text, value))
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else Path(str(value)).name if "/" in str(value) else str(value)


def from_file(folder: Path) -> str:
    """The line that carries out what the ``config.yaml`` of a folder says."""
    return shlex.join(["advlab", "--config", str(folder / "config.yaml")])
