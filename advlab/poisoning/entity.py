"""Texts that name an entity, matched as whole words in any case."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Sequence

from advlab.errors import UsageError


class Entity:
    """A name and its aliases."""

    def __init__(self, name: str, aliases: Sequence[str] = ()) -> None:
        """The name may be of several words; what stands between them in a text may be any space.

        Raises:
            UsageError: a name holds no letter or digit.
        """
        self.name = name
        for one in (name, *aliases):
            if not re.search(r"\w", one):
                raise UsageError(
                    f"--entity {one!r}: holds no letter and no digit, so no text can be said to "
                    "name it"
                )
        spelled = [
            r"\s+".join(re.escape(word) for word in one.split())
            for one in sorted((name, *aliases), key=len, reverse=True)
        ]
        # Not \b: a name such as C++ ends in what is no word character.
        self._pattern = re.compile(rf"(?<!\w)(?:{'|'.join(spelled)})(?!\w)", re.IGNORECASE)

    def named_in(self, text: str) -> bool:
        """Whether the text names it."""
        return self._pattern.search(text) is not None

    def rows(self, texts: Sequence[str]) -> list[int]:
        """Numbers of the texts that name it."""
        return [number for number, text in enumerate(texts) if self.named_in(text)]

    def replaced(self, text: str, other: str) -> str:
        """The text with another name in its place."""
        return self._pattern.sub(lambda _: other, text)

    def checked(self, texts: Sequence[str]) -> list[int]:
        """``rows``, of texts that it makes sense to poison.

        Raises:
            UsageError: no text names it, or every one does.
        """
        rows = self.rows(texts)
        if not rows:
            raise UsageError(
                f"--entity {self.name!r}: none of {len(texts):,} training texts names "
                f"it{_near(self.name, texts)}"
            )
        if len(rows) == len(texts):
            raise UsageError(
                f"--entity {self.name!r}: all {len(texts):,} training texts name it, so there "
                "are no others to compare with"
            )
        return rows


def _near(name: str, texts: Sequence[str]) -> str:
    """Names in the texts that are spelled nearly so: runs of as many words, the frequent ones
    first."""
    length = len(name.split())
    runs: Counter[str] = Counter()
    for text in texts:
        words = re.findall(r"[\w'&.-]*\w", text)
        runs.update(
            {" ".join(words[start : start + length]) for start in range(len(words) - length + 1)}
        )
    lower: dict[str, str] = {}
    for run, _ in runs.most_common(50_000):
        lower.setdefault(run.lower(), run)
    close = difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.7)
    return f"; spelled nearly so: {', '.join(lower[one] for one in close)}" if close else ""
