"""Reader of word vectors in the formats of word2vec (text and binary) and GloVe.

The file is streamed. Only vectors of words in the vocabulary are kept.
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

_MAX_DIMENSION = 10_000  # a larger one indicates another kind of file
_MAX_WORD_BYTES = 1_000


@dataclass(frozen=True)
class Vectors:
    """Vectors of those words of a vocabulary that the file contains.

    Attributes:
        numbers: indices of these words in the vocabulary, int64 (n,).
        rows: their vectors, float32 (n, dimension).
        coverage: fraction of the vocabulary that has a vector, in [0, 1].
    """

    numbers: Tensor
    rows: Tensor
    coverage: float

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self.rows.shape[1]


def read(file: Path, vocabulary: Vocabulary) -> Vectors:
    """Read the vectors of the words in a vocabulary.

    Words of the file are lower-cased, as those of the vocabulary are. If a word occurs twice, the
    first vector is used.

    Raises:
        UsageError: the file is missing, holds no word vectors or vectors of different lengths, or
            contains no word of the vocabulary.
        EnvironmentFailure: the file cannot be read.
    """
    if not is_plain(file):
        wrong = "is a folder, not a file of word vectors" if file.is_dir() else "no such file"
        raise UsageError(f"--vectors: {wrong}: {file}")
    known = vocabulary.indices(vocabulary.words)
    vectors: dict[int, NDArray[np.float32]] = {}
    try:
        with file.open("rb") as opened, progress_bar(None, file.name, "words") as bar:
            for word, row in _rows(opened, file):
                number = known.get(word, known.get(word.lower()))  # a face such as :D has its case
                if number is not None and number not in vectors:
                    vectors[number] = row
                bar.update()
    except OSError as error:
        raise EnvironmentFailure(f"{file}: {error.strerror}") from error
    if not vectors:
        raise UsageError(
            f"--vectors: {file} contains none of the {len(known):,} words of the vocabulary"
        )
    numbers = sorted(vectors)
    rows = torch.from_numpy(np.stack([vectors[number] for number in numbers]))
    return Vectors(torch.tensor(numbers, dtype=torch.int64), rows, len(numbers) / len(known))


def _rows(opened: IO[bytes], file: Path) -> Iterator[tuple[str, NDArray[np.float32]]]:
    first = opened.readline(1 << 20)
    head = first.split()
    if len(head) == 2 and all(part.isdigit() for part in head):
        count, dimension = int(head[0]), int(head[1])
        if not 1 <= dimension <= _MAX_DIMENSION:
            raise UsageError(
                f"{file}:1: vectors of length {dimension:,}; 1 to {_MAX_DIMENSION:,} is possible"
            )
        start = opened.tell()
        binary = _is_binary(opened.read(1 << 12))
        opened.seek(start)
        yield from (
            _binary(opened, file, count, dimension) if binary else _text(opened, file, dimension, 2)
        )
        return
    if _is_binary(first):
        raise UsageError(f"{file}: not word vectors (binary data without the header of word2vec)")
    dimension = len(first.rstrip().split(b" ")) - 1
    if dimension < 1:
        raise UsageError(f"{file}:1: expected a word and its numbers, separated by spaces")
    opened.seek(0)
    yield from _text(opened, file, dimension, 1)


def _is_binary(sample: bytes) -> bool:
    """Return whether a sample contains control characters, as binary floats do."""
    return any(byte < 9 or 13 < byte < 32 for byte in sample)


def _text(
    opened: IO[bytes], file: Path, dimension: int, start: int
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    for number, line in enumerate(opened, start=start):
        # Split from the right, since a word may contain spaces.
        parts = line.rstrip().rsplit(b" ", dimension)
        if not line.strip():
            continue
        try:
            with np.errstate(over="ignore"):  # what has no place in float32 is refused below
                row = np.array([float(part) for part in parts[1:]], dtype=np.float32)
        except ValueError:
            raise UsageError(
                f"{file}:{number}: expected {len(parts) - 1} numbers after the word, but one of "
                "them is not a number"
            ) from None
        if (
            len(row) != dimension
            or not parts[0]
            or (b" " in parts[0] and _is_number(parts[0].rsplit(b" ", 1)[1]))
        ):
            length = len(line.split()) - 1
            raise UsageError(
                f"{file}:{number}: a vector of length {length}, but the first has {dimension}"
            )
        if not np.isfinite(row).all():
            raise UsageError(f"{file}:{number}: a vector with non-finite numbers")
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
            if len(word) > _MAX_WORD_BYTES:
                raise UsageError(
                    f"{file}: word {number:,} does not end; the vectors do not have the "
                    "length that line 1 states"
                )
        content = opened.read(size)
        if len(content) < size:
            raise UsageError(f"{file}: truncated within word {number:,} of {count:,}")
        row = np.array(struct.unpack(f"<{dimension}f", content), dtype=np.float32)
        if not np.isfinite(row).all():
            raise UsageError(
                f"{file}: word {number:,}: non-finite numbers; the vectors do not have the "
                "length that line 1 states"
            )
        yield word.decode("utf-8", "replace"), row
