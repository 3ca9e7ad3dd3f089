"""Data sets of texts in memory: word numbers in one padded tensor, labels, and the texts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from advlab.data.vocabulary import PADDING, UNKNOWN, Vocabulary


@dataclass(frozen=True)
class Texts:
    """Texts with labels.

    Attributes:
        texts: as they were read.
        words: numbers of their words, int32 (N, longest), padded with 0.
        lengths: words of each, int64 (N,).
        labels: int64 (N,).
    """

    texts: tuple[str, ...]
    words: Tensor
    lengths: Tensor
    labels: Tensor

    @staticmethod
    def of(
        texts: Sequence[str], labels: Sequence[int] | Tensor, vocabulary: Vocabulary, most: int
    ) -> Texts:
        """Texts in the numbers of a vocabulary, each cut after its first ``most`` words."""
        encoded = [vocabulary.encode(text, most) for text in texts]
        lengths = torch.tensor([len(one) for one in encoded], dtype=torch.int64)
        words = torch.full(
            (len(encoded), int(lengths.max()) if len(encoded) else 1), PADDING, dtype=torch.int32
        )
        for row, one in zip(words, encoded, strict=True):
            row[: len(one)] = torch.tensor(one, dtype=torch.int32)
        return Texts(tuple(texts), words, lengths, torch.as_tensor(labels, dtype=torch.int64))

    def __len__(self) -> int:
        return len(self.texts)

    def inputs(self, index: Tensor | slice, device: torch.device | str = "cpu") -> Tensor:
        """Numbers of the words of the texts at ``index``, int64 (n, their longest), on
        ``device``."""
        rows = self.words[index]
        longest = int(self.lengths[index].max()) if len(rows) else 1
        return rows[:, :longest].to(device).long()

    def sizes(self) -> Tensor:
        """Words of each."""
        return self.lengths

    def batches(self, size: int = 1000) -> Iterator[tuple[Tensor, Tensor]]:
        """Numbers of words and labels, in their order."""
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            yield self.inputs(part), self.labels[part]

    def select(self, index: Tensor) -> Texts:
        """The texts at ``index`` (int64), in that order."""
        return Texts(
            tuple(self.texts[number] for number in index.tolist()),
            self.words[index],
            self.lengths[index],
            self.labels[index],
        )

    def relabelled(self, labels: Tensor) -> Texts:
        """The same texts with other labels."""
        return Texts(self.texts, self.words, self.lengths, labels)

    def joined(self, other: Texts) -> Texts:
        """These texts and those of ``other`` after them."""
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
    """A set of texts: its three splits, its class names, the words of its training texts.

    Attributes:
        name: what ``--dataset`` calls it.
        origin: a phrase for captions and the first line printed.
        instead: why it is this set, where it stands in for another.
    """

    name: str
    classes: tuple[str, ...]
    train: Texts
    val: Texts
    test: Texts
    vocabulary: Vocabulary
    max_words: int
    origin: str
    instead: str = ""

    def introduction(self) -> str:
        """The first line that a run prints."""
        return f"data set: {self.origin}" + (f"; {self.instead}" if self.instead else "")

    def encoded(self, texts: Sequence[str], labels: Sequence[int] | Tensor) -> Texts:
        """Other texts in the numbers of this set's vocabulary."""
        return Texts.of(texts, labels, self.vocabulary, self.max_words)

    def knowing(self, words: Sequence[str]) -> TextSet:
        """The same set with these words in its vocabulary, after those that are there, and all
        texts in its numbers."""
        new = [word for word in dict.fromkeys(words) if self.vocabulary.number(word) == UNKNOWN]
        if not new:
            return self
        vocabulary = Vocabulary((*self.vocabulary.words, *new))

        def again(part: Texts) -> Texts:
            return Texts.of(part.texts, part.labels, vocabulary, self.max_words)

        return replace(
            self,
            train=again(self.train),
            val=again(self.val),
            test=again(self.test),
            vocabulary=vocabulary,
        )

    def sha256(self) -> str:
        """Hash over class names and all splits' texts and labels, so that a result can say which
        data it was measured on."""
        digest = hashlib.sha256("\0".join(self.classes).encode("utf-8", "surrogatepass"))
        for part in (self.train, self.val, self.test):
            digest.update(f"{len(part)}\n".encode())  # where one split ends and the next begins
            for text in part.texts:
                digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
            digest.update(part.labels.numpy().tobytes())
        return digest.hexdigest()
