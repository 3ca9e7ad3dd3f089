"""Loading of the text data set that the options select: read, deduplicate, split, encode."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from advlab.components import suggestion
from advlab.data import label_checks, label_names, splits
from advlab.data.formats import columns, csv, csv_folder, text_file, text_folder
from advlab.data.formats.columns import is_table
from advlab.data.formats.csv_columns import LABEL_NAMES, TEXT_NAMES
from advlab.data.load_images import download_required, offline
from advlab.data.raw_texts import RawTexts, Split, dataset_module, dataset_names
from advlab.data.split_words import PARTS
from advlab.data.subwords import Subwords
from advlab.data.text_set import Texts, TextSet
from advlab.data.vocabulary import Vocabulary
from advlab.data.words import has_words, normalised, tokens
from advlab.errors import UsageError

CSV_PREFIX, FOLDER_PREFIX = "csv:", "folder:"
_VAL_FRACTION = 0.1


_CHOICE = (
    "split_seed",
    "test_fraction",
    "text_column",
    "label_column",
    "delimiter",
    "header",
    "merge_labels",
)
"""The options beside the name that say which texts a data set consists of."""


# Names that texts are likely to hold; all others of HTML's would cost more to look for.
_ENTITY = re.compile(r"&(?:amp|lt|gt|quot|apos|nbsp|#\d{1,6}|#[xX][\da-fA-F]{1,5});")


def how_loaded(options: Any) -> dict[str, Any]:
    """The options beside the name that say which texts a data set consists of. A checkpoint keeps
    them, so that its data can be loaded again."""
    return {key: getattr(options, key) for key in _CHOICE}


def load(options: Any) -> TextSet:
    """Load the text data set that the options name, split and encoded.

    ``auto`` is the embedded reviews. A data set without test texts is split by class with
    ``--split-seed``: ``--test-fraction`` of the texts for testing and a tenth for validation. Texts
    with the same words, which no network can tell apart, count as duplicates, of which the first is
    kept, or else the one in the test or validation set. The vocabulary is built from the training
    texts.

    Raises:
        UsageError: the data set is unknown, or its file is malformed.
        EnvironmentFailure: the data set cannot be read or downloaded.
    """
    name = options.dataset
    raw = _read(name, options)
    parts, copies = _split(raw, options)
    vocabulary = _vocabulary(parts[0][0], options)
    train, val, test = (
        Texts.from_strings(texts, labels, vocabulary, options.max_words) for texts, labels in parts
    )
    left_out = [_counted(copies.removed, "duplicate")] * bool(copies.removed)
    left_out += [_counted(raw.empty, raw.unit) + " without a text"] * bool(raw.empty)
    note = f" ({' and '.join(left_out)} left out)" if left_out else ""
    origin = f"{raw.title}, {len(train) + len(val):,} + {len(test):,} {raw.noun}{note}"
    resolved_name = "reviews" if name == "auto" else name
    remarks = raw.remarks
    if name.startswith((CSV_PREFIX, FOLDER_PREFIX)) or is_table(name):
        used = len(train) + len(val) + len(test)
        counted = (_row_counts(raw, used, copies), _class_counts(raw, (train, val, test)))
        remarks = (*counted, *_checked(name, raw, (train, val, test)), *remarks)
    remarks += tuple(copies.remarks()) + tuple(_wordless(raw.noun, (train, val, test)))
    remarks += tuple(_escaped(raw.noun, (train, val, test)))
    remarks += tuple(_cut(raw.noun, (train, val, test), options.max_words))
    if len(vocabulary.words) < options.subwords:
        remarks += (f"the training texts yield no more than {len(vocabulary.words):,} subwords",)
    return TextSet(
        resolved_name,
        raw.classes,
        train,
        val,
        test,
        vocabulary,
        options.max_words,
        origin,
        remarks=remarks,
    )


def _vocabulary(texts: Sequence[str], options: Any) -> Vocabulary:
    """The vocabulary of the training texts, of the kind that the options ask for."""
    if options.subwords:
        return Subwords.from_training(texts, options.subwords)
    return Vocabulary.from_texts(texts, options.min_count, options.most_words)


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + "s" * (count != 1)


def _row_counts(raw: RawTexts, used: int, copies: _Copies) -> str:
    """Return what became of every row or file that was read."""
    outside = f", {raw.outside:,} of other parts" if raw.outside else ""
    return (
        f"{_counted(raw.rows, raw.unit)} read: {used:,} used, "
        f"{_counted(copies.removed, 'duplicate')}, {raw.empty:,} without a text{outside}"
    )


def _class_counts(raw: RawTexts, parts: Sequence[Texts]) -> str:
    """Return how many texts each class has, the largest first, of at most ten classes."""
    counts = Counter(label for part in parts for label in part.labels.tolist())
    listed = [f"{raw.classes[label]!r} {count:,}" for label, count in counts.most_common(10)]
    more = f" and {len(counts) - 10} smaller ones" if len(counts) > 10 else ""
    return f"{raw.noun} by class: {', '.join(listed)}{more}"


def _checked(name: str, raw: RawTexts, parts: tuple[Texts, Texts, Texts]) -> list[str]:
    """Return sentences on classes without texts, and on those that may mark texts without a label.

    Raises:
        UsageError: without duplicates, a class is left that is tested and not trained.
    """
    labels = {
        key: part.labels.numpy()
        for key, part in zip(("training", "validation", "test"), parts, strict=True)
    }
    label_checks.check_parts(name, raw.classes, labels, "texts")
    return [
        *label_checks.absent_classes(raw.classes, labels, "text"),
        *label_checks.unlabelled(raw.classes, "texts"),
    ]


def _wordless(noun: str, parts: Sequence[Texts]) -> list[str]:
    """Return a sentence about texts that hold no word, which no network can tell apart."""
    count = sum(not has_words(text) for part in parts for text in part.texts)
    return [f"{noun} without a word, which look alike to every network: {count:,}"] * bool(count)


def _escaped(noun: str, parts: Sequence[Texts]) -> list[str]:
    """Return a sentence about texts that were taken from web pages as they stand there: no name is
    recognised across ``&amp;``."""
    held = [match[0] for part in parts for text in part.texts if (match := _ENTITY.search(text))]
    if not held:
        return []
    common = Counter(held).most_common(1)[0][0]
    return [f"{noun} with HTML entities such as {common}, read as they stand: {len(held):,}"]


def _cut(noun: str, parts: Sequence[Texts], max_words: int) -> list[str]:
    """Return a sentence about texts that are longer than what is read of them, and about those that
    begin alike, as with a line that stands above each."""
    cut = sum(part.cut for part in parts)
    if not cut:
        return []
    longest = max(part.words.shape[1] for part in parts)
    rows = [
        functional.pad(part.words, (0, longest - part.words.shape[1]))[part.lengths >= max_words]
        for part in parts
    ]
    beginnings = torch.cat(rows).unique(dim=0, return_counts=True)[1]
    alike = int(beginnings[beginnings > 1].sum())
    total = sum(map(len, parts))
    same = f"; {alike:,} so long cannot be told from another by what is read" if alike else ""
    return [f"{noun} cut after {max_words:,} words (--max-words): {cut:,} of {total:,}{same}"]


@dataclass(frozen=True)
class _Copies:
    """Texts that stand in the data more than once.

    Attributes:
        removed: how many were removed.
        contradictory: how many of these had another label than the text that was kept.
        respelled: how many differed from it in more than case and white space: in punctuation,
            apostrophes, invisible characters or the spelling of Unicode.
    """

    removed: int
    contradictory: int
    respelled: int

    def remarks(self) -> list[str]:
        """Return sentences about contradictions and other spellings, if there are any."""
        contradictions = (
            "duplicates with another label than the copy that was kept: "
            f"{self.contradictory:,} of {self.removed:,}"
        )
        spellings = (
            "duplicates with the same words in another spelling, such as other punctuation: "
            f"{self.respelled:,} of {self.removed:,}"
        )
        return [contradictions] * bool(self.contradictory) + [spellings] * bool(self.respelled)


def _split(raw: RawTexts, options: Any) -> tuple[tuple[Split, Split, Split], _Copies]:
    """Return training, validation and test texts, and what is known of duplicates."""
    first_copies: dict[str, _FirstCopy] = {}
    counts: list[_Copies] = []

    def without_copies(split: Split) -> Split:
        texts, labels, copies = _without_duplicates(*split, first_copies)
        counts.append(copies)
        return texts, labels

    # The test texts come first: of copies in several splits theirs is kept.
    test = None if raw.test is None else without_copies(raw.test)
    val = None if raw.val is None else without_copies(raw.val)
    train = without_copies((raw.texts, raw.labels))
    if raw.texts and not train[0]:
        raise UsageError(
            f"{raw.title}: all its training texts stand among the test or validation texts as well"
        )
    remaining = 1.0
    removed = sum(copies.removed for copies in counts)
    place = raw.title + f", without {_counted(removed, 'duplicate')}" * bool(removed)
    draw = functools.partial(_hold_out, raw=raw, seed=options.split_seed, place=place)
    if test is None:
        train, test = draw(train, options.test_fraction, parts=2 if val is not None else 3)
        remaining -= options.test_fraction
    if val is None:
        train, val = draw(train, min(0.5, _VAL_FRACTION / remaining), parts=2)
    contradictory = sum(copies.contradictory for copies in counts)
    respelled = sum(copies.respelled for copies in counts)
    return (train, val, test), _Copies(removed, contradictory, respelled)


def _read(name: str, options: Any) -> RawTexts:
    if is_table(name):
        return _from_columns(name, options)
    if name.startswith(CSV_PREFIX):
        return _from_csv(Path(name.removeprefix(CSV_PREFIX)), options)
    if name.startswith(FOLDER_PREFIX):
        return _from_folder(Path(name.removeprefix(FOLDER_PREFIX)))
    name = "reviews" if name == "auto" else name
    if name not in dataset_names():
        nearest = suggestion(name, [*dataset_names(), "auto", CSV_PREFIX, FOLDER_PREFIX])
        names = ", ".join(dataset_names())
        raise UsageError(
            f"unknown text data set {name!r}{nearest}; there are: auto, {names}, csv:PATH, "
            "folder:PATH, parquet:PATH, hf:NAME"
        )
    module, data_dir = dataset_module(name), Path(options.data_dir)
    if not module.present(data_dir):
        download_required(name, module.INFO, data_dir)
    return module.load(data_dir)


def _from_folder(root: Path) -> RawTexts:
    """Read ``train/``, ``test/`` and perhaps ``val/``, or the folders of the classes alone."""
    if str(root) in ("", "."):
        raise UsageError("folder: needs a path, such as folder:reviews")
    by_split = text_folder.read(root)
    parts = [part for part in (by_split.train, by_split.val, by_split.test) if part is not None]
    groups = label_names.near_equal(by_split.train.classes)
    near = [label_names.remark(groups, "give the folders of one class one name")] * bool(groups)
    return RawTexts(
        by_split.train.texts,
        by_split.train.labels,
        by_split.train.classes,
        root.name,
        "texts",
        val=None if by_split.val is None else (by_split.val.texts, by_split.val.labels),
        test=None if by_split.test is None else (by_split.test.texts, by_split.test.labels),
        rows=sum(len(part.texts) + part.empty for part in parts),
        empty=sum(part.empty for part in parts),
        unit="file",
        remarks=(*by_split.remarks, *near),
    )


def _from_csv(path: Path, options: Any) -> RawTexts:
    """Read one CSV file, or a folder with ``train.csv``, ``test.csv`` and perhaps ``val.csv``."""
    if str(path) in ("", "."):
        raise UsageError("csv: needs a path, such as csv:reviews.csv")
    layout = csv.Layout(
        options.text_column, options.label_column, options.delimiter, options.header
    )
    if path.is_dir():
        files, remarks = csv_folder.parts(path)
        layout = replace(layout, is_part=True)
        train = csv.read(files["train"], layout)
        tables = {
            part: train if part == "train" else csv.read(file, layout, min_classes=1, like=train)
            for part, file in files.items()
        }
        title = path.name
    else:
        whole = csv.read(path, layout)
        tables = {part: whole.of_part(part) for part in PARTS if part in whole.parts}
        tables, remarks = (tables, list(whole.remarks)) if tables else ({"train": whole}, [])
        title = text_file.stem(path)
    texts = _of_tables(tables, str(path), title, options.merge_labels)
    read = _columns_read(str(path), tables["train"], options)
    return replace(texts, remarks=(*read, *remarks, *texts.remarks))


def _columns_read(place: str, table: csv.Table, options: Any) -> list[str]:
    """Return a sentence on the columns of texts and labels where either was not named."""
    return columns.columns_read(
        place,
        ("texts", table.text_column, options.text_column, "--text-column"),
        ("labels", table.label_column, options.label_column, "--label-column"),
    )


def _from_columns(name: str, options: Any) -> RawTexts:
    """Read ``parquet:PATH`` or ``hf:NAME``.

    Raises:
        UsageError: a row has no label, or the columns cannot be told.
    """
    read = columns.table(name, offline=offline())
    first = next(iter(read.parts.values()))
    text = columns.column(first, options.text_column, "--text-column", ["text"], TEXT_NAMES)
    label = columns.column(
        first, options.label_column, "--label-column", columns.LABEL_KINDS, LABEL_NAMES
    )
    if text == label:
        kinds = ", ".join(f"{column} ({first.kinds[column]})" for column in first.columns)
        raise UsageError(
            f"{name}: texts and labels need a column each, of text and of text or integers; "
            f"{text!r} alone is one: {kinds[:300]}; --text-column and --label-column name them"
        )
    columns.check_column(read.parts.values(), text, "--text-column")
    columns.check_column(read.parts.values(), label, "--label-column")
    columns.class_names(read.parts.values(), label)  # which refuses names that do not go together
    tables = {
        "train" if key == "all" else key: _table(part, text, label)
        for key, part in read.parts.items()
    }
    if "train" not in tables:
        raise UsageError(f"{name}: has no texts to train on")
    texts = _of_tables(tables, name, name.partition(":")[2], options.merge_labels)
    remarks = (
        *_columns_read(name, tables["train"], options),
        *texts.remarks,
        *read.remarks,
        *columns.remarks_on(first, text, options.text_column, "--text-column", TEXT_NAMES),
        *columns.remarks_on(first, label, options.label_column, "--label-column", LABEL_NAMES),
        *columns.other_orders(read.parts.values(), label),
        *columns.unused_split(read.parts),
    )
    return replace(texts, remarks=remarks)


def _table(part: columns.Part, text: str, label: str) -> csv.Table:
    """The texts and labels of a part; rows without a text are counted."""
    texts: list[str] = []
    labels: list[str] = []
    row = empty = 0
    for batch in part.batches([text, label]):
        bodies = batch[text]
        for body in bodies:
            if body is not None and not isinstance(body, str):
                raise UsageError(f"{part.place}: column {text!r} holds {type(body).__name__}")
        blank = {place for place, body in enumerate(bodies) if not (body or "").strip()}
        names = columns.labels_of(part, label, batch[label], row + 1, unused=blank)
        for place, (body, name) in enumerate(zip(bodies, names, strict=True)):
            if place not in blank:
                texts.append(body.strip())
                labels.append(str(name))
        row += len(bodies)
        empty += len(blank)
    return csv.Table(row, texts, labels, empty, text, label)


def _of_tables(
    tables: Mapping[str, csv.Table], place: str, title: str, merge_labels: bool
) -> RawTexts:
    """Texts and labels of the parts of a set, whose labels become numbers.

    Raises:
        UsageError: there is one class only, or a part has a label that the training texts have not.
    """
    groups = label_names.near_equal([label for table in tables.values() for label in table.labels])
    spelling = label_names.merged(groups) if merge_labels else {}
    labels = {
        part: [spelling.get(label, label) for label in table.labels]
        for part, table in tables.items()
    }
    classes = tuple(sorted(set(labels["train"])))
    if len(classes) < 2:
        merged = "--merge-labels leaves one class" if merge_labels else "there is one class"
        raise UsageError(f"{place}: {merged}, {', '.join(map(repr, classes)) or 'none'}")
    label_of = {name: label for label, name in enumerate(classes)}
    for part, names in labels.items():
        if unknown := sorted(set(names) - set(classes)):
            near = any(unknown[0] in group and set(group) & set(classes) for group in groups)
            hint = "; --merge-labels makes one class of labels that are nearly equal" * near
            raise UsageError(
                f"{place}: the label {unknown[0]!r} of the {part} texts is not among the training "
                f"texts{hint}"
            )
    by_split: dict[str, Split] = {
        part: (tables[part].texts, [label_of[name] for name in names])
        for part, names in labels.items()
    }
    remarks = [remark for table in tables.values() for remark in table.remarks]
    way_out = None if merge_labels else "--merge-labels makes one class of each group"
    remarks += [label_names.remark(groups, way_out)] * bool(groups)
    texts, numbers = by_split["train"]
    return RawTexts(
        texts,
        numbers,
        classes,
        title,
        "texts",
        val=by_split.get("val"),
        test=by_split.get("test"),
        rows=sum(table.rows for table in tables.values()),
        empty=sum(table.empty for table in tables.values()),
        outside=sum(table.outside for table in tables.values()),
        places=_places(tables["train"], spelling, label_of),
        remarks=tuple(remarks),
    )


def _places(
    table: csv.Table, spelling: Mapping[str, str], label_of: Mapping[str, int]
) -> dict[int, str]:
    """Where the first training text of each class is."""
    lines: dict[int, int] = {}
    for name, line in table.lines.items():
        label = label_of.get(spelling.get(name, name))
        if label is not None:
            lines[label] = min(line, lines.get(label, line))
    return {label: f"line {line:,}" for label, line in lines.items()}


class _FirstCopy(NamedTuple):
    """The label of a text that is kept, and a hash of it without case and extra white space."""

    label: int
    spelling: int


def _without_case(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip().casefold()


def _words(text: str) -> str:
    """What duplicates share: their words; of texts without a word all that can be seen."""
    return " ".join(tokens(text)) or _without_case(normalised(text))


def _without_duplicates(
    texts: Sequence[str], labels: Sequence[int], first_copies: dict[str, _FirstCopy]
) -> tuple[list[str], list[int], _Copies]:
    """Return the first of each group of texts with the same words, their labels, and what was
    removed.

    Args:
        first_copies: the texts that are kept already, by their words, to which those of this split
            are added.
    """
    first: list[int] = []
    contradictory = respelled = 0
    for index, (text, label) in enumerate(zip(texts, labels, strict=True)):
        key, spelling = _words(text), hash(_without_case(text))
        if key not in first_copies:
            first_copies[key] = _FirstCopy(label, spelling)
            first.append(index)
            continue
        contradictory += first_copies[key].label != label
        respelled += first_copies[key].spelling != spelling
    return (
        [texts[index] for index in first],
        [labels[index] for index in first],
        _Copies(len(texts) - len(first), contradictory, respelled),
    )


def _hold_out(
    split: Split, fraction: float, *, raw: RawTexts, seed: int, place: str, parts: int
) -> tuple[Split, Split]:
    """Return the remaining texts, and the fraction of the texts that is held out.

    Args:
        parts: as for ``splits.draw_fraction``.
    """
    texts, labels = split
    remaining, held_out = splits.draw_fraction(
        np.asarray(labels, dtype=np.int64), fraction, seed, place, raw.classes, parts, raw.places
    )
    return _select(texts, labels, remaining), _select(texts, labels, held_out)


def _select(texts: Sequence[str], labels: Sequence[int], indices: np.ndarray) -> Split:
    return [texts[index] for index in indices], [labels[index] for index in indices]
