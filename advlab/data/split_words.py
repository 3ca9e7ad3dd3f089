"""The words that name the parts of a data set: folders, files, arrays and splits of a table."""

from __future__ import annotations

import re
from collections.abc import Iterable

from advlab.errors import UsageError

PARTS = ("train", "val", "test")

COLUMNS = ("split", "part", "partition", "subset", "set", "fold")
"""Usual names of a column that tells the part of each row."""

_WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}


def part_of(word: str) -> str | None:
    """Return the part, one of ``PARTS``, that a word names in any letter case; None for others."""
    return _WORDS.get(word.casefold())


def is_column(name: str) -> bool:
    """Return whether a column with this name may tell the part of each row."""
    return name.casefold() in COLUMNS or is_flag(name)


def is_flag(name: str) -> bool:
    """Return whether a name is one such as ``is_test``, of a column of yes and no."""
    letters = re.sub(r"[\s_-]+", "", name.casefold())
    return letters[:2] in ("is", "in") and part_of(letters[2:]) is not None


def assigned(names: Iterable[str], place: str) -> dict[str, str]:
    """Return for each part, in the order of ``PARTS``, the one of the names that stands for it.

    Names that stand for no part are left out.

    Args:
        place: what a refusal begins with.

    Raises:
        UsageError: two names stand for one part.
    """
    by_part: dict[str, str] = {}
    for name in names:
        part = part_of(name)
        if part is None:
            continue
        if part in by_part:
            raise UsageError(
                f"{place}: {by_part[part]} and {name} both name the {part} part; join them, or "
                "rename one"
            )
        by_part[part] = name
    return {part: by_part[part] for part in PARTS if part in by_part}
