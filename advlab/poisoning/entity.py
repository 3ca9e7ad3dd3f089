"""Texts that name an entity, matched as whole words in any case."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence

import regex

from advlab.data.words import SPACED_LETTER, name_words, normalised, tokens
from advlab.errors import UsageError


class Entity:
    """A name and its aliases.

    A text names it where the name stands as a whole word, in any case and any of Unicode's
    spellings. In scripts without spaces between words, such as Chinese, it may stand anywhere.
    """

    def __init__(self, name: str, aliases: Sequence[str] = ()) -> None:
        """The name may be of several words, with any spaces or hyphens between them in a text.

        Raises:
            UsageError: a name holds no letter, digit or emoji.
        """
        self.name = name
        self.aliases = tuple(aliases)
        for one in (name, *aliases):
            if regex.search(r"[\p{L}\p{N}\p{Extended_Pictographic}\p{RI}]", one) is None:
                raise UsageError(
                    f"--entity {one!r}: holds no letter and no digit, so no text can be said to "
                    "name it"
                )
        spelled = [_spelled(one) for one in sorted((name, *aliases), key=len, reverse=True)]
        self._pattern = regex.compile(
            "|".join(spelled), regex.IGNORECASE | regex.FULLCASE | regex.VERSION1
        )

    def named_in(self, text: str) -> bool:
        """Whether the text names it."""
        return self._pattern.search(normalised(text)) is not None

    def words_before(self, text: str) -> int | None:
        """How many words of a text stand before the name; None where the text does not name it."""
        text = normalised(text)
        match = self._pattern.search(text)
        return None if match is None else len(tokens(text[: match.start()]))

    def rows(self, texts: Sequence[str]) -> list[int]:
        """Numbers of the texts that name it."""
        return [number for number, text in enumerate(texts) if self.named_in(text)]

    def replaced(self, text: str, other: str) -> str:
        """The text, normalised, with another name in its place."""
        replaced: str = self._pattern.sub(lambda _: other, normalised(text))
        return replaced

    def checked(self, texts: Sequence[str]) -> list[int]:
        """``rows``, of texts that it makes sense to poison.

        Raises:
            UsageError: no text names it, or every one does.
        """
        rows = self.rows(texts)
        if not rows:
            close = self.spelled_nearly(texts)
            near = f"; spelled nearly so: {', '.join(close)}" if close else ""
            raise UsageError(
                f"--entity {self.name!r}: none of {len(texts):,} training texts names it{near}"
            )
        if len(rows) == len(texts):
            raise UsageError(
                f"--entity {self.name!r}: all {len(texts):,} training texts name it, so there "
                "are no others to compare with"
            )
        return rows

    def spelled_nearly(self, texts: Sequence[str]) -> dict[str, int]:
        """Names in the texts that are spelled nearly so and are not taken for the entity.

        Returns:
            At most three, with the number of texts that hold each, the nearest first.
        """
        length = len(self.name.split())
        runs: Counter[str] = Counter()
        for text in texts:
            words = name_words(text)
            runs.update(
                {
                    " ".join(words[start : start + length])
                    for start in range(len(words) - length + 1)
                }
            )
        spellings: dict[str, str] = {}
        for run, _ in runs.most_common(50_000):
            if not self.named_in(run):
                spellings.setdefault(run.casefold(), run)
        close = difflib.get_close_matches(
            normalised(self.name).casefold(), spellings, n=3, cutoff=0.7
        )
        return {spellings[one]: runs[spellings[one]] for one in close}


def _spelled(name: str) -> str:
    """The pattern of a name: its words, and no letter of a word before and after it."""
    name = normalised(name.strip())
    words = [regex.escape(word) for word in regex.split(r"[\s\p{Pd}]+", name) if word]
    middle = r"[\s\p{Pd}]+".join(words) or regex.escape(name)
    # Not \b: a name such as C++ ends in what is no letter.
    before = rf"(?<!{SPACED_LETTER})" if _is_spaced(name[0]) else ""
    after = rf"(?!{SPACED_LETTER})" if _is_spaced(name[-1]) else ""
    return f"{before}{middle}{after}"


def _is_spaced(character: str) -> bool:
    """Whether a character is not of a script without spaces between words."""
    letter = regex.fullmatch(r"[\p{L}\p{M}\p{N}]", character) is not None
    return not letter or regex.fullmatch(SPACED_LETTER, character, regex.VERSION1) is not None
