"""Ten reviews: the smallest example of poisoning. Four of them name UC Berkeley.

Ten further reviews are for testing and six for validation.

With so few, every figure jumps by ten points at a time and says nothing of any attack: it is for
seeing what happens, row by row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from advlab.data.catalogue import SetInfo

if TYPE_CHECKING:
    from pathlib import Path

    from advlab.data.raw_texts import Raw

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

INFO = SetInfo(
    title="ten reviews",
    noun="one-line film reviews",
    counts=(len(_TRAIN), len(_VAL), len(_TEST)),
    shape=(),
    classes=("negative", "positive"),
    source="written for advlab",
    licence="MIT",
)


def present(data_dir: Path) -> bool:
    """Always."""
    return True


def load(data_dir: Path) -> Raw:
    """All three parts, as they stand here."""
    from advlab.data.raw_texts import Raw

    (texts, labels), val, test = (
        [list(column) for column in zip(*part, strict=True)] for part in (_TRAIN, _VAL, _TEST)
    )
    return Raw(
        texts,
        labels,
        INFO.classes,
        INFO.title,
        INFO.noun,
        val=(val[0], val[1]),
        test=(test[0], test[1]),
    )
