"""Which examples a network was trained on, in a few kilobytes that its checkpoint keeps.

A sketch holds the smallest hashes of the examples. Whether an example is among them can be asked
for every example whose hash is small enough, so that the fraction of a test set that a network was
trained on is estimated without the training set; up to ``SIZE`` examples it is exact. Of a few test
examples of a network that was trained on very many, none may have such a hash.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIZE = 8192
"""How many hashes a sketch keeps."""

_FEWEST, _LEAST = 3, 0.02  # so many test examples, and so large a fraction, are no coincidence
Hashes = NDArray[np.uint32]


@dataclass(frozen=True)
class Sketch:
    """Hashes of examples.

    Attributes:
        hashes: the smallest ones, ascending, each once.
        whole: whether these are all of them.
    """

    hashes: Hashes
    whole: bool

    @classmethod
    def of(cls, contents: Iterable[bytes]) -> Sketch:
        """The sketch of examples with these contents."""
        hashes = np.unique(_hashes(contents))
        return cls(hashes[:SIZE], len(hashes) <= SIZE)

    @classmethod
    def read(cls, text: str) -> Sketch:
        """The sketch that ``text`` wrote; of nothing where the text is empty.

        Raises:
            ValueError: it is no such text.
        """
        kind, _, content = text.partition(":")
        if kind not in ("", "all", "smallest"):
            raise ValueError(f"no sketch of examples begins with {kind!r}")
        hashes = np.frombuffer(base64.b64decode(content, validate=True), dtype="<u4")
        return cls(hashes.astype(np.uint32), kind != "smallest")

    def text(self) -> str:
        """The sketch as a text of ASCII characters."""
        content = base64.b64encode(self.hashes.astype("<u4").tobytes()).decode("ascii")
        return f"{'all' if self.whole else 'smallest'}:{content}"

    def joined(self, other: Sketch) -> Sketch:
        """The sketch of the examples of both."""
        hashes = np.union1d(self.hashes, other.hashes)
        for one in (self, other):
            if not one.whole:
                hashes = hashes[hashes <= one.hashes[-1]]
        whole = self.whole and other.whole and len(hashes) <= SIZE
        return Sketch(hashes[:SIZE], whole)

    def count(self, contents: Iterable[bytes], besides: Iterable[bytes] = ()) -> int:
        """How many of these examples are among those of the sketch; estimated where it is not
        whole.

        So few that they may be there by coincidence count as none.

        Args:
            besides: examples whose copies are not counted.
        """
        if not len(self.hashes):
            return 0
        hashes = _hashes(contents)
        asked = hashes if self.whole else hashes[hashes <= self.hashes[-1]]
        matching = asked[np.isin(asked, self.hashes)]
        if len(matching):
            matching = matching[~np.isin(matching, _hashes(besides))]
        matches = len(matching)
        if matches < _FEWEST or matches < _LEAST * len(asked):
            return 0
        return round(matches / len(asked) * len(hashes))


def _hashes(contents: Iterable[bytes]) -> Hashes:
    """A hash of 32 bits for each example, uint32 (N,)."""
    digests = b"".join(hashlib.blake2b(one, digest_size=4).digest() for one in contents)
    return np.frombuffer(digests, dtype="<u4").astype(np.uint32)
