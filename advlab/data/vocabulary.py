"""Vocabularies. A vocabulary is built from training texts only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from advlab.data.words import tokens

PADDING, UNKNOWN = 0, 1
_SPECIAL = 2


@dataclass(frozen=True)
class Vocabulary:
    """Mapping from words to indices.

    Index 0 is padding and 1 is any unknown word. The words follow, the most frequent first.
    """

    words: tuple[str, ...]

    units: ClassVar[str] = "words"

    @staticmethod
    def from_texts(texts: Iterable[str], min_count: int = 1, max_size: int = 50_000) -> Vocabulary:
        """Build a vocabulary from training texts.

        Words are sorted by frequency and then alphabetically, so that the same texts always give
        the same indices.

        Args:
            min_count: number of texts that must contain a word.
            max_size: number of words to keep at most.
        """
        counts = Counter(word for text in texts for word in set(tokens(text)))
        frequent = sorted(
            (word for word, count in counts.items() if count >= min_count),
            key=lambda word: (-counts[word], word),
        )
        return Vocabulary(tuple(frequent[:max_size]))

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words, start=_SPECIAL)}

    def __len__(self) -> int:
        """Return the number of indices, including those for padding and unknown words."""
        return len(self.words) + _SPECIAL

    def encode_words(self, words: Sequence[str]) -> list[int]:
        """Return the indices by which a network reads some words; of no words one unknown word."""
        numbers = self._numbers
        return [numbers.get(word, UNKNOWN) for word in words] or [UNKNOWN]

    def with_words(self, words: Sequence[str]) -> Vocabulary:
        """Return a vocabulary with those of the words appended that this one does not contain;
        this one itself where there are none."""
        new = [word for word in dict.fromkeys(words) if self.number(word) == UNKNOWN]
        return Vocabulary((*self.words, *new)) if new else self

    def number(self, word: str) -> int:
        """Return the index of a word, or that of unknown words."""
        return self._numbers.get(word, UNKNOWN)

    def word(self, number: int) -> str:
        """Return the word of an index, which must not be that of padding or unknown words."""
        return self.words[number - _SPECIAL]

    def indices(self, words: Sequence[str]) -> dict[str, int]:
        """Return the indices of those of the words that the vocabulary contains."""
        return {word: self._numbers[word] for word in words if word in self._numbers}
