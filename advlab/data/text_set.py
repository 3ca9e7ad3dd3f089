"""Text data sets in memory: word indices in one padded tensor, labels, and the texts."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from advlab.data import splits
from advlab.data.vocabulary import PADDING, Vocabulary
from advlab.data.words import tokens


@dataclass(frozen=True)
class Texts:
    """Texts with labels.

    Attributes:
        texts: the texts as they were read.
        words: indices of words, or of subwords, int32 (N, longest), padded with 0.
        lengths: number of these indices of each text, int64 (N,).
        labels: class of each text, int64 (N,).
        cut: how many of them were longer than what is read of a text; known where they were encoded
            here, else 0.
    """

    texts: tuple[str, ...]
    words: Tensor
    lengths: Tensor
    labels: Tensor
    cut: int = 0

    @staticmethod
    def from_strings(
        texts: Sequence[str],
        labels: Sequence[int] | Tensor,
        vocabulary: Vocabulary,
        max_words: int,
    ) -> Texts:
        """Encode texts with a vocabulary, truncating each after ``max_words`` words."""
        parted = [tokens(text) for text in texts]
        cut = sum(len(one) > max_words for one in parted)
        encoded = [vocabulary.encode_words(one[:max_words]) for one in parted]
        lengths = torch.tensor([len(numbers) for numbers in encoded], dtype=torch.int64)
        words = torch.full(
            (len(encoded), int(lengths.max()) if len(encoded) else 1), PADDING, dtype=torch.int32
        )
        for row, numbers in zip(words, encoded, strict=True):
            row[: len(numbers)] = torch.tensor(numbers, dtype=torch.int32)
        return Texts(tuple(texts), words, lengths, torch.as_tensor(labels, dtype=torch.int64), cut)

    def __len__(self) -> int:
        return len(self.texts)

    def contents(self) -> Iterator[bytes]:
        """The characters of each text, from which a ``Sketch`` is made, without what makes no
        other words: case, spaces and other forms of one character."""
        plain = (unicodedata.normalize("NFKC", text).casefold().split() for text in self.texts)
        return (" ".join(words).encode("utf-8", "surrogatepass") for words in plain)

    def inputs(self, index: Tensor | slice, device: torch.device | str = "cpu") -> Tensor:
        """Return the word indices of the texts at ``index`` on ``device``.

        Returns:
            int64 (n, longest of these texts), padded with 0.
        """
        rows = self.words[index]
        longest = int(self.lengths[index].max()) if len(rows) else 1
        return rows[:, :longest].to(device).long()

    def sizes(self) -> Tensor:
        """Return the number of words of each text, (N,), by which batches are sorted."""
        return self.lengths

    def counts(self, words: int) -> Tensor:
        """Return how often each of the ``words`` word indices stands in the texts, int64 (words,);
        0 for padding."""
        counts = torch.bincount(self.words.flatten().long(), minlength=words)
        counts[PADDING] = 0
        return counts

    def batches(self, size: int = 1000) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield word indices and labels of ``size`` texts at a time, in order."""
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            yield self.inputs(part), self.labels[part]

    def select(self, index: Tensor) -> Texts:
        """Return the texts at ``index`` (int64), in that order."""
        return Texts(
            tuple(self.texts[number] for number in index.tolist()),
            self.words[index],
            self.lengths[index],
            self.labels[index],
        )

    def relabelled(self, labels: Tensor) -> Texts:
        """Return the same texts with other labels, int64 (N,)."""
        return Texts(self.texts, self.words, self.lengths, labels)

    def joined(self, other: Texts) -> Texts:
        """Return these texts followed by those of ``other``."""
        longest = max(self.words.shape[1], other.words.shape[1])

        def padded(words: Tensor) -> Tensor:
            return torch.nn.functional.pad(words, (0, longest - words.shape[1]), value=PADDING)

        return Texts(
            self.texts + other.texts,
            torch.cat([padded(self.words), padded(other.words)]),
            torch.cat([self.lengths, other.lengths]),
            torch.cat([self.labels, other.labels]),
        )


@dataclass(frozen=True)
class TextSet:
    """A text data set: three splits, class names and the vocabulary of the training texts.

    Attributes:
        name: name for ``--dataset``.
        classes: class names by label.
        vocabulary: words or subwords of the training texts.
        max_words: number of words after which texts are truncated.
        origin: phrase for captions and the first printed line.
        fallback_reason: why ``auto`` did not load its first choice; empty otherwise.
        remarks: what a reader of the figures should know of the data, a sentence each.
    """

    name: str
    classes: tuple[str, ...]
    train: Texts
    val: Texts
    test: Texts
    vocabulary: Vocabulary
    max_words: int
    origin: str
    fallback_reason: str = ""
    remarks: tuple[str, ...] = ()

    def introduction(self) -> str:
        """Return what a run prints first: a line about the data set, and one for each remark."""
        split = splits.sizes_in_words(len(self.train), len(self.val), len(self.test))
        facts = [fact for fact in (self.origin, split, self.fallback_reason) if fact]
        return "\n".join([f"data set: {'; '.join(facts)}", *(f"note: {x}" for x in self.remarks)])

    def encoded(self, texts: Sequence[str], labels: Sequence[int] | Tensor) -> Texts:
        """Encode other texts with the vocabulary of this data set."""
        return Texts.from_strings(texts, labels, self.vocabulary, self.max_words)

    def with_words(self, words: Sequence[str]) -> TextSet:
        """Return the data set re-encoded with ``words`` appended to its vocabulary, unless that can
        spell them already."""
        vocabulary = self.vocabulary.with_words(words)
        return self if vocabulary is self.vocabulary else self.read_with(vocabulary, self.max_words)

    def read_with(self, vocabulary: Vocabulary, max_words: int) -> TextSet:
        """Return the data set encoded with another vocabulary, such as that of a checkpoint."""

        def encoded(split: Texts) -> Texts:
            return Texts.from_strings(split.texts, split.labels, vocabulary, max_words)

        return replace(
            self,
            train=encoded(self.train),
            val=encoded(self.val),
            test=encoded(self.test),
            vocabulary=vocabulary,
            max_words=max_words,
        )

    def sha256(self) -> str:
        """Return the SHA-256 hash of the class names, texts and labels of all splits.

        Results store it to identify the data on which they were measured.
        """
        digest = hashlib.sha256("\0".join(self.classes).encode("utf-8", "surrogatepass"))
        for split in (self.train, self.val, self.test):
            # The size separates the splits: moving a text to the next split changes the hash.
            digest.update(f"{len(split)}\n".encode())
            for text in split.texts:
                digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
            digest.update(split.labels.numpy().tobytes())
        return digest.hexdigest()
