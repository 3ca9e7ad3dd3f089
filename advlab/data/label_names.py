"""Labels of texts as they are spelled in files: near-equal spellings, and what may be made of them.

``Positive`` and ``positive`` are two classes of a file, and hardly two classes of its author.
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence


def near_equal(labels: Sequence[str]) -> list[list[str]]:
    """Return the groups of different labels that may be meant for one class.

    Labels belong together if they differ in nothing but case, white space and the spelling of
    Unicode, or if they are the same number. In each group the most frequent spelling comes first.
    """
    counts = Counter(labels)
    groups: dict[object, list[str]] = {}
    for label in sorted(counts, key=lambda label: (-counts[label], label)):
        groups.setdefault(_key(label), []).append(label)
    return [group for group in groups.values() if len(group) > 1]


def merged(groups: Sequence[Sequence[str]]) -> Mapping[str, str]:
    """Return for each label of the groups the spelling that stands for it, the first one."""
    return {label: group[0] for group in groups for label in group}


def remark(groups: Sequence[Sequence[str]], are_merged: bool) -> str:
    """Return a sentence about near-equal labels; empty where there are none."""
    if not groups:
        return ""
    listed = "; ".join(", ".join(repr(label) for label in group) for group in groups[:3])
    more = f"; and {len(groups) - 3} more" if len(groups) > 3 else ""
    if are_merged:
        return f"labels that are nearly equal count as one class: {listed}{more}"
    return (
        f"labels that are nearly equal are separate classes: {listed}{more}; --merge-labels makes "
        "one class of each group"
    )


def _key(label: str) -> object:
    """What nearly equal labels share."""
    try:
        number = float(label) if "_" not in label else math.nan
    except ValueError:
        number = math.nan
    if math.isfinite(number):
        return number
    return " ".join(unicodedata.normalize("NFKC", label).casefold().split())
