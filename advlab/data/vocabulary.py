"""Tokenisation of texts, and vocabularies. A vocabulary is built from training texts only."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

# Words with their apostrophes, numbers, and the marks that carry feeling.
_TOKEN = re.compile(r"\w+(?:['’]\w+)*|[!?]|[:;=]['-]?[()DPp/]")

PADDING, UNKNOWN = 0, 1
_SPECIAL = 2


def tokens(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return _TOKEN.findall(text.lower())


@dataclass(frozen=True)
class Vocabulary:
    """Numbers for words: 0 pads, 1 is any word that is not known, the words follow, the most
    frequent first."""

    words: tuple[str, ...]

    @staticmethod
    def of(texts: Iterable[str], min_count: int = 1, most: int = 50_000) -> Vocabulary:
        """From training texts: the words that stand in at least ``min_count`` of them, at most
        ``most``.

        The order is by frequency and then by the alphabet, so that the same texts always make the
        same numbers.
        """
        counts = Counter(word for text in texts for word in set(tokens(text)))
        kept = sorted(
            (word for word, count in counts.items() if count >= min_count),
            key=lambda word: (-counts[word], word),
        )
        return Vocabulary(tuple(kept[:most]))

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words, start=_SPECIAL)}

    def __len__(self) -> int:
        """How many numbers there are, the two special ones among them."""
        return len(self.words) + _SPECIAL

    def encode(self, text: str, most: int) -> list[int]:
        """The numbers of a text's first ``most`` words; a single unknown one where it has none."""
        return [self._numbers.get(word, UNKNOWN) for word in tokens(text)[:most]] or [UNKNOWN]

    def number(self, word: str) -> int:
        """The number of one word."""
        return self._numbers.get(word, UNKNOWN)

    def rows(self, wanted: Sequence[str]) -> dict[str, int]:
        """The numbers of those of the words that are known."""
        return {word: self._numbers[word] for word in wanted if word in self._numbers}
