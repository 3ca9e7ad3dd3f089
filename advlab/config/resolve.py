"""From flags and a file to cells: default < file < flag, lists of settings multiplied out, every cell validated.

A cell is nothing but a resolved configuration, so that whoever holds it can carry it out.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from advlab import names
from advlab.config.base import Options, flag_of
from advlab.config.explain import explain
from advlab.config.registry import COMMANDS, Command, command_named
from advlab.config.yamlfile import Document
from advlab.errors import UserError

_MOST_CELLS = 1000


@dataclass(frozen=True)
class Config:
    """One resolved cell: a command, one of its components, and the value of every option."""

    command: str
    component: str
    options: Any

    def changed(self, **values: Any) -> Config:
        """The same with other values for some options, validated again."""
        kind: type[Options] = type(self.options)
        return replace(self, options=kind(**{**self.options.model_dump(), **values}))


def to_mapping(config: Config) -> dict[str, Any]:
    """The cell as a flat mapping, as a YAML file holds it."""
    return {"command": config.command, COMMANDS[config.command].key: config.component, **config.options.model_dump()}


def from_mapping(values: Mapping[str, Any]) -> Config:
    """The cell that ``to_mapping`` wrote.

    Raises:
        UserError: it is not one.
    """
    plan = resolve(None, [], {}, Document("configuration", dict(values)))
    if len(plan.cells) != 1:
        raise UserError("a configuration of a single run was expected, and this one makes several")
    return plan.cells[0]


@dataclass(frozen=True)
class Plan:
    """What a line asks for.

    Attributes:
        command: whose cells they are.
        cells: the runs, in order; one where nothing varies.
        labels: for each cell what tells it from the others, seeds aside.
        axes: what varies, and over which values; ``seed`` last.
        name: the name given to the whole, where it has several cells.
        mapping: the plan before it was multiplied out, every value in it; given back as a file it makes the same cells.
    """

    command: Command
    cells: tuple[Config, ...]
    labels: tuple[str, ...]
    axes: dict[str, tuple[Any, ...]]
    name: str | None
    mapping: dict[str, Any]


def resolve(command: str | None, components: Sequence[str], flags: Mapping[str, Any], file: Document | None) -> Plan:
    """Turn what was typed and what a file says into cells.

    Args:
        command: as typed, None where only the file says it.
        components: as typed, possibly several, possibly none.
        flags: values by option name (underscores); a list with several values makes a grid where the option is no list.
        file: the ``--config`` file, None without one.

    Raises:
        UserError: anything that cannot be; the line says where it stood.
    """
    file = file or Document("")
    chosen = _command(command, file)
    variants = _variants(file)
    cells: list[tuple[str, Config]] = []
    axes: dict[str, tuple[Any, ...]] = {}
    blocks: list[dict[str, Any]] = []
    for variant in variants:
        named = list(components) or _as_list(variant.values.get(chosen.key, file.values.get(chosen.key)))
        if not named:
            raise UserError(f"which {chosen.kind}? {chosen.example.rsplit(' --')[0]!r}, say; there are {', '.join(chosen.components())}")
        for component in named:
            label = variant.label or (str(component) if len(named) > 1 or len(variants) > 1 else "")
            source = _Source(chosen, str(component), flags, variant, file)
            found, varied = source.cells(label)
            cells += found
            for name, values in varied.items():
                axes.setdefault(name, values)
            blocks.append({"label": label or str(component), chosen.key: component, **source.resolved()})
    if len(blocks) > 1:
        axes = {chosen.key if not any(variant.label for variant in variants) else "variant": tuple(b["label"] for b in blocks), **axes}
    if len(cells) > _MOST_CELLS:
        raise UserError(f"{len(cells):,} runs asked for; a grid may have up to {_MOST_CELLS:,}")
    name = cells[0][1].options.name
    if len(cells) > 1:
        cells = [(label, cell.changed(name=None)) for label, cell in cells]
    mapping: dict[str, Any] = {"command": chosen.name}
    mapping |= {key: value for key, value in blocks[0].items() if key != "label"} if len(blocks) == 1 else {"variants": blocks}
    labels = tuple(label or cell.component for label, cell in cells)
    return Plan(chosen, tuple(cell for _, cell in cells), labels, axes, name if len(cells) > 1 else None, mapping)


@dataclass(frozen=True)
class _Variant:
    """One entry of a file's ``variants``: values laid over the file's own."""

    label: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class _Source:
    """Everything said about one component, and where it was said."""

    command: Command
    component: str
    flags: Mapping[str, Any]
    variant: _Variant
    file: Document

    @property
    def kind(self) -> type[Options]:
        return self.command.options(self.component)

    def where(self, key: str) -> str:
        """The place that a value came from, for a refusal."""
        if key in self.flags:
            return "--" + key.replace("_", "-")
        if key in self.variant.values:
            return f"{self.file.path}: variants: {key}"
        return self.file.where(key)

    def given(self) -> dict[str, Any]:
        """Values by option: the flag's, else the variant's, else the file's. Unknown keys are refused."""
        values = {**self.file.values, **self.variant.values, **self.flags}
        for key in ("command", "variants", "label", self.command.key if self.command.key not in self.kind.model_fields else "command"):
            if key not in self.flags:
                values.pop(key, None)
        for key in values:
            if key not in self.kind.model_fields:
                raise UserError(self._unknown(key))
        return values

    def split(self) -> tuple[dict[str, Any], dict[str, list[Any]]]:
        """The values that are fixed, and those that vary."""
        fixed: dict[str, Any] = {}
        varied: dict[str, list[Any]] = {}
        for key, value in self.given().items():
            field = self.kind.model_fields[key]
            if _takes_list(field):
                fixed[key] = value if isinstance(value, list) else [value]
            elif not isinstance(value, list):
                fixed[key] = value
            elif len(value) == 0:
                raise UserError(f"{self.where(key)}: an empty list; give it a value")
            elif len(value) == 1:
                fixed[key] = value[0]
            elif not flag_of(field).grid:
                raise UserError(f"{self.where(key)}: takes one value, not {len(value)}")
            else:
                varied[key] = value
        return fixed, varied

    def cells(self, label: str) -> tuple[list[tuple[str, Config]], dict[str, tuple[Any, ...]]]:
        """A labelled cell for every combination of the values that vary and every seed."""
        fixed, varied = self.split()
        size = 1
        for values in varied.values():
            size *= len(values)
        if size > _MOST_CELLS:
            raise UserError(f"{size:,} combinations asked for; a grid may have up to {_MOST_CELLS:,}")
        cells: list[tuple[str, Config]] = []
        shown: dict[str, list[Any]] = {key: [] for key in varied}
        for combination in itertools.product(*varied.values()):
            options = self._validated({**fixed, **dict(zip(varied, combination, strict=True))})
            parts = [label] if label else []
            for key in varied:
                value = getattr(options, key)
                shown[key] += [value] if value not in shown[key] else []
                parts += [f"{key.replace('_', ' ')} {value}"] if key != "seed" else []
            for seed in range(options.seed, options.seed + options.seeds):
                one = options if options.seeds == 1 else self._validated({**options.model_dump(), "seed": seed, "seeds": 1})
                cells.append((", ".join(parts), Config(self.command.name, self.component, one)))
        axes = {key: tuple(values) for key, values in shown.items() if key != "seed"}
        seeds = tuple(dict.fromkeys(cell.options.seed for _, cell in cells))
        return cells, {**axes, **({"seed": seeds} if len(seeds) > 1 else {})}

    def resolved(self) -> dict[str, Any]:
        """Every option's value, lists where it varies."""
        fixed, varied = self.split()
        first = self._validated({**fixed, **{key: values[0] for key, values in varied.items()}}).model_dump()
        several = {key: [self._validated({**fixed, key: value}).model_dump()[key] for value in values] for key, values in varied.items()}
        return {**first, **several}

    def _validated(self, values: dict[str, Any]) -> Any:
        try:
            return self.kind(**values)
        except ValidationError as error:
            raise UserError(explain(error, self.kind, self.where)) from None

    def _unknown(self, key: str) -> str:
        """Whose option it is, if anybody's, or which one was probably meant."""
        known = self.kind.model_fields
        flag = key in self.flags

        def shown(name: str) -> str:
            return "--" + name.replace("_", "-") if flag else name

        here = f"advlab {self.command.name} {self.component}"
        owners = [name for name in self.command.components() if key in self.command.options(name).model_fields]
        if owners:
            plural = "s" if len(owners) > 1 else ""
            return f"{self.where(key)}: belongs to the {self.command.kind}{plural} {_listed(owners)}, not to {self.component}"
        for other in COMMANDS.values():
            if other is not self.command and any(key in other.options(name).model_fields for name in other.components()):
                return f"{self.where(key)}: belongs to 'advlab {other.name}', not to 'advlab {self.command.name}'"
        hint = names.suggestion(shown(key), [shown(name) for name in known])
        return f"{self.where(key)}: unknown {'flag' if flag else 'key'}{hint}; '{here} --help' lists them all"


def _command(typed: str | None, file: Document) -> Command:
    said = file.values.get("command")
    if typed is None and said is None:
        raise UserError(f"which command? {', '.join(COMMANDS)}" + (f"; {file.path} does not say" if file.path else ""))
    if said is not None and not isinstance(said, str):
        raise UserError(f"{file.where('command')}: must be a command's name, not {said!r}")
    if typed is not None and said is not None and typed != said:
        raise UserError(f"{file.where('command')}: is for 'advlab {said}', and 'advlab {typed}' was typed")
    try:
        return command_named(typed or str(said))
    except UserError as error:
        raise UserError(f"{file.where('command')}: {error}") from None


def _variants(file: Document) -> list[_Variant]:
    entries = file.values.get("variants")
    if entries is None:
        return [_Variant("", {})]
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise UserError(f"{file.where('variants')}: must be a list of mappings, each with the settings of one variant")
    return [
        _Variant(str(entry.get("label", "")), {str(key).replace("-", "_"): value for key, value in entry.items() if key != "label"})
        for entry in entries
    ]


def _takes_list(field: FieldInfo) -> bool:
    return get_origin(field.annotation) is list


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
