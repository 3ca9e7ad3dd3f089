"""Labels as they are spelled in files: near-equal spellings, and what may be made of them.

``Positive`` and ``positive`` are two classes of a file, and hardly two classes of its author.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence

# Words that programs write for a missing value, and people hardly for a class, as "none" and "NA".
_MISSING = ("", "nan", "<na>", "#n/a", "null")

# Words that people write for a missing value, and for a class as well.
_PERHAPS_MISSING = (
    *("?", "??", "-", "--", "n/a", "na", "n.a.", "none", "nil", "missing", "undefined", "unknown"),
    *("unlabeled", "unlabelled", "no label"),
)

# Letters that look the same as Latin ones: Cyrillic and the Greek omicron. Capitals are replaced
# in words with Latin letters only, since the small forms of most look different.
_SMALL = str.maketrans("аеорсухіјѕһԁԛԝο", "aeopcyxijshdqwo")
_CAPITALS = str.maketrans("АВЕКМНОРСТУХІЈЅΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "ABEKMHOPCTYXIJSABEZHIKMNOPTYX")

# What may stand around a label by mistake, of which full stops and commas belong to numbers.
_QUOTES = " '\"`\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb\u2039\u203a()[]{}<>"
_SIGNS = f"{_QUOTES}.,;:!"
_SHORT = {
    "pos": "positive",
    "neg": "negative",
    "neu": "neutral",
    "y": "yes",
    "n": "no",
    "t": "true",
    "f": "false",
}
_BOOLEANS = {"true": 1, "false": 0}


def near_equal(labels: Sequence[str]) -> list[list[str]]:
    """Return the groups of different labels that may be meant for one class.

    Labels belong together if they differ in nothing but case, white space, the spelling of Unicode,
    invisible characters, quotes, brackets and punctuation around them, and letters of other
    alphabets that look the same, or if they are the same number. ``pos`` belongs to ``positive``,
    and ``true`` to ``1`` where there are truth values alone. In each group the most frequent
    spelling comes first.
    """
    counts = Counter(labels)
    keys = {label: _key(label) for label in counts}
    truth_values = set(keys.values()) <= {*_BOOLEANS, *_BOOLEANS.values()}
    groups: dict[object, list[str]] = {}
    for label in sorted(counts, key=lambda label: (-counts[label], label)):
        key = keys[label]
        if truth_values and isinstance(key, str):
            key = _BOOLEANS[key]
        groups.setdefault(key, []).append(label)
    return [group for group in groups.values() if len(group) > 1]


def is_missing(label: str) -> bool:
    """Return whether a label is what programs write where there is none, such as ``NaN``."""
    return _visible(label).strip().lower() in _MISSING


def perhaps_missing(label: str) -> bool:
    """Return whether a label may be what people write where there is none, such as ``N/A``."""
    return label.strip().casefold() in _PERHAPS_MISSING


def merged(groups: Sequence[Sequence[str]]) -> Mapping[str, str]:
    """Return for each label of the groups the spelling that stands for it, the first one."""
    return {label: group[0] for group in groups for label in group}


def remark(groups: Sequence[Sequence[str]], way_out: str | None) -> str:
    """Return a sentence about near-equal labels; empty where there are none.

    Args:
        way_out: how they become one class; None where they have become one.
    """
    if not groups:
        return ""
    listed = "; ".join(_spelled(group) for group in groups[:3])
    more = f"; and {len(groups) - 3} more" if len(groups) > 3 else ""
    if way_out is None:
        return f"labels that are nearly equal count as one class: {listed}{more}"
    return f"labels that are nearly equal are separate classes: {listed}{more}; {way_out}"


def _spelled(group: Sequence[str]) -> str:
    """The labels in quotes, in ASCII where they would look the same in print."""
    visibly_different = len({_without_case(label).strip(_SIGNS) for label in group}) == 1
    return ", ".join(map(repr if visibly_different else ascii, group))


def _without_case(label: str) -> str:
    return " ".join(label.casefold().split())


def _key(label: str) -> object:
    """What nearly equal labels share."""
    visible = _visible(unicodedata.normalize("NFKC", label))
    visible = visible.replace("\u2212", "-")  # the minus sign of word processors
    for written in (visible, visible.strip(_QUOTES)):
        if (number := _number(written)) is not None:
            return number
    if any(character.isascii() and character.isalpha() for character in visible):
        visible = visible.translate(_CAPITALS)
    word = _without_case(visible).translate(_SMALL)
    word = word.strip(_SIGNS) or word
    return _SHORT.get(word, word)


def _visible(label: str) -> str:
    """The label without invisible characters, such as a space of no width."""
    return "".join(one for one in label if unicodedata.category(one) != "Cf")


def _number(label: str) -> int | float | None:
    """The number that a label is, with a point or a comma; None for any other label."""
    if re.fullmatch(r"\s*[+-]?\d{1,300}\s*", label):
        return int(label)  # as floats, long identifiers would be equal
    if re.fullmatch(r"\s*[+-]?\d{1,3}(,\d{3})+\s*", label):
        return int(label.replace(",", ""))
    if re.fullmatch(r"\s*[+-]?\d+,\d+\s*", label):
        label = label.replace(",", ".")
    try:
        number = float(label) if "_" not in label else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None
