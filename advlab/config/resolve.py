"""Resolution of options and a configuration file into a plan of validated runs.

An option on the command line takes precedence over the file, and the file over the default. Lists
of values are multiplied out.

A cell is nothing but a resolved configuration, so that whoever holds it can carry it out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from advlab.config.base import Options, identity_of
from advlab.config.explain import as_written
from advlab.config.model_modules import PACKAGE as MODELS
from advlab.config.registry import COMMANDS, Command, command_named, network_in
from advlab.config.search import Range
from advlab.config.source import MOST_CELLS, OptionSource, as_list
from advlab.config.variants import Variant, place_in, variants_of
from advlab.config.yamlfile import Document, dump_text
from advlab.errors import UsageError


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


def to_mapping(config: Config) -> dict[str, object]:
    """The cell as a flat mapping, as a YAML file holds it."""
    return {
        "command": config.command,
        COMMANDS[config.command].kind: config.component,
        **config.options.model_dump(),
    }


def from_mapping(values: Mapping[str, Any]) -> Config:
    """The cell that ``to_mapping`` wrote.

    Raises:
        UsageError: it is not one.
    """
    plan = resolve(None, [], {}, Document("configuration", dict(values)))
    if len(plan.cells) != 1:
        raise UsageError("a configuration of a single run was expected, and this one makes several")
    return plan.cells[0]


@dataclass(frozen=True)
class Space:
    """What a search that keeps a study draws from, for one component.

    Attributes:
        label: what tells the component from the others of the plan; empty for a single one.
        component: its name.
        first: the options with the first value of each that varies; they also say how many settings
            are drawn, and how.
        varied: a range or the values of every option that varies.
        source: what makes the options of a setting.
    """

    label: str
    component: str
    first: Any
    varied: Mapping[str, Range | Sequence[Any]]
    source: OptionSource

    def cells(self, values: Mapping[str, Any]) -> list[tuple[str, Config]]:
        """The labelled runs of one setting, one for each seed.

        Raises:
            UsageError: the values do not go together.
        """
        command = self.source.command.name
        return [
            (label, Config(command, self.component, options).changed(name=None, cluster=None))
            for label, options in self.source.setting(self.label, values)
        ]


@dataclass(frozen=True)
class Plan:
    """What a line asks for.

    Attributes:
        command: whose cells they are.
        cells: the runs, in order; one where nothing varies.
        labels: for each cell what tells it from the others, seeds aside.
        axes: what varies, and over which values; ``seed`` last.
        name: the name given to the whole, where it has several cells.
        mapping: the plan before it was multiplied out, every value in it; given back as a file it
            makes the same cells.
        searched: whether the settings were drawn by a search, whose best one is chosen on
            validation data.
        spaces: what a search that keeps a study draws from, for each component; its cells are then
            not those that are carried out, but as many. Empty for all other plans.
    """

    command: Command
    cells: tuple[Config, ...]
    labels: tuple[str, ...]
    axes: dict[str, tuple[Any, ...]]
    name: str | None
    mapping: dict[str, object]
    searched: bool = False
    spaces: tuple[Space, ...] = ()

    def text(self) -> str:
        """The plan as a YAML file that makes the same cells."""
        return dump_text(self.mapping)


def resolve(
    command: str | None, components: Sequence[str], flags: Mapping[str, Any], file: Document | None
) -> Plan:
    """Turn the command line and the configuration file into cells.

    Args:
        command: as typed, None where only the file says it.
        components: as typed, possibly several, possibly none.
        flags: values by option name (underscores); a list with several values makes a grid where
            the option is no list.
        file: the ``--config`` file, None without one.

    Raises:
        UsageError: anything that cannot be; the line says where it stood.
    """
    file = file or Document("")
    chosen = command_of(command, file)
    variants = variants_of(file)
    cells: list[tuple[str, Config]] = []
    axes: dict[str, tuple[Any, ...]] = {}
    blocks: dict[str, dict[str, object]] = {}
    searched = False
    spaces: list[Space] = []
    for variant in variants:
        named = _components(chosen, components, variant, file)
        if not named:
            example = chosen.example.rsplit(" --")[0]
            raise UsageError(
                f"which {chosen.kind}? It follows the command, as in {example!r}; there are "
                f"{', '.join(chosen.components())}"
            )
        for component in named:
            label = ", ".join(
                [variant.label] * bool(variant.label) + [component] * (len(named) > 1)
            )
            block = {"label": label} if variant.label else {}
            label = label or (component if len(variants) > 1 else "")
            if label in blocks:
                raise UsageError(
                    f"{file.where('variants')}: two entries are called {label!r}; give each a "
                    "'label' of its own"
                )
            network = network_in(component) if chosen.package == MODELS else component
            # Where a checkpoint is named, the training starts from its weights.
            own_flags = flags if network == component else {**flags, "weights": component}
            component = network
            source = OptionSource(chosen, component, own_flags, variant, file)
            own_cells, varied = source.cells(label)
            searched = searched or source.searches
            if source.studies:
                spaces.append(Space(label, component, source.first(), source.space(), source))
            cells += [
                (called, Config(chosen.name, component, options)) for called, options in own_cells
            ]
            if len(cells) > MOST_CELLS:
                raise UsageError(
                    f"more than {MOST_CELLS:,} runs asked for; a grid may have up to {MOST_CELLS:,}"
                )
            for key, values in varied.items():
                axes[key] = tuple(dict.fromkeys([*axes.get(key, ()), *values]))
            blocks[label] = {**block, chosen.kind: component, **source.resolved()}
    _check_different(cells)
    if spaces and len(spaces) < len(blocks):
        raise UsageError(
            f"{file.where('variants')}: --sampler, --pruner and --storage are for all of the "
            "entries or for none"
        )
    if len(blocks) > 1:
        axes = {
            "variant" if any(variant.label for variant in variants) else chosen.kind: tuple(blocks),
            **axes,
        }
    axes = {
        **{key: values for key, values in axes.items() if key != "seed"},
        **({"seed": axes["seed"]} if "seed" in axes else {}),
    }
    name = cells[0][1].options.name
    if len(cells) > 1:
        cells = [(label, cell.changed(name=None)) for label, cell in cells]
    labels = tuple(label or cell.component for label, cell in cells)
    mapping = {"command": chosen.name, **_folded(list(blocks.values()))}
    return Plan(
        chosen,
        tuple(cell for _, cell in cells),
        labels,
        axes,
        name if len(cells) > 1 else None,
        mapping,
        searched=searched,
        spaces=tuple(spaces),
    )


def command_of(typed: str | None, file: Document) -> Command:
    """The command that was typed, or that the file names.

    Raises:
        UsageError: neither says, they disagree, or there is none of that name.
    """
    named = file.values.get("command")
    if typed is None and named is None:
        raise UsageError(
            f"which command? {', '.join(COMMANDS)}"
            + (f"; {file.path} does not say 'command: …'" if file.path else "")
        )
    if named is not None:
        if not isinstance(named, str):
            raise UsageError(
                f"{file.where('command')}: must be a command's name ({', '.join(COMMANDS)}), not "
                f"{as_written(named)}"
            )
        try:
            command_named(named)
        except UsageError as error:
            raise UsageError(f"{file.where('command')}: {error}") from None
        if typed is not None and typed != named:
            raise UsageError(
                f"{file.where('command')}: is for 'advlab {named}', and 'advlab {typed}' was typed"
            )
    return command_named(typed or str(named))


def components_of(command: Command, typed: Sequence[str], file: Document) -> list[str]:
    """The components that a line and its file name, each once, at the file's top and in its
    variants; possibly none.

    Raises:
        UsageError: one is unknown, or named where it cannot be.
    """
    names = [
        name for variant in variants_of(file) for name in _components(command, typed, variant, file)
    ]
    return list(dict.fromkeys(names))


def _components(
    command: Command, typed: Sequence[str], variant: Variant, file: Document
) -> list[str]:
    """The components of one variant: those typed, else the variant's, else the file's."""
    in_variant = command.kind in variant.values
    place = (
        place_in(file, variant, command.kind) + ": "
        if in_variant
        else file.where(command.kind) + ": "
    )
    if typed and in_variant:
        raise UsageError(
            f"{place}each variant names its {command.kind}, and {typed[0]!r} was typed as well; "
            "leave one of them out"
        )
    names = list(typed) or as_list(
        variant.values[command.kind] if in_variant else file.values.get(command.kind, [])
    )
    if not names and (in_variant or command.kind in file.values):
        raise UsageError(
            f"{place}must be the name of a {command.kind} ({', '.join(command.components())}), "
            "and is empty"
        )
    if not names and command.usual:
        return [command.usual]
    place = "" if typed else place
    # A file's name holds no hyphen: word-swap is word_swap.
    known = command.components()
    names = [
        name.replace("-", "_")
        if isinstance(name, str) and name not in known and name.replace("-", "_") in known
        else name
        for name in names
    ]
    for name in names:
        if not isinstance(name, str):
            raise UsageError(
                f"{place}must be the name of a {command.kind} "
                f"({', '.join(command.components())}), not {as_written(name)}"
            )
        try:
            command.options(name)
        except UsageError as error:
            raise UsageError(f"{place}{error}") from None
        if names.count(name) > 1:
            raise UsageError(f"{place}{command.kind} {name!r} is given twice")
    return names


def _check_different(cells: Sequence[tuple[str, Config]]) -> None:
    """Refuse a plan in which one run stands twice: it would be counted twice in every mean.

    Raises:
        UsageError: one does.
    """
    seen: dict[str, str] = {}
    for label, cell in cells:
        description = f"{label or cell.component}, seed {cell.options.seed}"
        identity = repr((cell.component, cell.options.out, identity_of(cell.options)))
        if identity in seen:
            same = (
                f", which is the same as {seen[identity]}" if seen[identity] != description else ""
            )
            raise UsageError(
                f"the same run is asked for twice: {description}{same}; leave one of them out"
            )
        seen[identity] = description


def _folded(blocks: list[dict[str, object]]) -> dict[str, object]:
    """The blocks as a file holds them: what they share at the top, what is each one's own under
    ``variants``."""
    if len(blocks) == 1 and "label" not in blocks[0]:
        return blocks[0]
    common = {
        key: value
        for key, value in blocks[0].items()
        if key != "label"
        and all(key in block and repr(block[key]) == repr(value) for block in blocks)
    }
    return {
        **common,
        "variants": [
            {key: value for key, value in block.items() if key not in common} for block in blocks
        ],
    }
