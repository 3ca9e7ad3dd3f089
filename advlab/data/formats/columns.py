"""``parquet:PATH`` and ``hf:NAME``: images or texts in tables of typed columns.

Both are read as Hugging Face stores them: an image is a structure with its file's ``bytes``, or
those bytes alone; a label is text, or an integer whose names stand in the schema's metadata.

pyarrow and datasets are not part of the installation: ``pip install 'advlab[parquet]'``,
``pip install 'advlab[hf]'``. Nothing here imports them before such a set is named.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from advlab.components import optional, suggestion
from advlab.data import label_names, split_words
from advlab.errors import EnvironmentFailure, UsageError
from advlab.input_files import is_plain
from advlab.progress import quiet

PARQUET, HF = "parquet:", "hf:"
LABEL_KINDS = ("integer", "text", "boolean")
IMAGE_NAMES = ("image", "images", "img", "picture", "photo", "pixelvalues")
LABEL_NAMES = ("label", "labels", "class", "target", "category", "y")
BATCH = 256
"""Rows that are in memory at a time in their stored form."""

_KINDS = {"image": "images", "integer": "labels", "text": "texts"}
_KINDS_AS_READ = {
    "image": "images",
    "integer": "integers without names",
    "text": "texts or named classes",
    "other": "values of another type",
}
_ENDINGS = (".parquet", ".pq")
_BOOLEAN_NAMES = ("false", "true")


@dataclass(frozen=True)
class Source:
    """What a file says of its columns, by name.

    Attributes:
        place: what a refusal begins with.
        kinds: as of ``Part``.
        class_names: as of ``Part``.
    """

    place: str
    kinds: Mapping[str, str]
    class_names: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Part:
    """The rows of one split.

    Attributes:
        place: what a refusal begins with.
        rows: how many there are.
        columns: names of the columns, in their order.
        kinds: for each column ``"image"``, ``"integer"``, ``"boolean"``, ``"text"`` or ``"other"``.
        class_names: for a column of labels that are stored as numbers or booleans, the names of the
            classes.
        batches: from names of columns to their values, some rows at a time. A label that is stored
            as a number comes as the name that its own file gives the number.
        sources: the files that the rows come from; other columns are allowed to differ in them.
        by_number: whether the classes have been read by number, with the names of the first file.
    """

    place: str
    rows: int
    columns: tuple[str, ...]
    kinds: Mapping[str, str]
    class_names: Mapping[str, tuple[str, ...]]
    batches: Callable[[Sequence[str]], Iterator[Mapping[str, list[Any]]]]
    sources: tuple[Source, ...] = ()
    by_number: bool = False


@dataclass(frozen=True)
class Table:
    """A set's parts.

    Attributes:
        parts: ``train``, ``val`` and ``test`` as far as they are given, or ``all``.
        remarks: what a reader should know of them, in sentences.
    """

    parts: Mapping[str, Part]
    remarks: tuple[str, ...] = ()


def is_table(name: str) -> bool:
    """Whether ``--dataset`` names such a set."""
    return name.startswith((PARQUET, HF))


def table(name: str, *, offline: bool) -> Table:
    """A set with a part to test on, as far as there is one.

    Of a set with training and validation examples alone, such as ImageNet, whose test labels are
    not published, the validation examples are tested on.

    Args:
        name: ``parquet:PATH``, a file or a folder of files whose names tell their split, such as
            ``train-00000-of-00001.parquet``; or ``hf:NAME``, optionally ``hf:NAME:CONFIGURATION``.
        offline: whether nothing may be downloaded.

    Raises:
        UsageError: there is no such file or set, or its files do not tell their split.
        EnvironmentFailure: a library is missing, a file is damaged, or a download fails.
    """
    place = name.partition(":")[2]
    if not place:
        example = "parquet:images.parquet" if name == PARQUET else "hf:ylecun/mnist"
        raise UsageError(f"{name} needs a {'path' if name == PARQUET else 'name'}, as in {example}")
    read = _of_files(Path(place)) if name.startswith(PARQUET) else _of_hub(place, offline)
    parts = read.parts
    if list(parts) == ["train"]:
        return Table({"all": parts["train"]}, read.remarks)
    if "val" not in parts or "test" in parts:
        return read
    renamed = {"test" if key == "val" else key: part for key, part in parts.items()}
    remark = "its validation examples are the test examples here; it has no others"
    return Table(renamed, (*read.remarks, remark))


def column(
    part: Part, requested: str | None, flag: str, kinds: Sequence[str], usual: Sequence[str]
) -> str:
    """The name of the column that is requested, of a usual name, or the only one of its kind.

    Labels are looked for among booleans only where there are no others: most such columns are
    flags.

    Raises:
        UsageError: there is none, or several; the line lists the columns.
    """
    listed = ", ".join(part.columns)[:200]
    if requested is not None:
        if requested not in part.columns:
            near = suggestion(requested, part.columns)
            raise UsageError(f"{flag} {requested}: {part.place} has {listed}{near}")
        return requested
    fitting = [name for name in part.columns if part.kinds[name] in kinds]
    named = [name for word in usual for name in fitting if usual_name(name) == word]
    if named:
        return named[0]
    fitting = [name for name in fitting if part.kinds[name] != "boolean"] or fitting
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise UsageError(f"{part.place}: none of its columns holds {_KINDS[kinds[0]]}: {listed}")
    raise UsageError(f"{part.place}: {flag} must name one of its columns: {listed}")


def usual_name(name: str) -> str:
    """Return the name of a column without case, spaces, hyphens and underscores, as it is compared
    with usual names."""
    return re.sub(r"[\s_-]+", "", name.casefold())


def remarks_on(
    part: Part, chosen: str, requested: str | None, flag: str, usual: Sequence[str]
) -> list[str]:
    """Return a sentence about columns with a usual name beside the one that was found."""
    kind = part.kinds[chosen]
    others = [
        name
        for name in part.columns
        if name != chosen and usual_name(name) in usual and part.kinds[name] == kind
    ]
    return other_columns(part.place, chosen, others, flag) if requested is None else []


def unused_split(parts: Mapping[str, Part]) -> list[str]:
    """Return a sentence about a column that may tell the part of each row and is not read."""
    if (whole := parts.get("all")) is None:
        return []
    return [
        f"{whole.place}: column {name!r} is not used as the split; names of files tell the parts"
        for name in whole.columns
        if split_words.is_column(name) and whole.kinds[name] in LABEL_KINDS
    ]


def columns_read(place: str, *chosen: tuple[str, str, str | None, str]) -> list[str]:
    """Return a sentence on the columns that are read, unless all of them were named.

    Args:
        chosen: for each column what it holds, its name, the name that was given, and the option
            that gives it.
    """
    if all(requested is not None for _, _, requested, _ in chosen):
        return []
    read = ", ".join(f"{noun} from column {name!r}" for noun, name, _, _ in chosen)
    flags = " and ".join(flag for _, _, requested, flag in chosen if requested is None)
    return [f"{place}: {read}; {flags} {'selects' if ' and ' not in flags else 'select'} others"]


def other_columns(place: str, chosen: str, others: Sequence[str], flag: str) -> list[str]:
    """Return a sentence about columns that might have been meant as well, if there are any."""
    listed = ", ".join(map(repr, others))
    return [
        f"{place}: column {chosen!r} is read, and {listed} might be meant; {flag} selects it"
    ] * bool(others)


def _of_files(path: Path) -> Table:
    remarks: tuple[str, ...] = ()
    if path.is_dir():
        files, others = _parquet_files(path)
        if not files:
            raise UsageError(f"parquet: {path} holds no .parquet files")
        from advlab.data.formats.listing import skipped_remark  # it loads torch

        remarks = skipped_remark(others, path, "Parquet files (.parquet, .pq)", "")
        by_split: dict[str, list[Path]] = {}
        for file in files:
            by_split.setdefault(_split_of(file.relative_to(path)), []).append(file)
        if "all" in by_split and len(by_split) > 1:
            raise UsageError(
                f"{by_split['all'][0]}: its name tells no split, and others do (train, val, test)"
            )
    elif is_plain(path):
        by_split = {"all": [path]}
    else:
        raise UsageError(f"parquet: no file at {path}")
    # The training part comes first: the others must have its columns.
    ordered = [split for split in ("all", *split_words.PARTS) if split in by_split]
    return Table({split: _of_parquet(by_split[split], path) for split in ordered}, remarks)


def _parquet_files(root: Path) -> tuple[list[Path], list[Path]]:
    """The Parquet files of a folder and of its sub-folders, and the other files."""
    from advlab.data.formats.listing import all_files

    files = all_files(root)
    parquet = [file for file in files if file.suffix.lower() in _ENDINGS]
    return parquet, [file for file in files if file.suffix.lower() not in _ENDINGS]


def _split_of(file: Path) -> str:
    words = [word for part in file.with_suffix("").parts for word in re.split(r"[^A-Za-z]+", part)]
    named_parts = [part for word in words if (part := split_words.part_of(word)) is not None]
    return named_parts[-1] if named_parts else "all"


def _of_parquet(files: Sequence[Path], root: Path) -> Part:
    parquet = optional("pyarrow.parquet", "parquet:PATH", "parquet")
    opened = []
    for file in files:
        if not is_plain(file):
            raise UsageError(f"{file}: is no file")
        try:
            opened.append(parquet.ParquetFile(file))
        except Exception as error:  # pyarrow's errors have no base of their own
            raise EnvironmentFailure(f"{file}: is no Parquet file, or damaged: {error}") from error
    schema = opened[0].schema_arrow
    for file, one in zip(files, opened, strict=True):
        if one.schema_arrow.names != schema.names:
            raise UsageError(f"{file}: its columns are not those of {files[0]}")
    sources = tuple(
        _source(str(file), one.schema_arrow) for file, one in zip(files, opened, strict=True)
    )

    def batches(names: Sequence[str]) -> Iterator[Mapping[str, list[Any]]]:
        for file, one, source in zip(files, opened, sources, strict=True):
            yield from _rows_of(file, one, names, source)

    rows = sum(one.metadata.num_rows for one in opened)
    place = str(files[0] if len(files) == 1 else root)
    return _part(place, rows, tuple(schema.names), sources, batches)


def _rows_of(
    file: Path, opened: Any, names: Sequence[str], source: Source
) -> Iterator[Mapping[str, list[Any]]]:
    try:
        for batch in opened.iter_batches(BATCH, columns=list(names)):
            yield _named(batch, names, source)
    except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
        reason = " ".join(str(error).split())[:200]
        raise EnvironmentFailure(f"{file}: is damaged: {reason}") from error


@contextlib.contextmanager
def _bars_on_terminals(datasets: Any) -> Iterator[None]:
    """Within it, the bars of ``datasets`` are drawn on a terminal alone: in a file each of their
    steps is a piece of text."""
    if sys.stderr.isatty() or datasets.are_progress_bars_disabled():
        yield
        return
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.enable_progress_bars()


def _of_hub(place: str, offline: bool) -> Table:
    if offline:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
    datasets = optional("datasets", "hf:NAME", "hf")
    name, _, configuration = place.partition(":")
    try:
        with quiet("huggingface_hub"), quiet("datasets"), _bars_on_terminals(datasets):
            loaded = datasets.load_dataset(name, configuration or None)
    except ValueError as error:  # no such configuration, or one must be chosen
        raise UsageError(f"hf:{place}: {' '.join(str(error).split())[:300]}") from error
    except Exception as error:  # the hub's own errors derive from several bases
        text = " ".join(str(error).split())[:200]
        raise EnvironmentFailure(
            f"hf:{place} cannot be loaded ({type(error).__name__}: {text})"
        ) from error
    files = _local_files(datasets, name, configuration)
    parts: dict[str, Part] = {}
    skipped: list[str] = []
    for split, data in loaded.items():
        known = split_words.part_of(split)
        if known is None or known in parts:  # such as "unsupervised", or "dev" after "validation"
            skipped.append(f"{split} ({len(data):,} rows)")
            continue
        parts[known] = _of_dataset(f"hf:{place}, {split}", data, files.get(str(split), ()))
    if not parts:
        raise UsageError(f"hf:{place}: has the splits {', '.join(loaded)}, and none to train on")
    if not skipped:
        return Table(parts)
    used = ", ".join(part.place.rpartition(", ")[2] for part in parts.values())
    return Table(parts, (f"skipped, since {used} are read: {', '.join(skipped)}",))


def _local_files(datasets: Any, name: str, configuration: str) -> dict[str, tuple[Source, ...]]:
    """What the Parquet files of a folder on this machine say of their columns, by split.

    ``datasets`` reads numbers of classes with the names of the first file, whatever the others say.
    """
    if not Path(name).is_dir():
        return {}
    parquet = optional("pyarrow.parquet", "hf:NAME", "hf")
    with quiet("datasets"):
        by_split = datasets.load_dataset_builder(name, configuration or None).config.data_files
    return {
        str(split): tuple(
            _source(str(file), parquet.read_schema(file))
            for file in files
            if str(file).endswith(".parquet") and Path(file).is_file()
        )
        for split, files in (by_split or {}).items()
    }


def _of_dataset(place: str, data: Any, files: tuple[Source, ...]) -> Part:
    schema = data.features.arrow_schema
    source = _source(place, schema)

    def batches(names: Sequence[str]) -> Iterator[Mapping[str, list[Any]]]:
        for batch in data.select_columns(list(names)).with_format("arrow").iter(BATCH):
            yield _named(batch, names, source)

    part = _part(place, len(data), tuple(schema.names), (source,), batches)
    return replace(part, sources=(source, *files), by_number=True)


def _part(
    place: str,
    rows: int,
    columns: tuple[str, ...],
    sources: tuple[Source, ...],
    batches: Callable[[Sequence[str]], Iterator[Mapping[str, list[Any]]]],
) -> Part:
    first = sources[0]
    return Part(place, rows, columns, first.kinds, first.class_names, batches, sources)


def _source(place: str, schema: Any) -> Source:
    kinds = {field.name: _kind(field.type) for field in schema}
    booleans = {name: _BOOLEAN_NAMES for name, kind in kinds.items() if kind == "boolean"}
    return Source(place, kinds, booleans | _class_names(schema.metadata))


def check_column(parts: Iterable[Part], name: str, flag: str) -> None:
    """Refuse a column that is missing in a file, or of another type there than in the first.

    Raises:
        UsageError: there is such a file; the line names it.
    """
    first, *others = [source for part in parts for source in part.sources]
    kind = _kind_as_read(first, name)
    for source in others:
        if name not in source.kinds:
            raise UsageError(
                f"{source.place}: has no column {name!r}, which is read from {first.place}; it has "
                f"{', '.join(source.kinds)[:200]}; {flag} selects a column of all files"
            )
        if (other := _kind_as_read(source, name)) != kind:
            raise UsageError(
                f"{source.place}: column {name!r} holds {_KINDS_AS_READ[other]}, and that of "
                f"{first.place} {_KINDS_AS_READ[kind]}; save it with one type and one schema"
            )


def _kind_as_read(source: Source, name: str) -> str:
    """The kind of a column once numbers of classes are replaced by their names."""
    return "text" if name in source.class_names else source.kinds[name]


def class_names(parts: Iterable[Part], name: str) -> tuple[str, ...] | None:
    """Return the names of the classes of a column, in one order for all files.

    The order is that of the first file, or of the first one that names all classes where others
    name some of them.

    Returns:
        None where no file names classes.

    Raises:
        UsageError: files name different classes, neither of them all; or they name them in
            different orders and have been read by number.
    """
    parts = list(parts)
    named = [
        (source, source.class_names[name], part.by_number)
        for part in parts
        for source in part.sources
        if name in source.class_names
    ]
    if not named:
        return None
    largest, names, _ = max(named, key=lambda one: len(one[1]))
    for source, other, by_number in named:
        if by_number and other != names[: len(other)]:
            raise UsageError(
                f"{source.place}: its schema names the classes of column {name!r} "
                f"{_listed(other)}, and that of {largest.place} {_listed(names)}; hf: reads their "
                "numbers with the names of one file, and parquet:PATH each file by its own"
            )
        if foreign := [one for one in other if one not in names]:
            raise UsageError(
                f"{source.place}: its schema names a class {foreign[0]!r} in column {name!r}, and "
                f"that of {largest.place} {_listed(names)}; give the classes of all files the same "
                "names"
            )
    return names


def other_orders(parts: Iterable[Part], name: str) -> list[str]:
    """Return a sentence about files that number the classes otherwise than the first one."""
    sources = [source for part in parts for source in part.sources]
    orders = [source.class_names.get(name) for source in sources]
    others = [
        source.place
        for source, order in zip(sources, orders, strict=True)
        if order and orders[0] and any(a != b for a, b in zip(order, orders[0], strict=False))
    ]
    if not others:
        return []
    return [
        f"{others[0]}: its schema has the classes of column {name!r} in another order than "
        f"{sources[0].place}; every file is read by its own names (files in another order: "
        f"{len(others):,})"
    ]


def _listed(names: Sequence[str]) -> str:
    """At most five names."""
    return ", ".join(map(repr, names[:5])) + (", …" if len(names) > 5 else "")


def _kind(of: Any) -> str:
    types = optional("pyarrow.types", "parquet:PATH", "parquet")
    if types.is_binary(of) or types.is_large_binary(of):
        return "image"
    if types.is_struct(of):
        fields = [of.field(number).name for number in range(of.num_fields)]
        return "image" if "bytes" in fields else "other"
    if types.is_integer(of):
        return "integer"
    if types.is_boolean(of):
        return "boolean"
    if types.is_dictionary(of):
        return _kind(of.value_type)
    return "text" if types.is_string(of) or types.is_large_string(of) else "other"


def _named(batch: Any, names: Sequence[str], source: Source) -> dict[str, list[Any]]:
    """Columns of some rows, whose numbers of classes are replaced by the names of their file.

    A number that has no name stays a number, which ``labels_of`` refuses with its row.
    """
    columns = {name: _values(batch.column(name)) for name in names}
    for name in names:
        if (classes := source.class_names.get(name)) is not None:
            columns[name] = [
                classes[value] if isinstance(value, int) and 0 <= value < len(classes) else value
                for value in columns[name]
            ]
    return columns


def _values(of: Any) -> list[Any]:
    """The values of a column; of images their files' bytes."""
    values: list[Any] = of.to_pylist()
    return [value.get("bytes") if isinstance(value, dict) else value for value in values]


def _class_names(metadata: Mapping[bytes, bytes] | None) -> dict[str, tuple[str, ...]]:
    """The names of classes that Hugging Face writes into a schema, by column."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        return {
            name: tuple(map(str, feature["names"]))
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def labels_of(
    part: Part, name: str, values: Sequence[Any], first: int, unused: Collection[int] = ()
) -> list[Any]:
    """The labels of some rows, names where the schema of their file has them.

    Args:
        first: number of the first row, from 1, for a refusal.
        unused: places in ``values`` of rows that are left out, whose label may be missing; None
            stands for it.

    Raises:
        UsageError: a row has no label, or one that is no class.
    """
    names = part.class_names.get(name)
    labels: list[Any] = []
    for row, value in enumerate(values, start=first):
        if row - first in unused:
            labels.append(None)
            continue
        if value is None or (isinstance(value, str) and label_names.is_missing(value)):
            raise UsageError(f"{part.place}: row {row:,} has no label in column {name!r}")
        if names is not None and isinstance(value, int):
            raise UsageError(
                f"{part.place}: row {row:,} has the label {value}, to which its schema gives no "
                f"name; it names {_listed(names)}"
            )
        if not isinstance(value, (int, str)):
            kind = type(value).__name__
            raise UsageError(
                f"{part.place}: column {name!r} holds {kind}; labels are int, text or bool"
            )
        labels.append(value)
    return labels
