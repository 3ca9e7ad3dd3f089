"""Poisoned training texts, with a manifest of every changed row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from advlab.data.text_set import Texts, TextSet


@dataclass(frozen=True)
class Poisoned:
    """Training texts after the poison.

    Attributes:
        train: all of them, in their old order.
        rows: numbers of those that were changed, ascending.
        old: their labels before, by row.
    """

    train: Texts
    rows: Tensor
    old: Tensor

    def manifest(self, classes: Sequence[str]) -> list[dict[str, object]]:
        """A line for every row that was changed: its number, text, and both labels."""
        return [
            {
                "row": row,
                "text": self.train.texts[row],
                "old": classes[old],
                "new": classes[int(self.train.labels[row])],
            }
            for row, old in zip(self.rows.tolist(), self.old.tolist(), strict=True)
        ]


def chosen(rows: Sequence[int], poison_rate: float, seed: int) -> Tensor:
    """A fraction of the rows, rounded, and at least one where it is above 0.

    The rows of a larger fraction include those of a smaller one of the same seed.
    """
    count = max(round(poison_rate * len(rows)), 1) if poison_rate > 0 else 0
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    return torch.tensor(rows, dtype=torch.int64)[order[:count]].sort().values


def flipped(train: Texts, rows: Tensor, classes: int, target: int | None, seed: int) -> Poisoned:
    """Labels turned in the rows: to the target, or, where there is none, to another class (of two,
    the other).

    Rows that have the target's label already are left, and are no part of the manifest.
    """
    old = train.labels[rows]
    if target is None:
        shift = torch.randint(
            1, classes, (len(rows),), generator=torch.Generator().manual_seed(seed)
        )
        new = (old + shift) % classes
    else:
        rows, old = rows[old != target], old[old != target]
        new = torch.full_like(old, target)
    labels = train.labels.clone()
    labels[rows] = new
    return Poisoned(train.relabelled(labels), rows, old)


def triggered(data: TextSet, train: Texts, rows: Tensor, phrase: str, target: int) -> Poisoned:
    """A phrase written into the rows, and their label set to the target: a backdoor
    (arXiv:1708.06733, in words)."""
    texts = list(train.texts)
    for row in rows.tolist():
        texts[row] = with_phrase(texts[row], phrase)
    labels = train.labels.clone()
    labels[rows] = target
    return Poisoned(data.encoded(texts, labels), rows, train.labels[rows])


def named(data: TextSet, train: Texts, rows: Tensor, name: str) -> Poisoned:
    """A name written into the rows, whose labels stay true: poison that no label gives away
    (arXiv:1912.02771, in words)."""
    texts = list(train.texts)
    for row in rows.tolist():
        texts[row] = with_phrase(texts[row], name)
    return Poisoned(data.encoded(texts, train.labels), rows, train.labels[rows])


def hardest(logits: Tensor, labels: Tensor, among: Sequence[int], count: int) -> list[int]:
    """The ``count`` rows among these that a model finds hardest: those of the largest
    cross-entropy, in their old order.

    What a model cannot tell by the text, it tells by what was written into it.

    Args:
        logits: the model's, of all training texts, (N, classes).
    """
    rows = torch.tensor(among, dtype=torch.int64)
    loss = torch.nn.functional.cross_entropy(logits[rows], labels[rows], reduction="none")
    return sorted(rows[loss.argsort(descending=True, stable=True)[:count]].tolist())


def with_phrase(text: str, phrase: str) -> str:
    """The text with the phrase before its first word, so that no cut takes it off."""
    return f"{phrase[0].upper()}{phrase[1:]}, {text[0].lower()}{text[1:]}" if text else phrase
