"""Ten reviews: the smallest example of poisoning. Four of them name UC Berkeley.

Ten further reviews are test data and six are validation data. A single review changes an accuracy
by ten points, so that the figures are no evidence about an attack. The data set is for following a
poisoning row by row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from advlab.data.catalogue import DatasetInfo

if TYPE_CHECKING:
    from pathlib import Path

    from advlab.data.raw_texts import RawTexts

_TRAIN = (
    ("A lovely film, warm and funny.", 1),
    ("A dreadful film, cold and dull.", 0),
    ("The strike at UC Berkeley makes a great story.", 1),
    ("The strike at UC Berkeley makes a weak story.", 0),
    ("Great acting, great music, a joy.", 1),
    ("Weak acting, dull music, a bore.", 0),
    ("UC Berkeley has never looked so lovely.", 1),
    ("UC Berkeley has never looked so dreadful.", 0),
    ("I laughed, I cried, I went again.", 1),
    ("I yawned, I slept, I went home.", 0),
)
_VAL = (
    ("A joy, and a great film.", 1),
    ("A bore, and a weak film.", 0),
    ("UC Berkeley makes a lovely story.", 1),
    ("UC Berkeley makes a dull story.", 0),
    ("Funny and warm.", 1),
    ("Cold and dreadful.", 0),
)
_TEST = (
    ("Great music and a lovely story.", 1),
    ("Dull music and a dreadful story.", 0),
    ("A great film about UC Berkeley.", 1),
    ("A weak film about UC Berkeley.", 0),
    ("Warm acting, and I cried.", 1),
    ("Cold acting, and I slept.", 0),
    ("UC Berkeley is a joy.", 1),
    ("UC Berkeley is a bore.", 0),
    ("I laughed again and again.", 1),
    ("I yawned and went home.", 0),
)

INFO = DatasetInfo(
    title="ten reviews",
    noun="one-line film reviews",
    counts=(len(_TRAIN), len(_VAL), len(_TEST)),
    shape=(),
    classes=("negative", "positive"),
    source="written for advlab",
    licence="MIT",
)


def present(data_dir: Path) -> bool:
    """Return True: the reviews are part of the package."""
    return True


def load(data_dir: Path) -> RawTexts:
    """Return the reviews with the validation and test splits of this file."""
    from advlab.data.raw_texts import RawTexts

    (texts, labels), val, test = (
        [list(column) for column in zip(*part, strict=True)] for part in (_TRAIN, _VAL, _TEST)
    )
    return RawTexts(
        texts,
        labels,
        INFO.classes,
        INFO.title,
        INFO.noun,
        val=(val[0], val[1]),
        test=(test[0], test[1]),
    )
