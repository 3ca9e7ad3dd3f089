"""Loading of the text data set that the options select: read, deduplicate, split, encode."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from advlab.components import suggestion
from advlab.data import splits
from advlab.data.formats import csv, text_folder
from advlab.data.load_images import download_required
from advlab.data.raw_texts import RawTexts, Split, dataset_module, dataset_names
from advlab.data.text_set import Texts, TextSet
from advlab.data.vocabulary import Vocabulary
from advlab.errors import UsageError
from advlab.input_files import is_plain

CSV_PREFIX, FOLDER_PREFIX = "csv:", "folder:"
_VAL_FRACTION = 0.1


def load(options: Any) -> TextSet:
    """Load the text data set that the options name, split and encoded.

    ``auto`` is the embedded reviews. A data set without test texts is split by class with
    ``--split-seed``: ``--test-fraction`` of the texts for testing and a tenth for validation. Texts
    that differ only in case and white space count as duplicates, of which the first is kept. A text
    that is also a test text is never trained on. The vocabulary is built from the training texts.

    Raises:
        UsageError: the data set is unknown, or its file is malformed.
        EnvironmentFailure: the data set cannot be read or downloaded.
    """
    name = options.dataset
    raw = _read(name, options)
    parts, duplicates = _split(raw, options)
    vocabulary = Vocabulary.from_texts(parts[0][0], options.min_count, options.most_words)
    train, val, test = (
        Texts.from_strings(texts, labels, vocabulary, options.max_words) for texts, labels in parts
    )
    left_out = [f"{duplicates:,} duplicates"] * bool(duplicates) + [raw.note] * bool(raw.note)
    note = f" ({' and '.join(left_out)} left out)" if left_out else ""
    origin = f"{raw.title}, {len(train) + len(val):,} + {len(test):,} {raw.noun}{note}"
    resolved_name = "reviews" if name == "auto" else name
    return TextSet(
        resolved_name, raw.classes, train, val, test, vocabulary, options.max_words, origin
    )


def _split(raw: RawTexts, options: Any) -> tuple[tuple[Split, Split, Split], int]:
    """Return training, validation and test texts, and how many duplicates were removed."""
    texts, labels, duplicates = _without_duplicates(raw.texts, raw.labels)
    held_out = {
        _normalised(text) for split in (raw.test, raw.val) if split is not None for text in split[0]
    }
    indices = [index for index, text in enumerate(texts) if _normalised(text) not in held_out]
    duplicates += len(texts) - len(indices)
    train: Split = [texts[index] for index in indices], [labels[index] for index in indices]
    remaining = 1.0
    if raw.test is None:
        train, test = _hold_out(train, options.test_fraction, options.split_seed, raw.title)
        remaining -= options.test_fraction
    else:
        test = _without_duplicates(*raw.test)[:2]
    if raw.val is None:
        fraction = min(0.5, _VAL_FRACTION / remaining)
        train, val = _hold_out(train, fraction, options.split_seed, raw.title)
    else:
        val = _without_duplicates(*raw.val)[:2]
    return (train, val, test), duplicates


def _read(name: str, options: Any) -> RawTexts:
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
            "folder:PATH"
        )
    module, data_dir = dataset_module(name), Path(options.data_dir)
    if not module.present(data_dir):
        download_required(name, module.INFO, data_dir)
    return module.load(data_dir)


def _from_folder(root: Path) -> RawTexts:
    """Read ``train/`` and ``test/`` with one folder per class in each, or such folders alone."""
    both = text_folder.has_train_and_test(root)
    classes = text_folder.classes_of(root / "train" if both else root)
    texts, labels, empty = text_folder.read(root / "train" if both else root, classes)
    test: Split | None = None
    empty_test = 0
    if both:
        if unknown := sorted(set(text_folder.classes_of(root / "test")) - set(classes)):
            raise UsageError(f"{root / 'test'}: the class {unknown[0]!r} is not in train/")
        test_texts, test_labels, empty_test = text_folder.read(root / "test", classes)
        test = test_texts, test_labels
    empty += empty_test
    note = f"{empty:,} empty files" if empty else ""
    return RawTexts(texts, labels, classes, root.name, "texts", test=test, note=note)


def _from_csv(path: Path, options: Any) -> RawTexts:
    """Read one CSV file, or a folder with ``train.csv`` and ``test.csv``."""
    if str(path) in ("", "."):
        raise UsageError("csv: needs a path, such as csv:reviews.csv")
    columns = options.text_column, options.label_column, options.delimiter
    both = path.is_dir() and is_plain(path / "train.csv") and is_plain(path / "test.csv")
    if path.is_dir() and not both:
        raise UsageError(f"csv: {path} is a folder; it must hold train.csv and test.csv")
    train = csv.read(path / "train.csv" if both else path, *columns)
    test = csv.read(path / "test.csv", *columns, min_classes=1) if both else None
    classes = tuple(sorted(set(train.labels)))
    label_of = {name: label for label, name in enumerate(classes)}
    if test is not None and not set(test.labels) <= set(classes):
        unknown = sorted(set(test.labels) - set(classes))[0]
        raise UsageError(f"{path / 'test.csv'}: the label {unknown!r} is not in train.csv")
    skipped = train.skipped + (test.skipped if test else 0)
    return RawTexts(
        train.texts,
        [label_of[name] for name in train.labels],
        classes,
        path.name if both else path.stem,
        "texts",
        test=None if test is None else (test.texts, [label_of[name] for name in test.labels]),
        note=f"{skipped:,} rows without text or label" if skipped else "",
    )


def _normalised(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip().casefold()


def _without_duplicates(
    texts: Sequence[str], labels: Sequence[int]
) -> tuple[list[str], list[int], int]:
    """Return the first of each group of equal texts, their labels, and the number removed."""
    first: dict[str, int] = {}
    for index, text in enumerate(texts):
        first.setdefault(_normalised(text), index)
    indices = list(first.values())
    return (
        [texts[index] for index in indices],
        [labels[index] for index in indices],
        len(texts) - len(indices),
    )


def _hold_out(split: Split, fraction: float, seed: int, title: str) -> tuple[Split, Split]:
    """Return the remaining texts, and the fraction of the texts that is held out."""
    texts, labels = split
    remaining, held_out = splits.draw_fraction(
        np.asarray(labels, dtype=np.int64), fraction, seed, title
    )
    return _select(texts, labels, remaining), _select(texts, labels, held_out)


def _select(texts: Sequence[str], labels: Sequence[int], indices: np.ndarray) -> Split:
    return [texts[index] for index in indices], [labels[index] for index in indices]
