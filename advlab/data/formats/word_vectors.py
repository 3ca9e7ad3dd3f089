"""Word vectors from a file, in the formats of word2vec (text, binary) and GloVe.

The file is streamed, and only vectors of words in the vocabulary are kept.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from advlab.data.vocabulary import Vocabulary
from advlab.errors import EnvironmentFailure, UsageError
from advlab.input_files import is_plain
from advlab.progress import progress_bar

_LARGEST = 10_000  # numbers of a vector; more is some other file
_LONGEST = 1_000  # bytes of a word


@dataclass(frozen=True)
class Vectors:
    """Rows for some of a vocabulary's words.

    Attributes:
        numbers: of the words that have one, int64 (n,).
        rows: (n, dimension), float32.
        coverage: share of the vocabulary that has one.
    """

    numbers: Tensor
    rows: Tensor
    coverage: float

    @property
    def dimension(self) -> int:
        """Numbers of a vector."""
        return self.rows.shape[1]


def read(file: Path, vocabulary: Vocabulary) -> Vectors:
    """The vectors of a vocabulary's words; where a word comes twice, the first. Case is as in the
    vocabulary, which is lower.

    Raises:
        UsageError: the file is missing, no vectors, its rows differ in length, or none of its words
            is known.
    """
    if not is_plain(file):
        raise UsageError(f"--vectors: no file at {file}")
    known = vocabulary.rows(vocabulary.words)
    found: dict[int, NDArray[np.float32]] = {}
    try:
        with file.open("rb") as opened, progress_bar(None, file.name, "words") as bar:
            for word, row in _rows(opened, file):
                number = known.get(word.lower())
                if number is not None and number not in found:
                    found[number] = row
                bar.update()
    except OSError as error:
        raise EnvironmentFailure(f"{file}: {error.strerror}") from error
    if not found:
        raise UsageError(
            f"--vectors: {file} holds no vector of any of the {len(known):,} known words"
        )
    numbers = sorted(found)
    rows = torch.from_numpy(np.stack([found[number] for number in numbers]))
    return Vectors(torch.tensor(numbers, dtype=torch.int64), rows, len(numbers) / len(known))


def _rows(opened: IO[bytes], file: Path) -> Iterator[tuple[str, NDArray[np.float32]]]:
    first = opened.readline(1 << 20)
    head = first.split()
    if len(head) == 2 and all(part.isdigit() for part in head):
        count, dimension = int(head[0]), int(head[1])
        if not 1 <= dimension <= _LARGEST:
            raise UsageError(
                f"{file}:1: vectors of {dimension:,} numbers; is it a file of word vectors?"
            )
        place = opened.tell()
        binary = _is_binary(opened.read(1 << 12))
        opened.seek(place)
        yield from (
            _binary(opened, file, count, dimension) if binary else _text(opened, file, dimension, 2)
        )
        return
    if _is_binary(first):
        raise UsageError(f"{file}: no word vectors (binary data without word2vec's first line)")
    dimension = len(first.rstrip().split(b" ")) - 1
    if dimension < 1:
        raise UsageError(f"{file}:1: a word and its numbers are expected, set apart by spaces")
    opened.seek(0)
    yield from _text(opened, file, dimension, 1)


def _is_binary(sample: bytes) -> bool:
    """Numbers written out use a few characters; floats as they are use all bytes."""
    return any(byte < 9 or 13 < byte < 32 for byte in sample)


def _text(
    opened: IO[bytes], file: Path, dimension: int, start: int
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    for number, line in enumerate(opened, start=start):
        # From the right: a word may hold spaces.
        parts = line.rstrip().rsplit(b" ", dimension)
        if not line.strip():
            continue
        try:
            row = np.array([float(part) for part in parts[1:]], dtype=np.float32)
        except ValueError:
            raise UsageError(
                f"{file}:{number}: {len(parts) - 1} numbers are expected after the word, and one "
                "of them is none"
            ) from None
        if (
            len(row) != dimension
            or not parts[0]
            or (b" " in parts[0] and _is_number(parts[0].rsplit(b" ", 1)[1]))
        ):
            have = len(line.split()) - 1
            raise UsageError(
                f"{file}:{number}: a vector of {have} numbers, and the first one has {dimension}"
            )
        if not np.isfinite(row).all():
            raise UsageError(f"{file}:{number}: a vector that is not finite")
        yield parts[0].decode("utf-8", "replace"), row


def _is_number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _binary(
    opened: IO[bytes], file: Path, count: int, dimension: int
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    size = 4 * dimension
    for number in range(1, count + 1):
        word = bytearray()
        while (byte := opened.read(1)) not in (b" ", b""):
            if byte != b"\n":
                word += byte
            if len(word) > _LONGEST:
                raise UsageError(
                    f"{file}: word {number:,} has no end; the rows differ in length from what "
                    "line 1 says"
                )
        content = opened.read(size)
        if len(content) < size:
            raise UsageError(f"{file}: ends within word {number:,} of {count:,}")
        row = np.array(struct.unpack(f"<{dimension}f", content), dtype=np.float32)
        if not np.isfinite(row).all():
            raise UsageError(
                f"{file}: word {number:,}: a vector that is not finite; the rows differ in "
                "length from what line 1 says"
            )
        yield word.decode("utf-8", "replace"), row
