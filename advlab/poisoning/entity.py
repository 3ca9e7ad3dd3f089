"""Texts that name an entity, matched as whole words in any case."""

from __future__ import annotations

import difflib
import functools
import itertools
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence

import regex

from advlab.data.words import (
    SPACED_LETTER,
    is_unspaced,
    name_spans,
    normalised,
    tokens,
    word_spans,
)
from advlab.errors import UsageError

_FLAGS = regex.IGNORECASE | regex.FULLCASE | regex.VERSION1
_APART = r"[\s\p{Dash}\u30fb]"  # what may stand between the words of a name
_PICTURE = r"[\p{Extended_Pictographic}\p{Emoji_Modifier}\p{Regional_Indicator}]"
_CLOSE = 0.7  # least similarity of names that are spelled nearly the same, by difflib


class Entity:
    """A name and its aliases.

    A text names it where the words of the name stand in it as whole words, in any case and any of
    Unicode's spellings. In scripts without spaces between words, such as Chinese, it may stand
    anywhere, with spaces or without. What an apostrophe adds, as in ``Berkeley's``, does not count.
    A sign can make another name of it: ``C++`` does not name ``C``, ``AT&T`` does not name ``AT``,
    and ``10.5`` does not name ``10``.
    """

    def __init__(self, name: str, aliases: Sequence[str] = ()) -> None:
        """The name may be of several words, with any spaces or dashes between them in a text.

        Raises:
            UsageError: a name holds no letter, digit or emoji.
        """
        self.name = name
        self.aliases = tuple(aliases)
        for one in (name, *aliases):
            if (
                regex.search(r"[\p{L}\p{N}\p{Extended_Pictographic}\p{RI}]", normalised(one))
                is None
            ):
                raise UsageError(
                    f"--entity {one!r}: holds no letter and no digit, so no text can be said to "
                    "name it"
                )
        names = sorted((name, *aliases), key=len, reverse=True)
        spelled = [_spelled(normalised(one).strip()) for one in names]
        self._anywhere = regex.compile("|".join(spelled), _FLAGS)
        self._each = [regex.compile(one, _FLAGS) for one in spelled]
        self._words = [tokens(one) for one in names]

    def named_in(self, text: str) -> bool:
        """Whether the text names it."""
        return next(self._found(normalised(text)), None) is not None

    def words_before(self, text: str) -> int | None:
        """How many words of a text stand before the name; None where the text does not name it."""
        text = normalised(text)
        span = next(self._found(text), None)
        return None if span is None else sum(end <= span[0] for _, end in word_spans(text))

    def rows(self, texts: Sequence[str]) -> list[int]:
        """Numbers of the texts that name it."""
        return [number for number, text in enumerate(texts) if self.named_in(text)]

    def replaced(self, text: str, other: str) -> str:
        """The text, normalised, with another name in its place."""
        return other.join(self._without(normalised(text)))

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

        Those with the same letters come first, whatever marks, signs and spaces they have, and
        those of which the entity's name is a part; then those with similar letters.

        Returns:
            At most three, with the number of texts that hold each in any case, the nearest first.
        """
        same: Counter[str] = Counter()
        similar: Counter[str] = Counter()
        spellings: dict[str, str] = {}
        for text in map(normalised, texts):
            parts = [part for part in self._without(text) if part]
            spans = [(part, name_spans(part)) for part in parts]
            letters = {run for part in spans for run in self._same_letters(*part)}
            letters.update(self._within_longer(text))
            alike = {
                run
                for part in spans
                for run in self._as_long(*part)
                if _letters(run) and not any(run in longer for longer in letters)
            }
            for runs, counts in ((letters, same), (alike, similar)):
                counts.update({run.casefold() for run in runs})
                for run in runs:
                    spellings.setdefault(run.casefold(), run)
        nearest = [key for key, _ in same.most_common() if not self.named_in(key)][:3]
        candidates = [
            key
            for key, _ in similar.most_common(50_000)
            if key not in same and not self.named_in(key)
        ]
        name = normalised(self.name).casefold()
        nearest += difflib.get_close_matches(name, candidates, n=3, cutoff=_CLOSE)
        return {spellings[key]: (same + similar)[key] for key in nearest[:3]}

    def _found(self, text: str) -> Iterator[tuple[int, int]]:
        """Where a normalised text names it, from the left."""
        start = 0
        words: list[tuple[int, int]] | None = None
        while (candidate := self._anywhere.search(text, start)) is not None:
            words = word_spans(text) if words is None else words
            start = candidate.start()
            end = self._end(text, start, words)
            if end is not None:
                yield start, end
            start = start + 1 if end is None else end

    def _end(self, text: str, start: int, words: list[tuple[int, int]]) -> int | None:
        """Where the name that begins at a place ends; None if there is none of whole words."""
        for pattern, name in zip(self._each, self._words, strict=True):
            match = pattern.match(text, start)
            if (
                match is not None
                and tokens(match.group()) == name
                and not any(_cuts(words, text, place) for place in match.span())
                and not _is_part_of_longer(text, *match.span())
            ):
                return int(match.end())
        return None

    def _without(self, text: str) -> list[str]:
        """The pieces of a normalised text between the places that name it."""
        pieces, start = [], 0
        for first, end in self._found(text):
            pieces.append(text[start:first])
            start = end
        return [*pieces, text[start:]]

    def _same_letters(self, text: str, spans: Sequence[tuple[int, int]]) -> Iterator[str]:
        """Names in a normalised text, whose words are given, of the same letters and digits."""
        letters = _letters(normalised(self.name))
        for number, (start, end) in enumerate(spans):
            held, following = _letters(text[start:end]), number + 1
            while held and letters.startswith(held):
                if held == letters:
                    yield " ".join(text[start:end].split())
                    break
                if following == len(spans):
                    break
                first, end = spans[following]
                held, following = held + _letters(text[first:end]), following + 1

    def _as_long(self, text: str, spans: Sequence[tuple[int, int]]) -> Iterator[str]:
        """Names in a normalised text, whose words are given, of as many words and of a length that
        may be similar."""
        name = normalised(self.name)
        count = len(name_spans(name))
        shortest, longest = len(name) * _CLOSE / (2 - _CLOSE), len(name) * (2 - _CLOSE) / _CLOSE
        for (start, _), (_, end) in zip(spans, spans[count - 1 :], strict=False):
            if not shortest <= end - start <= longest:
                continue
            # In a script without spaces every window of a text would be a name.
            same_end = name[0] == text[start] or name[-1] == text[end - 1]
            if same_end or not is_unspaced(text[start]):
                yield " ".join(text[start:end].split())

    def _within_longer(self, text: str) -> Iterator[str]:
        """Longer names in a normalised text of which the entity's is a part."""
        candidates = list(self._anywhere.finditer(text))
        named = {start for start, _ in self._found(text)} if candidates else set()
        for match in candidates:
            if match.start() in named:
                continue
            spans = [
                (start, end)
                for start, end in _joined(text, name_spans(text))
                if start < match.end() and end > match.start()
            ]
            # Not two flags whose halves make a third one.
            if spans and (spans[0][0] == match.start() or spans[-1][1] == match.end()):
                yield " ".join(text[spans[0][0] : spans[-1][1]].split())


def _spelled(name: str) -> str:
    """The pattern of a normalised name: its words, and no letter of a word before and after it."""
    words = [word for word in regex.split(rf"{_APART}+", name) if word] or [name]
    pattern = _spelled_word(words[0])
    for before, after in itertools.pairwise(words):
        optional = is_unspaced(before[-1]) or is_unspaced(after[0])
        pattern += _APART + "+*"[optional] + _spelled_word(after)
    # Not \b: a name such as C++ ends in what is no letter.
    first, last = words[0][0], words[-1][-1]
    start = "" if _stands_alone(first) else rf"(?<!{SPACED_LETTER})"
    end = "" if _stands_alone(last) else rf"(?!{SPACED_LETTER})"
    return f"{start}{pattern}{end}"


def _stands_alone(character: str) -> bool:
    """Whether a character is a word whatever letters stand beside it."""
    return is_unspaced(character) or regex.match(_PICTURE, character) is not None


def _spelled_word(word: str) -> str:
    """The pattern of a word, with any spaces beside characters of scripts without them."""
    pattern = regex.escape(word[0])
    for before, after in itertools.pairwise(word):
        gap = is_unspaced(before) or is_unspaced(after)
        gap = gap and regex.match(r"\p{M}", after) is None
        pattern += f"{_APART}*" * gap + regex.escape(after)
    return pattern


def _cuts(words: Sequence[tuple[int, int]], text: str, place: int) -> bool:
    """Whether a place is within a word, and not beside an apostrophe."""
    within = any(start < place < end for start, end in words)
    return within and "'" not in text[place - 1 : place + 1]


_LONGER_BEFORE = regex.compile(rf"{SPACED_LETTER}&|\bO'", _FLAGS)
_LONGER_AFTER = regex.compile(
    rf"[+\#]+(?!{SPACED_LETTER})|&{SPACED_LETTER}|'t(?!{SPACED_LETTER})", _FLAGS
)


def _is_part_of_longer(text: str, start: int, end: int) -> bool:
    """Whether the signs beside a name make it a part of another one, as in ``C++`` or ``10.5``."""
    before, after = text[max(0, start - 3) : start], text[end : end + 9]
    if regex.match(r"\p{N}", text[start]) and regex.search(r"\p{N}[.,:]$", before):
        return True
    if regex.match(r"\p{N}", text[end - 1]) and regex.match(r"[.,:]\p{N}", after):
        return True
    if regex.match(r"[\p{L}\p{M}\p{N}]", text[start]) and any(
        match.end() == len(before) for match in _LONGER_BEFORE.finditer(before)
    ):
        return True
    ends_in_letter = regex.match(r"[\p{L}\p{M}\p{N}]", text[end - 1]) is not None
    return ends_in_letter and _LONGER_AFTER.match(after) is not None


def _joined(text: str, spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans of words, those joined that have one sign between them, as in ``10,5``."""
    joined: list[tuple[int, int]] = []
    for start, end in spans:
        if joined and text[joined[-1][1] : start] in (".", ",", ":", "&"):
            start = joined.pop()[0]
        joined.append((start, end))
    return joined


@functools.lru_cache(maxsize=1 << 16)
def _letters(text: str) -> str:
    """The letters, digits and emoji of a text, without case and marks."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    letters: str = regex.sub(
        r"[^\p{L}\p{N}\p{Extended_Pictographic}\p{Regional_Indicator}]|\u0640", "", plain
    )
    return letters
