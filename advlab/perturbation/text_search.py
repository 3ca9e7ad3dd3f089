"""Search over the words of a text: which may be changed, and in which order."""

from __future__ import annotations

import math
from dataclasses import dataclass

from advlab.perturbation.text_victim import TextVictim


@dataclass(frozen=True)
class TextTask:
    """A text to be attacked, which the network classifies correctly.

    Attributes:
        words: that the network reads, at least one.
        label: its true class.
        most: how many words may be changed.
    """

    words: tuple[str, ...]
    label: int
    most: int


def most_changes(words: int, fraction: float) -> int:
    """How many of so many words may be changed: the fraction, rounded up to whole words, so that a
    short text can be attacked at all."""
    return math.ceil(words * fraction - 1e-9)  # 20 words · 0.15 is 3 and not a little more


def by_importance(victim: TextVictim, task: TextTask) -> list[int]:
    """The places of a text's words, those first whose deletion raises the margin most; one query
    for each."""
    rows = [
        victim.numbers((*task.words[:place], *task.words[place + 1 :]))
        for place in range(len(task.words))
    ]
    margins = victim.margins(rows, task.label)
    # NaN, which counts as broken, comes first; equal margins are in the order of the text.
    return sorted(range(len(rows)), key=lambda place: -_ordered(margins[place]))


def best(margins: list[float]) -> int:
    """The number of the highest margin, of equal ones the first; NaN counts as the highest."""
    return max(range(len(margins)), key=lambda number: _ordered(margins[number]))


def _ordered(value: float) -> float:
    return math.inf if math.isnan(value) else value
