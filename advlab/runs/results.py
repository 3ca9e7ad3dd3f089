"""Typed results: how ``metrics.json`` is written, read and summed up."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from operator import attrgetter
from pathlib import Path
from statistics import mean, stdev
from typing import ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from pydantic.json_schema import models_json_schema

from advlab.components import component_names, load_component
from advlab.errors import AdvlabError, EnvironmentFailure, UsageError
from advlab.input_files import is_plain
from advlab.runs import checksums
from advlab.runs.files import IDENTITY, write_text
from advlab.runs.table import percent, spread

FILE = "metrics.json"
SCHEMA_VERSION = 1
TIMING = frozenset({"seconds", "total_seconds", "date"})
"""Fields in which two runs of the same line on the same machine may differ."""


class Record(BaseModel):
    """A part of a result: unknown keys, NaN and infinity are refused; nothing changes later."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=()
    )


class MachineRecord(Record):
    """Where a result was computed: versions, processor, threads, device and arithmetic.

    Attributes:
        threads: of each process.
        processes: that shared each batch of the training.
    """

    advlab: str
    python: str
    torch: str
    platform: str
    processor: str
    threads: int = Field(ge=1)
    processes: int = Field(default=1, ge=1)
    device: str
    precision: str
    numpy: str | None = None


class NetworkRecord(Record):
    """A network that a result is about.

    Attributes:
        model: its component's name, ``torchvision:NAME``, or the function that made a user's own
            network, as in ``net.py:make``; in results of earlier versions its class.
        sha256: hash of its file, or of its parameters where it has no file.
        path: where it lies; None for a network that has no file.
        trained_on: the data set it was trained on, where that is known.
        architecture: the options that it was built with, where they are known.
        source: what its weights are called, or the function that made it.
    """

    model: str
    sha256: str
    path: str | None = None
    trained_on: str | None = None
    architecture: dict[str, JsonValue] | None = None
    source: str | None = None


class SplitSizes(Record):
    """How many examples each part of a data set holds."""

    train: int
    val: int
    test: int

    def of(self, origin: str, available: int) -> str:
        """The data of a training for a caption: their origin, and how many examples it used where
        these are not all.

        Args:
            available: how many training examples the data set holds.
        """
        used = self.train < available
        return f"{origin} · {self.train:,} of {available:,} for training" if used else origin


def not_believed(checks: Iterable[str]) -> str:
    """Why a figure is not to be believed: the checks that failed; empty where none did."""
    failed = ", ".join(checks)
    return f"NOT TO BE BELIEVED ({failed})" if failed else ""


@dataclass(frozen=True)
class Headline:
    """The one figure that a kind of result is about.

    Attributes:
        field: its name in the result; with a dot, that in a part of the result.
        words: its name for people.
        fraction: whether it lies in [0, 1] and is shown in percent.
        lower_is_better: whether the lower of two results is the better one. Robust accuracy under
            one attack counts as the attack's own result, so there the lower one is the stronger
            attack.
        over: the name, in the result, of the number of examples that it is a fraction of; empty
            where it is no fraction of examples that were drawn one by one.
    """

    field: str
    words: str
    fraction: bool = True
    lower_is_better: bool = False
    over: str = ""

    @property
    def quantity(self) -> str:
        """What an axis is labelled with: its name without the beginning of the context."""
        return self.words.removesuffix(" after").removesuffix(" with")

    def text(self, value: float) -> str:
        """One value, with its unit."""
        return percent(value) if self.fraction else f"{value:.4g}"

    def sentence(self, text: str, context: str) -> str:
        """The figure and what it holds for, such as ``accuracy 19.35 % after patch at 1 %``.

        Args:
            text: the value, or several, as ``text`` gives them.
            context: what the figure holds for; possibly empty.
        """
        if not context:
            return f"{self.words} {text}"
        return f"{self.quantity} {text}{self.words.removeprefix(self.quantity)} {context}"

    def short(self, value: float) -> str:
        """One of several values in a row, without a unit."""
        return f"{100 * value:.2f}" if self.fraction else f"{value:.4g}"

    def spread(self, values: Sequence[float]) -> str:
        """Mean ± sample standard deviation; the deviation needs two values."""
        if self.fraction or len(values) < 2:
            return spread(values) if self.fraction else self.text(values[0])
        return f"{mean(values):.4g} ± {stdev(values):.2g}"


@dataclass(frozen=True)
class RobustnessCurve:
    """Robust accuracy, a fraction, by ε.

    Attributes:
        norm: that ε is measured in, in pixel units.
        classes: how many there are, which says what guessing would give.
        points: ε and robust accuracy, ascending in ε.
        within: whether an image counts as broken at ε where a smaller ε broke it.
    """

    norm: str
    classes: int
    points: Sequence[tuple[float, float]]
    within: bool = False


@dataclass(frozen=True)
class CertifiedNetwork:
    """A network smoothed by noise, and what was certified of it.

    Attributes:
        average_radius: L2, in pixel units; 0 for an image that is misclassified or unanswered.
        accuracy: of the smoothed network, a fraction; images without an answer count as
            misclassified.
        clean_accuracy: of the network without noise on the same images, a fraction; None where it
            was not measured.
        sigma: standard deviation of the noise, in pixel units.
        abstained: images without an answer.
        images: how many were certified.
    """

    average_radius: float
    accuracy: float
    clean_accuracy: float | None
    sigma: float
    abstained: int
    images: int


@dataclass(frozen=True)
class Examples:
    """The test examples that the figures of a result are of.

    Attributes:
        words: the same for people, such as ``12 images``.
        which: a text that two results on one data set share if they are of the same examples; None
            where a result of an earlier version does not tell.
    """

    words: str
    which: str | None

    def same_as(self, other: Examples) -> bool:
        """Whether both are known to be the same, given that the data are."""
        return self.which is not None and self.which == other.which


def images_from(first: int | None, count: int) -> Examples:
    """So many test images in their order.

    Args:
        first: the number of the first one; None where that is not known, as of the single image of
            a result of an earlier version. Several images always begin with the first.
    """
    if count > 1:
        return Examples(f"{count:,} images", f"{count} images from {first or 0}")
    if first is None:
        return Examples("1 image", None)
    return Examples(f"image {first}", f"{count} images from {first}")


Same = TypeVar("Same", bound="Result")


class Result(Record):
    """What every run reports. Each command derives classes of its own in ``advlab/results``.

    Attributes:
        schema_version: of the file's layout.
        kind: which class the file was written from.
        command: the command that was typed.
        component: the model, attack, defence, suite or action that followed it.
        dataset: the data set, as ``--dataset`` names it.
        origin: the data set in words for people.
        data_sha256: hash of all its splits; None where no data were read.
        model: the network that the run is about; None where it is about none.
        parameters: how many trainable numbers that network holds; None where they were not counted.
        seed: what everything random was drawn from.
        seconds: wall-clock seconds of the measured work itself, over all its interruptions; where
            several processes shared it, the sum of theirs.
        total_seconds: wall-clock seconds of the run from claiming its folder to its last picture,
            since its last start.
        date: when it was finished, in UTC, ISO 8601.
        machine: where it was computed.
    """

    headline: ClassVar[Headline | None] = None

    schema_version: int = SCHEMA_VERSION
    kind: str
    command: str
    component: str
    dataset: str
    origin: str
    data_sha256: str | None = None
    model: str | None = None
    parameters: int | None = None
    seed: int
    seconds: float = Field(ge=0)
    total_seconds: float = Field(default=0.0, ge=0)
    date: str = ""
    machine: MachineRecord

    def headline_of(self) -> Headline | None:
        """Which figure this result is about; that of its class, unless a subclass knows better."""
        return self.headline

    def chosen_by(self) -> Headline | None:
        """The figure by which a search may choose between settings, which no test data enter; None
        where there is none."""
        return None

    def headline_value(self, figure: Headline | None = None) -> float:
        """The figure that this result is about, or another one of it.

        Raises:
            TypeError: this kind of result has none.
        """
        figure = figure or self.headline_of()
        if figure is None:
            raise TypeError(f"{type(self).__name__} has no headline")
        value: float = attrgetter(figure.field)(self)
        return float(value)

    def examples_of(self, figure: Headline) -> int | None:
        """How many examples a figure is a fraction of; None where it is no such fraction."""
        count = attrgetter(figure.over)(self) if figure.over else None
        return count if isinstance(count, int) and count > 0 else None

    def has(self, figure: Headline) -> bool:
        """Whether the result has a figure, which may be one of other results of its kind."""
        return attrgetter(figure.field)(self) is not None

    def robustness_curve(self) -> RobustnessCurve | None:
        """Robust accuracy by ε, for results that have it."""
        return None

    def certified_network(self) -> CertifiedNetwork | None:
        """What was certified by randomised smoothing, for results that have it."""
        return None

    def about(self: Same, figure: Headline) -> Same:
        """The result as it stands for a figure, which need not be its headline: context, examples
        and doubts are those of that figure. Itself unless a subclass knows better."""
        return self

    def context(self) -> str:
        """What the headline holds for, such as ``at ε = 0.1 (L∞)``; empty where nothing needs to
        be added."""
        return ""

    def threat_model(self) -> str:
        """What an attack might do, without how much of it, such as ``L∞ ball``; empty for results
        that are of no attack. Figures of different threat models do not compare."""
        return ""

    def goal(self) -> str:
        """The class that an attack aims at, such as ``targeted at 3``; empty for an attack without
        a target, and for results that are of no attack or whose context names it."""
        return ""

    def conditions(self) -> str:
        """What the headline holds for: the context and the goal."""
        return ", ".join(filter(None, [self.context(), self.goal()]))

    def compared_under(self) -> str:
        """The conditions that figures which are compared have in common: all, unless a subclass
        knows that one of them is what a comparison is about."""
        return self.conditions()

    def besides_radius(self) -> str:
        """What ``compared_under`` says beside an ε, begun with a comma; empty where that is all."""
        return ""

    def measured_on(self) -> Examples:
        """The test examples that the headline is of; all of them unless a subclass knows better.
        Figures on other examples do not compare."""
        return Examples("all examples", "all")

    def doubt(self) -> str:
        """Why the headline is not to be taken at its word, in capitals and with the reason; empty
        where nothing speaks against it."""
        return ""

    def summary(self) -> str:
        """The headline with its conditions, and what speaks against it."""
        headline = self.headline_of()
        if headline is None:
            return "–"
        held = ", ".join(filter(None, [self.conditions(), self.doubt()]))
        return headline.sentence(headline.text(self.headline_value()), held)


R = TypeVar("R", bound=Result)
R_co = TypeVar("R_co", bound=Result, covariant=True)


@dataclass(frozen=True)
class Finished(Generic[R_co]):
    """A run that was carried to its end: what it reports, and the folder that holds everything it
    wrote."""

    result: R_co
    folder: Path


class EarlierResult(Record):
    """A ``metrics.json`` from before schema version 1, as far as a listing needs it.

    Attributes:
        values: the whole file.
    """

    command: str
    dataset: str
    model: str | None
    date: str
    values: dict[str, JsonValue]

    def summary(self) -> str:
        """The first of the figures that such files were about; of a comparison, those of its
        settings from lowest to highest."""
        if "settings" in self.values:
            return self._compared()
        for field, words in _EARLIER_FIGURES.items():
            value = self.values.get(field)
            if isinstance(value, (int, float)):
                fraction = field not in ("fid", "largest_difference")
                return f"{words} {percent(value) if fraction else format(value, '.4g')}"
        return "–"

    def _compared(self) -> str:
        field, settings = self.values.get("headline"), self.values["settings"]
        figures = [
            (mean, setting.get("setting"))
            for setting in (settings if isinstance(settings, list) else [])
            if isinstance(setting, dict)
            and isinstance(mean := setting.get(f"{field}_mean"), (int, float))
        ]
        if field not in _EARLIER_FIGURES or not figures:
            return "–"
        headline = Headline(
            str(field),
            _EARLIER_FIGURES[str(field)],
            fraction=field not in ("fid", "largest_difference"),
        )
        ends = (
            [f"{headline.text(value)} ({name})" for value, name in (min(figures), max(figures))]
            if len(figures) > 1
            else [headline.text(figures[0][0])]
        )
        return f"{headline.words} {' to '.join(ends)}"


_EARLIER_FIGURES = {
    "test_accuracy": "test accuracy",
    "robust_accuracy": "robust accuracy",
    "fid": "FID",
    "entity_accuracy_after": "entity accuracy after",
    "accuracy_after": "accuracy after",
    "knn_accuracy": "k-NN accuracy",
    "largest_difference": "largest difference",
}


def result_classes() -> dict[str, type[Result]]:
    """The class of every kind of result, by its ``kind``."""
    classes: dict[str, type[Result]] = {}
    for name in component_names("advlab.results"):
        module = load_component("advlab.results", name, "result")
        for value in vars(module).values():
            if (
                isinstance(value, type)
                and issubclass(value, Result)
                and value.__module__ == module.__name__
                and isinstance(kind := value.model_fields["kind"].default, str)  # else a base
            ):
                classes[kind] = value
    return classes


def schemas() -> dict[str, JsonValue]:
    """The JSON schema that every ``metrics.json`` of this version meets; ``$defs`` holds one for
    each kind."""
    classes = result_classes()
    kinds, schema = models_json_schema([(cls, "serialization") for cls in classes.values()])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"metrics.json of advlab, schema version {SCHEMA_VERSION}",
        "oneOf": [kinds[cls, "serialization"] for cls in classes.values()],
        **schema,
    }


def write(folder: Path, result: Result) -> None:
    """Write ``metrics.json``, whole or not at all, and before it the checksums of the run's files,
    its own among them."""
    text = json.dumps(result.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False)
    checksums.write(folder, {FILE: f"{text}\n".encode()})
    write_text(folder / FILE, text + "\n")


def read(folder: Path) -> Result | EarlierResult:
    """What the finished run in ``folder`` reports.

    Raises:
        UsageError: its ``metrics.json`` is missing, or of no kind that this version knows.
        EnvironmentFailure: it is damaged, or the file of another run.
    """
    values = _values(folder / FILE)
    if "schema_version" not in values:
        if "kind" in values:  # which came with the version
            raise _damaged(folder / FILE, "it says no schema_version")
        return _from_v0(folder / FILE, values)
    kind = values.get("kind")
    cls = result_classes().get(kind) if isinstance(kind, str) else None
    if cls is None or values["schema_version"] != SCHEMA_VERSION:
        raise UsageError(
            f"{folder / FILE} holds a result of kind {kind!r}, schema "
            f"{values['schema_version']!r}, "
            f"which this version of advlab (schema {SCHEMA_VERSION}) does not know; --overwrite "
            "runs it again"
        )
    result = _validated(cls, values, folder / FILE)
    checksums.check(folder, [FILE, IDENTITY])
    return result


def read_as(cls: type[R], folder: Path) -> R:
    """The same where its kind is known.

    Raises:
        UsageError: the file is missing, or of another kind.
        EnvironmentFailure: it is damaged.
    """
    result = read(folder)
    if not isinstance(result, cls):
        kind = cls.model_fields["kind"].default
        raise UsageError(
            f"{folder / FILE} is not a result of {kind!r}; give this run another --name, or "
            "--overwrite"
        )
    return result


def finished_runs(out: Path, command: str = "*") -> Iterator[tuple[Path, Result | EarlierResult]]:
    """Folder and result of every finished run of a command under ``out``, in no particular order.

    Files that cannot be read are left out.
    """
    for folder, result in every_run(out, command):
        if not isinstance(result, AdvlabError):
            yield folder, result


def every_run(
    out: Path, command: str = "*"
) -> Iterator[tuple[Path, Result | EarlierResult | AdvlabError]]:
    """The same with those whose file cannot be read, and why."""
    for folder in sorted(out.glob("*/*")):
        if command not in ("*", folder.parent.name) or not os.path.lexists(folder / FILE):
            continue
        if not (folder / FILE).exists():
            yield folder, EnvironmentFailure(f"{folder / FILE} is a link that leads to no file")
            continue
        try:
            yield folder, read(folder)
        except AdvlabError as error:
            yield folder, error
        except OSError as error:
            yield folder, EnvironmentFailure(f"{folder / FILE} cannot be read ({error.strerror})")


def written_at(folder: Path) -> int:
    """When the result of a run was last written, in nanoseconds since 1970; of a link that leads to
    no file, when the link was.

    Raises:
        FileNotFoundError: there is no result any more.
    """
    file = folder / FILE
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return file.lstat().st_mtime_ns


def newest(
    out: Path, command: str, cls: type[R], accept: Callable[[R], bool]
) -> Finished[R] | None:
    """The newest finished run of a command whose result is a ``cls`` that ``accept`` takes; None
    where there is none."""
    candidates = [
        ((folder / FILE).stat().st_mtime_ns, str(folder), Finished(result, folder))
        for folder, result in finished_runs(out, command)
        if isinstance(result, cls) and accept(result)
    ]
    return max(candidates, key=lambda entry: entry[:2])[2] if candidates else None


def now() -> str:
    """The present moment in UTC, ISO 8601 to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _values(file: Path) -> dict[str, object]:
    if not is_plain(file):
        raise UsageError(f"{file} does not exist: no run was finished there")
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # not UTF-8, or not JSON
        raise _damaged(file, str(error)) from None
    if not isinstance(values, dict):
        raise _damaged(file, "it holds no JSON object")
    return values


def _validated(cls: type[R], values: dict[str, object], file: Path) -> R:
    try:
        # Strings for tuples and the like are what JSON makes of them, so the file is read in
        # pydantic's JSON mode.
        return cls.model_validate_json(json.dumps(values))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise _damaged(file, f"{where}: {first['msg']}") from None


def _damaged(file: Path, why: str) -> EnvironmentFailure:
    return EnvironmentFailure(f"{file} is damaged ({why}); --overwrite runs it again")


def _from_v0(file: Path, values: dict[str, object]) -> EarlierResult:
    moment = datetime.fromtimestamp(file.stat().st_mtime, timezone.utc).isoformat(
        timespec="seconds"
    )
    try:
        return EarlierResult(
            command=str(values.get("command", "–")),
            dataset=str(values.get("dataset", "–")),
            model=None if values.get("model") is None else str(values["model"]),
            date=moment,
            values=values,
        )
    except ValidationError as error:
        raise _damaged(file, error.errors()[0]["msg"]) from None
