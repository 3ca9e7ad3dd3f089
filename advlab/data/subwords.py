"""Vocabularies of subwords: byte-pair encoding of the words of the training texts.

Sennrich, Haddow and Birch 2016, arXiv:1508.07909. The library ``tokenizers`` learns the merges and
applies them. It is not part of the installation: ``pip install 'advlab[bpe]'``. Nothing here
imports it before subwords are asked for, or a network that reads them is loaded.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any, ClassVar

from advlab.components import optional
from advlab.data.vocabulary import UNKNOWN, Vocabulary
from advlab.data.words import tokens
from advlab.errors import UsageError

START = "\u2581"
"""Stands before the first letter of a word. No word of a text holds it."""

_UNKNOWN_NAME = "<unk>"  # nor does any word hold such signs
_LEAST_COUNT = 2  # a pair that stands in the training texts once is not merged


@dataclass(frozen=True)
class Subwords(Vocabulary):
    """A vocabulary into whose entries words are divided. Texts are divided into words first, as
    for any vocabulary, so that no entry holds parts of two words.

    Index 0 is padding, and 1 stands for characters that no training text holds, however many of
    them follow each other. The single characters come next, then each pair in the order in which it
    was merged.

    Attributes:
        words: the subwords; those at the beginning of a word begin with ``START``.
        merges: pairs of subwords that are joined, the most frequent first.
    """

    merges: tuple[tuple[str, str], ...] = ()

    units: ClassVar[str] = "subwords"

    @staticmethod
    def from_training(texts: Iterable[str], size: int) -> Subwords:
        """Learn subwords from training texts; the same texts in any order give the same ones.

        Args:
            size: number of subwords at most. There are fewer where no pair of subwords is left that
                stands in the texts twice.

        Raises:
            UsageError: the texts hold more characters than there may be subwords.
            EnvironmentFailure: the library is not installed.
        """
        library = _library("models", "pre_tokenizers", "trainers")
        spelled = [[START + word for word in tokens(text)] for text in texts]
        characters = set(itertools.chain.from_iterable(itertools.chain.from_iterable(spelled)))
        if len(characters) > size:
            raise UsageError(
                f"--subwords {size:,}: the training texts hold {len(characters):,} characters, "
                "each of which is a subword"
            )
        trained = library.Tokenizer(library.models.BPE())
        trained.pre_tokenizer = library.pre_tokenizers.WhitespaceSplit()
        trainer = library.trainers.BpeTrainer(
            vocab_size=size, min_frequency=_LEAST_COUNT, show_progress=False
        )
        trained.train_from_iterator(map(" ".join, spelled), trainer)
        learned: dict[str, Any] = json.loads(trained.to_str())["model"]
        numbers: dict[str, int] = learned["vocab"]
        merges = tuple((first, second) for first, second in learned["merges"])
        return Subwords(tuple(sorted(numbers, key=numbers.__getitem__)), merges)

    @cached_property
    def _encoding(self) -> Any:
        """The model of the library that applies the merges."""
        return _library("models").models.BPE(
            vocab={_UNKNOWN_NAME: UNKNOWN, **self.indices(self.words)},
            merges=list(self.merges),
            unk_token=_UNKNOWN_NAME,
            fuse_unk=True,
        )

    @cached_property
    def _divided_before(self) -> dict[str, list[int]]:
        """The indices of words that were divided already."""
        return {}

    def encode_words(self, words: Sequence[str]) -> list[int]:
        """Return the indices of the subwords of some words; of no words one unknown character."""
        return [number for word in words for number in self._divided(word)] or [UNKNOWN]

    def _divided(self, word: str) -> list[int]:
        """The indices of the subwords of one word."""
        numbers = self._divided_before.get(word)
        if numbers is None:
            numbers = [part.id for part in self._encoding.tokenize(START + word)]
            self._divided_before[word] = numbers
        return numbers

    def can_spell(self, words: Sequence[str]) -> bool:
        """Return whether the training texts hold every character of some words."""
        return not words or UNKNOWN not in self.encode_words(words)

    def with_words(self, words: Sequence[str]) -> Vocabulary:
        """Return this vocabulary: it divides new words into the subwords that it contains."""
        return self


def vocabulary_of(words: tuple[str, ...], merges: tuple[tuple[str, str], ...] | None) -> Vocabulary:
    """Return the vocabulary of a checkpoint: one of words where ``merges`` is None, else one of
    subwords.

    Raises:
        EnvironmentFailure: subwords need a library that is not installed.
    """
    if merges is None:
        return Vocabulary(words)
    _library("models")
    return Subwords(words, merges)


def _library(*modules: str) -> ModuleType:
    """The library ``tokenizers``, with some of its modules.

    Raises:
        EnvironmentFailure: it is not installed.
    """
    # Its threads would not outlive a fork, of which it warns, and --threads does not count them.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    library = optional("tokenizers", "a network of subwords", "bpe")
    for module in modules:
        optional(f"tokenizers.{module}", "a network of subwords", "bpe")
    return library
