"""Word vectors as a space in which words have neighbours and texts a similarity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from advlab.data.formats.word_vectors import Vectors
from advlab.data.vocabulary import UNKNOWN

_AT_A_TIME = 500  # words whose cosines to all others are in memory together


@dataclass(frozen=True)
class WordSpace:
    """A vector for each index of a vocabulary.

    Attributes:
        rows: float32 (words, dimension), on the CPU; zeros for a word without a vector.
    """

    rows: Tensor

    @staticmethod
    def of_vectors(vectors: Vectors, words: int) -> WordSpace:
        """The space of the vectors that a file holds, for a vocabulary of ``words`` indices."""
        rows = torch.zeros(words, vectors.dimension)
        rows[vectors.numbers] = vectors.rows
        return WordSpace(rows)

    @cached_property
    def _directions(self) -> Tensor:
        """The rows at length 1, zeros where there is no vector."""
        # Squares of large numbers have no place in float32.
        return torch.nn.functional.normalize(self.rows.double(), dim=1).float()

    def neighbours(self, number: int, most: int, least_cosine: float) -> list[int]:
        """The words nearest to a word by the cosine of their vectors, the nearest first.

        Args:
            number: index of the word.
            most: how many at most.
            least_cosine: the smallest cosine that counts.

        Returns:
            Indices of other words; none for a word without a vector. Equal cosines are in the order
            of the vocabulary.
        """
        if number <= UNKNOWN:
            return []
        cosines = self._directions @ self._directions[number]
        cosines[: UNKNOWN + 1] = -torch.inf
        cosines[number] = -torch.inf
        order = cosines.argsort(descending=True, stable=True)[:most]
        # A word without a vector is at a cosine of 0 to every word, and similar to none.
        near = order[(cosines[order] >= least_cosine) & self.rows[order].any(dim=1)]
        return near.tolist() if bool(self.rows[number].any()) else []

    def nearest(self, most: int, least_cosine: float) -> Tensor:
        """For every word the words nearest to it, as ``neighbours`` gives them, int64 (words,
        most); the word itself in the places that are left."""
        numbers = torch.arange(len(self.rows))
        places = numbers[:, None].repeat(1, most)
        has_vector = self.rows.any(dim=1)
        has_vector[: UNKNOWN + 1] = False
        for part in numbers[has_vector].split(_AT_A_TIME):
            cosines = self._directions[part] @ self._directions.T
            cosines[:, ~has_vector] = -torch.inf
            cosines[torch.arange(len(part)), part] = -torch.inf
            best, order = cosines.topk(min(most, len(self.rows)), dim=1)
            near = torch.where(best >= least_cosine, order, part[:, None])
            places[part, : near.shape[1]] = near
        return places

    def cosine(self, first: int, second: int) -> float:
        """The cosine of two words' vectors, in [-1, 1]; 0 where one has none."""
        return float(self._directions[first] @ self._directions[second])

    def similarity(self, first: Sequence[int], second: Sequence[int]) -> float:
        """The cosine of the mean vectors of two texts, in [-1, 1]; 0 where a mean is zero.

        Args:
            first, second: indices of the words of each text.
        """
        means = [self.rows[list(numbers)].double().mean(dim=0) for numbers in (first, second)]
        return float(torch.nn.functional.cosine_similarity(means[0], means[1], dim=0))
