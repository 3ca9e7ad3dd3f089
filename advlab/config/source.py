"""The values given for one component by flags, a variant and a file, checked and multiplied out."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from advlab.components import flag_suggestion, listed, suggestion
from advlab.config.base import Flag, Options, flag_of
from advlab.config.explain import as_written, explain
from advlab.config.fields import image_models
from advlab.config.model_modules import PACKAGE as MODELS
from advlab.config.model_modules import is_referenced
from advlab.config.options.run import SearchOptions
from advlab.config.references import checkpoint_data, checkpoint_model, names_file
from advlab.config.registry import Command, network_in, owners_of
from advlab.config.search import Range, range_in, settings
from advlab.config.variants import Variant, place_in
from advlab.config.yamlfile import Document
from advlab.errors import UsageError

MOST_CELLS = 1000
"""A grid that is larger is taken for a slip."""

_FOLLOWS = {
    "folder:": "PATH",
    "csv:": "PATH",
    "npz:": "FILE",
    "parquet:": "PATH",
    "hf:": "NAME",
    "torchvision:": "NAME",
    "ensemble:": "RUN,RUN",
    "timm:": "NAME",
    "robustbench:": "NAME",
}
"""What stands behind a word that only starts a name."""


@dataclass(frozen=True)
class OptionSource:
    """The values given for one component, with the place each was given at."""

    command: Command
    component: str
    flags: Mapping[str, Any]
    variant: Variant
    file: Document

    @property
    def kind(self) -> type[Options]:
        """The component's options class, with the options of the network that it is to train."""
        named = self._model()
        known = named in image_models() or is_referenced(named)
        return self.command.options(self.component, named if known else None)

    @property
    def searches(self) -> bool:
        """Whether settings are drawn by a random search."""
        return issubclass(self.kind, SearchOptions) and self._value_of("search") is not None

    @property
    def studies(self) -> bool:
        """Whether settings are drawn by a search that keeps a study."""
        return self.searches and self.first().studies

    def _model(self) -> Any:
        """The network that a command trains, as ``model`` names it; where that is a checkpoint, the
        network that it holds."""
        named = self._value_of("model")
        if not self.command.trains:
            return None
        return network_in(named) if _is_file(named) else named

    def _value_of(self, key: str) -> Any:
        """What was given for an option, unchecked: the flag's value, else the variant's, else the
        file's."""
        return next(
            (
                values[key]
                for values in (self.flags, self.variant.values, self.file.values)
                if key in values
            ),
            None,
        )

    def where(self, key: str) -> str:
        """The place that a value came from, for a refusal."""
        if key in self.flags:
            return "--" + key.replace("_", "-")
        if key in self.variant.values:
            return place_in(self.file, self.variant, key)
        return self.file.where(key)

    def given(self) -> dict[str, object]:
        """Values by option: the flag's, else the variant's, else the file's. Unknown keys are
        refused."""
        values = {**self.file.values, **self.variant.values}
        for key in (
            "command",
            "variants",
            *([self.command.kind] if self.command.kind not in self.kind.model_fields else []),
        ):
            values.pop(key, None)
        values.update(self.flags)
        if self.command.trains and _is_file(values.get("model")):
            values |= {"model": self._model(), "weights": values["model"]}
        weights = values.get("weights")
        values = {**self._architecture_of(weights), **values}
        photo = not str(values.get("image", 0)).isdecimal()  # which is of no data set
        if (
            isinstance(weights, str)
            and "dataset" not in values
            and self._takes == "images"
            and not photo
        ):
            # It goes on with the data of its first training, split as they were then.
            known = self.kind.model_fields.keys()
            data = {key: one for key, one in checkpoint_data(weights).items() if key in known}
            values = {**data, **values}
        for key, value in values.items():
            if key not in self.kind.model_fields:
                raise UsageError(self._unknown(key))
            values[key] = self._in_words(key, value)
        return values

    @property
    def _takes(self) -> str:
        """The data that the component takes."""
        known = self.component in self.command.components()
        return self.command.takes(self.component) if known else "images"

    def _architecture_of(self, weights: object) -> dict[str, object]:
        """The architecture of the checkpoint that a training starts from, so that it need not be
        given again; empty where it starts from none of the same network."""
        network = self.component if self.command.package == MODELS else self._model()
        if not isinstance(weights, str) or not (self.command.trains or network == self.component):
            return {}
        model, architecture = checkpoint_model(weights) or ("", {})
        if model != (network or self.kind.model_fields["model"].default):
            return {}
        return {key: value for key, value in architecture.items() if value is not None}

    def _in_words(self, key: str, value: Any) -> Any:
        """The value, with names of files of a package as the files are called.

        Raises:
            UsageError: no file of the package bears such a name; before any run has begun.
        """
        flag = flag_of(self.kind.model_fields[key])
        if flag.words is None or value is None:
            return value
        known = flag.words()
        if isinstance(value, list):
            return [self._in_known(item, known, flag, key) for item in value]
        return self._in_known(value, known, flag, key)

    def _in_known(self, item: Any, known: Sequence[str], flag: Flag, key: str) -> Any:
        """A value as the known name that it means, whatever its case and hyphens; any other value
        that the option takes as it is."""
        name = (
            str(item).strip()
            if isinstance(item, (str, int, float)) and not isinstance(item, bool)
            else ""
        )
        if (
            not name
            or name in known
            or any(word.endswith(":") and name.startswith(word) for word in known)
            or (flag.accepts is not None and flag.accepts(name))
        ):
            return item
        meant = [word for word in known if _plain(word) == _plain(name)]
        if len(meant) == 1:
            return meant[0]
        listed = ", ".join(word + _FOLLOWS.get(word, "") for word in known)
        listed += f", {flag.others}" if flag.others else ""
        hints = flag.hints() if flag.hints else {}
        hint = next((hints[word] for word in hints if name.startswith(word)), "")
        hint += self._for_texts() if hint else ""
        raise UsageError(
            f"{self.where(key)}: must be one of {listed}{suggestion(name, known)}, not "
            f"{as_written(item)}{hint}"
        )

    def _for_texts(self) -> str:
        """Which components of the command take texts, for the refusal of one that does not."""
        able = [name for name in self.command.components() if self.command.takes(name) == "texts"]
        return f", and texts by {listed(able)}" if able else ""

    def split(self) -> tuple[dict[str, object], dict[str, list[Any] | Range]]:
        """The values that are fixed, and those that vary, in the order of the schema: however
        typed, a grid is the same."""
        fixed: dict[str, object] = {}
        varied: dict[str, list[Any] | Range] = {}
        values = self.given()
        for key, field in self.kind.model_fields.items():
            if key not in values:
                continue
            value = values[key]
            span = self._range(key, field, value)
            if span is not None:
                varied[key] = span
            elif _takes_list(field):
                fixed[key] = value if isinstance(value, list) or value is None else [value]
            elif not isinstance(value, list):
                fixed[key] = value
            elif len(value) == 0:
                raise UsageError(f"{self.where(key)}: an empty list; give it a value")
            elif len(value) == 1:
                fixed[key] = value[0]
            elif not flag_of(field).grid:
                raise UsageError(f"{self.where(key)}: takes one value, not {len(value)}")
            else:
                varied[key] = value
        return fixed, varied

    def _range(self, key: str, field: FieldInfo, value: object) -> Range | None:
        """The range that was given for an option, whose ends it takes; None for other values."""
        only = value[0] if isinstance(value, list) and len(value) == 1 else value
        try:
            span = range_in(only, field.annotation)
        except ValueError as error:
            raise UsageError(f"{self.where(key)}: {only}: {error}") from None
        if span is not None and flag_of(field).grid and key != "seed":
            return span
        return None

    def cells(self, label: str) -> tuple[list[tuple[str, Any]], dict[str, tuple[Any, ...]]]:
        """Labelled options for every combination of the values that vary, or for those that a
        search draws, and every seed; and what varies."""
        fixed, varied = self.split()
        # --search and --seeds are one number for all of them, so the first tells it, before any
        # other is made.
        if fixed.get("search") is None:
            _check_size(math.prod(len(one) for one in varied.values() if isinstance(one, list)))
        first = self._first(fixed, varied)
        combinations = self._combinations(first, varied)
        cells: list[tuple[str, Any]] = []
        used: dict[str, list[Any]] = {key: [] for key in varied}
        shortened: set[str] = set()
        for combination in combinations:
            chosen = self._of_use(dict(zip(varied, combination, strict=True)), fixed, varied)
            if len(chosen) < len(varied):
                if repr(chosen) in shortened:  # it differs in what it has no use for
                    continue
                shortened.add(repr(chosen))
            several = self._seeds_of(label, self._of_use(fixed, chosen, varied), chosen)
            cells += several
            for key in chosen:
                value = getattr(several[0][1], key)
                used[key] += [value] if value not in used[key] else []
        for key, values in varied.items():
            if isinstance(values, list) and not _searches(first) and len(used[key]) < len(values):
                raise UsageError(
                    f"{self.where(key)}: a value is given twice: "
                    f"{', '.join(str(value) for value in values)[:60]}"
                )
        axes = {key: tuple(values) for key, values in used.items() if key != "seed"}
        seeds = tuple(dict.fromkeys(one.seed for _, one in cells))
        return cells, {**axes, **({"seed": seeds} if len(seeds) > 1 else {})}

    def setting(self, label: str, values: Mapping[str, Any]) -> list[tuple[str, Any]]:
        """Labelled options of one setting of a search, for every seed.

        Args:
            values: of the options that vary.
        """
        fixed, varied = self.split()
        values = self._of_use(values, fixed, varied)
        return self._seeds_of(label, self._of_use(fixed, values, varied), values)

    def _of_use(
        self,
        values: Mapping[str, Any],
        others: Mapping[str, Any],
        varied: Mapping[str, list[Any] | Range],
    ) -> dict[str, Any]:
        """The values of a setting without those that change nothing beside the others, where
        another setting has a use for them. What neither gives has its default."""
        setting, conditions = {**others, **values}, self.kind.conditions()

        def is_of_use(key: str) -> bool:
            other, wanted = conditions[key]
            return setting.get(other, self.kind.usual(other)) in wanted

        return {
            key: value
            for key, value in values.items()
            if self._used_with(key, varied) is None or is_of_use(key)
        }

    def _used_with(
        self, key: str, varied: Mapping[str, list[Any] | Range]
    ) -> dict[str, Any] | None:
        """A value of another option that varies, beside which an option changes something; None
        where it goes with none that varies."""
        other, wanted = self.kind.conditions().get(key, ("", ()))
        values = varied.get(other, [])
        fitting = [] if isinstance(values, Range) else [one for one in values if one in wanted]
        return {other: fitting[0]} if fitting else None

    def _seeds_of(
        self, label: str, fixed: Mapping[str, object], values: Mapping[str, Any]
    ) -> list[tuple[str, Any]]:
        options = self._validated({**fixed, **values})
        parts = [label] if label else []
        for key in values:
            parts += [f"{key.replace('_', ' ')} {getattr(options, key)}"] if key != "seed" else []
        cells = []
        for seed in range(options.seed, options.seed + options.seeds):
            alone: dict[str, object] = {"seed": seed, "seeds": 1}
            if _searches(options):
                alone |= options.settled()
            one = (
                options
                if options.seeds == 1 and not _searches(options)
                else self._validated({**options.model_dump(), **alone})
            )
            cells.append((", ".join(parts), one))
        return cells

    def space(self) -> dict[str, Range | list[Any]]:
        """What a search draws from, in the order of the schema: a range, or the values of an
        option as its type has them."""
        fixed, varied = self.split()
        return {
            key: values
            if isinstance(values, Range)
            else [self._alone(key, value, fixed, varied).model_dump()[key] for value in values]
            for key, values in varied.items()
        }

    def _alone(
        self,
        key: str,
        value: Any,
        fixed: Mapping[str, object],
        varied: Mapping[str, list[Any] | Range],
    ) -> Any:
        """The options with one value of what varies, and with what it needs beside it."""
        beside = self._used_with(key, varied) or {}
        return self._validated(
            {**self._of_use(fixed, {**beside, key: value}, varied), **beside, key: value}
        )

    def first(self) -> Any:
        """The options with the first value of each that varies."""
        return self._first(*self.split())

    def resolved(self) -> dict[str, object]:
        """Every option's value, lists where it varies. Left out are defaults that follow from what
        varies, such as the learning rates of a loss: given back, they would hold for all."""
        space = self.space()
        several: dict[str, object] = {
            key: values.text if isinstance(values, Range) else values
            for key, values in space.items()
        }
        fixed, varied = self.split()
        # Of no use beside the first value of another option, and of use beside another one.
        some = {
            key: self._alone(key, value, fixed, varied).model_dump()[key]
            for key, value in fixed.items()
            if self._used_with(key, varied) is not None
        }
        first = self.first().model_dump()
        following = {
            name
            for key, values in varied.items()
            if not isinstance(values, Range)
            for one in values
            for name, value in self._alone(key, one, fixed, varied).model_dump().items()
            if name not in fixed and name not in varied and value != first[name]
        }
        usual = {name: value for name, value in first.items() if name not in following}
        return {**usual, **some, **several}

    def _first(self, fixed: dict[str, object], varied: Mapping[str, list[Any] | Range]) -> Any:
        """The options with the first value of each that varies, or the lower end of its range."""
        for key, values in varied.items():
            if isinstance(values, Range):
                for end in values.ends:
                    self._alone(key, end, fixed, varied)
        first = {
            key: values.ends[0] if isinstance(values, Range) else values[0]
            for key, values in varied.items()
        }
        return self._validated(self._of_use({**fixed, **first}, {}, varied))

    def _combinations(
        self, first: Any, varied: Mapping[str, list[Any] | Range]
    ) -> Iterable[tuple[Any, ...]]:
        """The values of what varies, of every setting.

        Raises:
            UsageError: there are too many, or a search has nothing or not enough to draw from.
        """
        ranges = [key for key, values in varied.items() if isinstance(values, Range)]
        if not _searches(first):
            for key in ranges:
                reason = (
                    "add --search N, which draws N settings from ranges"
                    if isinstance(first, SearchOptions)
                    else "only commands with --search draw from ranges"
                )
                raise UsageError(f"{self.where(key)}: {varied[key]} is a range; {reason}")
            lists = [values for values in varied.values() if not isinstance(values, Range)]
            _check_size(math.prod(map(len, lists)) * first.seeds)
            return itertools.product(*lists)
        where = self.where("search")
        if "seed" in varied:
            raise UsageError(
                f"{self.where('seed')}: takes one value with --search; --seeds N repeats every "
                "setting"
            )
        for key in varied:
            if key in first.measuring:
                raise UsageError(
                    f"{self.where(key)}: takes one value with --search, which chooses by a figure "
                    "that depends on it"
                )
        if not varied:
            raise UsageError(
                f"{where}: there is nothing to draw; give an option a range, as in "
                "--lr 1e-4..1e-1, or several values"
            )
        if first.search * first.seeds > MOST_CELLS:
            raise UsageError(
                f"{where}: {first.search * first.seeds:,} runs asked for; at most {MOST_CELLS:,}"
            )
        drawn = settings(varied, first.search, first.seed)
        if len(drawn) < first.search:
            raise UsageError(
                f"{where}: {len(drawn):,} different settings were found and {first.search:,} asked "
                "for; ask for fewer, or give ranges or more values"
            )
        return drawn

    def _validated(self, values: dict[str, object]) -> Any:
        try:
            return self.kind(**values)
        except ValidationError as error:
            raise UsageError(explain(error, self.kind, self.where, values)) from None

    def _unknown(self, key: str) -> str:
        """Return the error message for an unknown option: the command that has it, or a similar
        option."""
        flag = key in self.flags
        line = f"advlab {self.command.name} {self.component}"
        if key == self.command.kind:
            return (
                f"{self.where(key)}: the {self.command.kind} stands right after the command: "
                f"'advlab {self.command.name} NAME'"
            )
        if flag and key in ("command", "label", "variants"):
            return f"{self.where(key)}: stands in a --config file only"
        if key == "label":
            return f"{self.where(key)}: belongs to an entry of 'variants'"
        instead = getattr(self.kind, "instead_of_eps", "")
        if instead and key in ("eps", "norm"):
            nothing = "ε" if key == "eps" else "norm"
            return f"{self.where(key)}: {self.component} has no {nothing}; {instead}"
        trained = [
            name
            for name in image_models()
            if key in self.command.options(self.component, name).model_fields
        ]
        if self.command.trains and trained:
            plural = "s" if len(trained) > 1 else ""
            other = (
                f", not to {self._value_of('model')}"
                if self._value_of("model") in image_models()
                else ""
            )
            return (
                f"{self.where(key)}: belongs to the model{plural} {listed(trained)}, which "
                f"--model names{other}"
            )
        owners = [
            name
            for name in self.command.components()
            if key in self.command.options(name).model_fields
        ]
        if owners:
            plural = "s" if len(owners) > 1 else ""
            taken, own = {self.command.takes(name) for name in owners}, self._takes
            why = f", which takes {own}" if own not in taken else ""
            return (
                f"{self.where(key)}: belongs to the {self.command.kind}{plural} "
                f"{listed(owners)}, not to {self.component}{why}"
            )
        if commands := owners_of(key):
            return f"{self.where(key)}: belongs to {commands}, not to 'advlab {self.command.name}'"
        known = [
            *self.kind.model_fields,
            *(["config", "print_config", "debug", "help", "version"] if flag else ["variants"]),
        ]
        dashed = ["--" + name.replace("_", "-") for name in known]
        hint = flag_suggestion(key, dashed) if flag else suggestion(key, known)
        return (
            f"{self.where(key)}: unknown {'flag' if flag else 'key'}{hint}; '{line} --help' "
            "lists them all"
        )


def _is_file(named: object) -> bool:
    known = named in image_models() or is_referenced(named)
    return isinstance(named, str) and not known and names_file(named)


def _plain(word: str) -> str:
    return word.lower().replace("-", "_")


def as_list(value: Any) -> list[Any]:
    """The value as a list: itself where it is one, none for None."""
    return [] if value is None else value if isinstance(value, list) else [value]


def _check_size(runs: int) -> None:
    """Refuse a grid of too many runs.

    Raises:
        UsageError: there are.
    """
    if runs > MOST_CELLS:
        raise UsageError(f"{runs:,} runs asked for; a grid may have up to {MOST_CELLS:,}")


def _searches(options: Any) -> bool:
    return isinstance(options, SearchOptions) and options.search is not None


def _takes_list(field: FieldInfo) -> bool:
    return any(get_origin(kind) is list for kind in (field.annotation, *get_args(field.annotation)))
