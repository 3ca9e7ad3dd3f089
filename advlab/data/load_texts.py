"""Loading of the data set of texts that the options choose: read, deduplicate, split, encode."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from advlab.components import suggestion
from advlab.data import splits
from advlab.data.formats import csv, text_folder
from advlab.data.load_images import fetch_strictly
from advlab.data.raw_texts import Part, Raw, known, module_of
from advlab.data.text_set import Texts, TextSet
from advlab.data.vocabulary import Vocabulary
from advlab.errors import UsageError
from advlab.input_files import is_plain

CSV_PREFIX, FOLDER_PREFIX = "csv:", "folder:"
_VAL_SHARE = 0.1


def load(options: Any) -> TextSet:
    """The set of texts that the options name, split and in numbers. ``auto`` is the embedded
    reviews.

    A share is held out for testing and a tenth for validation, by class and by ``--split-seed``,
    unless the set comes with test texts of its own. Of texts that are the same but for case and
    spaces one is kept, and a text that stands among the test texts is never trained on. The
    vocabulary is made from the training texts.

    Raises:
        UsageError: the set is unknown, or its file is not as it should be.
        EnvironmentFailure: it cannot be had.
    """
    name = options.dataset
    raw = _read(name, options)
    parts, dropped = _parts(raw, options)
    vocabulary = Vocabulary.of(parts[0][0], options.min_count, options.most_words)
    train, val_part, test_part = (
        Texts.of(some, numbers, vocabulary, options.max_words) for some, numbers in parts
    )
    left_out = [f"{dropped:,} duplicates"] * bool(dropped) + [raw.note] * bool(raw.note)
    note = f" ({' and '.join(left_out)} left out)" if left_out else ""
    origin = f"{raw.title}, {len(train) + len(val_part):,} + {len(test_part):,} {raw.noun}{note}"
    own_name = "reviews" if name == "auto" else name
    return TextSet(
        own_name, raw.classes, train, val_part, test_part, vocabulary, options.max_words, origin
    )


def _parts(raw: Raw, options: Any) -> tuple[tuple[Part, Part, Part], int]:
    """For training, validation and test, and how many duplicates were left out."""
    texts, labels, dropped = _without_duplicates(raw.texts, raw.labels)
    apart = {_normal(text) for part in (raw.test, raw.val) if part is not None for text in part[0]}
    kept = [place for place, text in enumerate(texts) if _normal(text) not in apart]
    dropped += len(texts) - len(kept)
    train: Part = [texts[place] for place in kept], [labels[place] for place in kept]
    left = 1.0
    if raw.test is None:
        train, test = _drawn(train, options.test_fraction, options.split_seed, raw.title)
        left -= options.test_fraction
    else:
        test = _without_duplicates(*raw.test)[:2]
    if raw.val is None:
        train, val = _drawn(train, min(0.5, _VAL_SHARE / left), options.split_seed, raw.title)
    else:
        val = _without_duplicates(*raw.val)[:2]
    return (train, val, test), dropped


def _read(name: str, options: Any) -> Raw:
    if name.startswith(CSV_PREFIX):
        return _from_csv(Path(name.removeprefix(CSV_PREFIX)), options)
    if name.startswith(FOLDER_PREFIX):
        return _from_folder(Path(name.removeprefix(FOLDER_PREFIX)))
    name = "reviews" if name == "auto" else name
    if name not in known():
        nearest = suggestion(name, [*known(), "auto", CSV_PREFIX, FOLDER_PREFIX])
        raise UsageError(
            f"unknown set of texts {name!r}{nearest}; there are: auto, {', '.join(known())}, "
            "csv:PATH, folder:PATH"
        )
    module, data_dir = module_of(name), Path(options.data_dir)
    if not module.present(data_dir):
        fetch_strictly(name, module.INFO, data_dir)
    return module.load(data_dir)


def _from_folder(root: Path) -> Raw:
    """``train/`` and ``test/`` with a folder per class in each, or such folders alone."""
    both = text_folder.given_parts(root)
    classes = text_folder.classes_of(root / "train" if both else root)
    texts, labels, empty = text_folder.read(root / "train" if both else root, classes)
    test: Part | None = None
    more = 0
    if both:
        if strange := sorted(set(text_folder.classes_of(root / "test")) - set(classes)):
            raise UsageError(f"{root / 'test'}: the class {strange[0]!r} is not in train/")
        test_texts, test_labels, more = text_folder.read(root / "test", classes)
        test = test_texts, test_labels
    note = f"{empty + more:,} empty files" if empty + more else ""
    return Raw(texts, labels, classes, root.name, "texts", test=test, note=note)


def _from_csv(path: Path, options: Any) -> Raw:
    """One file, or a folder with ``train.csv`` and ``test.csv``."""
    if str(path) in ("", "."):
        raise UsageError("csv: needs a path, such as csv:reviews.csv")
    columns = options.text_column, options.label_column, options.delimiter
    both = path.is_dir() and is_plain(path / "train.csv") and is_plain(path / "test.csv")
    if path.is_dir() and not both:
        raise UsageError(f"csv: {path} is a folder without train.csv and test.csv in it")
    train = csv.read(path / "train.csv" if both else path, *columns)
    test = csv.read(path / "test.csv", *columns, least_classes=1) if both else None
    classes = tuple(sorted(set(train.labels)))
    number = {name: place for place, name in enumerate(classes)}
    if test is not None and not set(test.labels) <= set(classes):
        strange = sorted(set(test.labels) - set(classes))[0]
        raise UsageError(f"{path / 'test.csv'}: label {strange!r} does not stand in train.csv")
    skipped = train.skipped + (test.skipped if test else 0)
    return Raw(
        train.texts,
        [number[label] for label in train.labels],
        classes,
        path.name if both else path.stem,
        "texts",
        test=None if test is None else (test.texts, [number[label] for label in test.labels]),
        note=f"{skipped:,} rows without text or label" if skipped else "",
    )


def _normal(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip().casefold()


def _without_duplicates(
    texts: Sequence[str], labels: Sequence[int]
) -> tuple[list[str], list[int], int]:
    """The first of each text, and how many others there were."""
    first: dict[str, int] = {}
    for place, text in enumerate(texts):
        first.setdefault(_normal(text), place)
    kept = list(first.values())
    return (
        [texts[place] for place in kept],
        [labels[place] for place in kept],
        len(texts) - len(kept),
    )


def _drawn(part: Part, share: float, seed: int, title: str) -> tuple[Part, Part]:
    """What stays, and the share that is held out."""
    texts, labels = part
    kept, held_out = splits.draw_share(np.asarray(labels, dtype=np.int64), share, seed, title)
    return _of(texts, labels, kept), _of(texts, labels, held_out)


def _of(texts: Sequence[str], labels: Sequence[int], places: np.ndarray) -> Part:
    return [texts[place] for place in places], [labels[place] for place in places]
