"""From the options to a set of texts in memory: read, made free of duplicates, split, put into numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from advlab import names
from advlab.datasets import _split
from advlab.errors import UserError
from advlab.texts import _csv
from advlab.texts._set import Texts, TextSet
from advlab.texts._vocabulary import Vocabulary

CSV_PREFIX = "csv:"
PACKAGE = "advlab.texts"
_VAL_SHARE = 0.1


@dataclass(frozen=True)
class Raw:
    """Texts as they were read.

    Attributes:
        test: texts and labels that are for testing by whoever made the set; None where nobody said.
        note: what was left out, for the origin.
    """

    texts: list[str]
    labels: list[int]
    classes: tuple[str, ...]
    title: str
    noun: str
    test: tuple[list[str], list[int]] | None = None
    note: str = ""


def load(options: Any) -> TextSet:
    """The set of texts that the options name, split and in numbers. ``auto`` is the embedded reviews.

    A share is held out for testing and a tenth for validation, by class and by ``--split-seed``, unless the set comes with
    test texts of its own. Of texts that are the same but for case and spaces one is kept, and a text that stands among
    the test texts is never trained on. The vocabulary is made from the training texts.

    Raises:
        UserError: the set is unknown, or its file is not as it should be.
        WorldError: it cannot be had.
    """
    name = options.dataset
    raw = _read(name, options)
    texts, labels, dropped = _without_duplicates(raw.texts, raw.labels)
    if raw.test is not None:
        test_texts, test_labels, _ = _without_duplicates(*raw.test)
        known = {_normal(text) for text in test_texts}
        kept = [place for place, text in enumerate(texts) if _normal(text) not in known]
        dropped += len(texts) - len(kept)
        texts, labels = [texts[place] for place in kept], [labels[place] for place in kept]
        rest, held_out = _drawn(labels, _VAL_SHARE, options.split_seed, raw.title)
        parts = _of(texts, labels, rest), _of(texts, labels, held_out), (test_texts, test_labels)
    else:
        rest, test = _drawn(labels, options.test_share, options.split_seed, raw.title)
        share = min(0.5, _VAL_SHARE / (1 - options.test_share))
        inner, val = _drawn([labels[place] for place in rest], share, options.split_seed, raw.title)
        parts = _of(texts, labels, rest[inner]), _of(texts, labels, rest[val]), _of(texts, labels, test)
    vocabulary = Vocabulary.of(parts[0][0], options.min_count, options.most_words)
    train, val_part, test_part = (Texts.of(some, numbers, vocabulary, options.max_words) for some, numbers in parts)
    left_out = [f"{dropped:,} duplicates"] * bool(dropped) + [raw.note] * bool(raw.note)
    note = f" ({' and '.join(left_out)} left out)" if left_out else ""
    origin = f"{raw.title}, {len(train) + len(val_part):,} + {len(test_part):,} {raw.noun}{note}"
    own_name = "reviews" if name == "auto" else name
    return TextSet(own_name, raw.classes, train, val_part, test_part, vocabulary, options.max_words, origin)


def known() -> list[str]:
    """Names of the sets of texts, sorted."""
    return names.modules_in(PACKAGE)


def _read(name: str, options: Any) -> Raw:
    if name.startswith(CSV_PREFIX):
        return _from_csv(Path(name.removeprefix(CSV_PREFIX)), options)
    name = "reviews" if name == "auto" else name
    if name not in known():
        nearest = names.suggestion(name, [*known(), "auto", CSV_PREFIX])
        raise UserError(f"unknown set of texts {name!r}{nearest}; there are: auto, {', '.join(known())}, csv:PATH")
    module = names.load(PACKAGE, name, "set of texts")
    texts, labels = module.read()
    return Raw(texts, labels, module.CLASSES, module.TITLE, module.NOUN)


def _from_csv(path: Path, options: Any) -> Raw:
    """One file, or a folder with ``train.csv`` and ``test.csv``."""
    if str(path) in ("", "."):
        raise UserError("csv: needs a path, such as csv:reviews.csv")
    columns = options.text_column, options.label_column, options.delimiter
    both = path.is_dir() and (path / "train.csv").is_file() and (path / "test.csv").is_file()
    if path.is_dir() and not both:
        raise UserError(f"csv: {path} is a folder without train.csv and test.csv in it")
    train = _csv.read(path / "train.csv" if both else path, *columns)
    test = _csv.read(path / "test.csv", *columns, least_classes=1) if both else None
    classes = tuple(sorted(set(train.labels)))
    number = {name: place for place, name in enumerate(classes)}
    if test is not None and not set(test.labels) <= set(classes):
        strange = sorted(set(test.labels) - set(classes))[0]
        raise UserError(f"{path / 'test.csv'}: label {strange!r} does not stand in train.csv")
    skipped = train.skipped + (test.skipped if test else 0)
    return Raw(
        train.texts,
        [number[label] for label in train.labels],
        classes,
        path.name if both else path.stem,
        "texts",
        None if test is None else (test.texts, [number[label] for label in test.labels]),
        f"{skipped:,} rows without text or label" if skipped else "",
    )


def _normal(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip().casefold()


def _without_duplicates(texts: Sequence[str], labels: Sequence[int]) -> tuple[list[str], list[int], int]:
    """The first of each text, and how many others there were."""
    first: dict[str, int] = {}
    for place, text in enumerate(texts):
        first.setdefault(_normal(text), place)
    kept = list(first.values())
    return [texts[place] for place in kept], [labels[place] for place in kept], len(texts) - len(kept)


def _drawn(labels: Sequence[int], share: float, seed: int, title: str) -> tuple[np.ndarray, np.ndarray]:
    return _split.draw_share(np.asarray(labels, dtype=np.int64), share, seed, title)


def _of(texts: Sequence[str], labels: Sequence[int], places: np.ndarray) -> tuple[list[str], list[int]]:
    return [texts[place] for place in places], [labels[place] for place in places]
