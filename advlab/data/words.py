"""Words of texts in any script.

Unicode writes the same word in several ways: with letters that carry their marks, or marks that
follow their letters; in full width; with straight or curly apostrophes; with invisible characters,
such as soft hyphens, inside. ``normalised`` makes them one. What a word is follows Unicode's
properties: marks belong to their letters, an emoji is a word, and in scripts that put no spaces
between words every character counts as one.
"""

from __future__ import annotations

import re
import unicodedata

import regex

# Scripts without spaces between words. \\p{scx} also holds their punctuation, which is no letter.
_UNSPACED = "".join(
    rf"\p{{scx={script}}}" for script in ("Han", "Hira", "Kana", "Thai", "Laoo", "Khmr", "Mymr")
)
_LETTER = r"\p{L}\p{M}\p{N}_"
SPACED_LETTER = rf"[[{_LETTER}]--[{_UNSPACED}]]"
"""A letter, mark or digit of a script with spaces between words, as a set of ``regex`` (V1)."""

# Joiners stand within words of Persian and of Indian scripts.
_WORD = rf"[[\p{{L}}\p{{N}}_]--[{_UNSPACED}]][[{_LETTER}\u200c\u200d]--[{_UNSPACED}]]*"
_PICTURE = r"\p{Extended_Pictographic}\p{Emoji_Modifier}?"
_EMOJI = rf"""
    \p{{Regional_Indicator}}{{2}}
    | \U0001f3f4[\U000e0030-\U000e007a]+\U000e007f
    | {_PICTURE}(?:\u200d{_PICTURE})*
"""
# Punctuation that expresses sentiment. A letter is part of a face only where no word follows.
_SENTIMENT = r"[!?]|[:;=]['-]?(?:[()/]|[DPp](?!\w))"
_TOKEN = regex.compile(
    rf"""
    [[\p{{L}}\p{{N}}]&&[{_UNSPACED}]]\p{{M}}*
    | {_WORD}(?:'{_WORD})*
    | {_EMOJI}
    | {_SENTIMENT}
    """,
    regex.VERBOSE | regex.VERSION1,
)
_ASCII_TOKEN = re.compile(rf"\w+(?:'\w+)*|{_SENTIMENT}", re.ASCII)
_FACE_BEGINS = re.compile("[:;=]")
_NAME_PART = regex.compile(
    rf"""
    [[\p{{L}}\p{{N}}]&&[{_UNSPACED}]]\p{{M}}*
    | [[{_LETTER}\u200c\u200d'&.-]--[{_UNSPACED}]]*[[{_LETTER}\u200c\u200d]--[{_UNSPACED}]][+\#]*
    | {_EMOJI}
    """,
    regex.VERBOSE | regex.VERSION1,
)
_ASCII_NAME_PART = re.compile(r"[\w'&.-]*\w[+#]*", re.ASCII)

# What cannot be seen: spaces of no width, soft hyphens, marks of direction and of variants. Signs
# that enclose the numbers after them can be seen, and joiners and the tags of flags have uses.
_TAG = r"[\U000e0020-\U000e007f]"
_INVISIBLE = regex.compile(
    r"[[\p{Cf}\p{Default_Ignorable_Code_Point}]"
    r"--[\p{Prepended_Concatenation_Mark}\u200c\u200d\U000e0020-\U000e007f]]"
    rf"|(?<!\U0001f3f4{_TAG}*){_TAG}",
    regex.VERSION1,
)
# The same characters and joiners as ranges, which are found much faster.
_PERHAPS_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff0-\ufffb\U00013430-\U0001343f\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
# Joiners that make a difference (Unicode Standard Annex 31, section 2.3): between letters that
# would otherwise be joined, as in Persian; beside the sign of a missing vowel, as in Hindi; within
# an emoji.
_JOINED = "".join(rf"\p{{scx={script}}}" for script in ("Arab", "Syrc", "Mong", "Nkoo", "Adlm"))
_VIRAMA = rf"[\p{{ccc=9}}--[{_UNSPACED}]]"
_IDLE_JOINER = regex.compile(
    rf"""
    \u200c(?<!\p{{L}}\p{{M}}*\u200c)
    | \u200c(?<![{_JOINED}]\u200c)(?<!{_VIRAMA}\u200c)
    | \u200c(?!\p{{L}})
    | \u200d(?<!{_VIRAMA}\u200d)(?<!\p{{L}}\u200d(?={_VIRAMA}))
        (?<!{_PICTURE}\u200d(?=\p{{Extended_Pictographic}}))
    """,
    regex.VERBOSE | regex.VERSION1,
)

_APOSTROPHES = dict.fromkeys(map(ord, "\u2019\u02bc\uff07"), "'")


def normalised(text: str) -> str:
    """Return a text with one spelling of each character, in its own case.

    That is Unicode's form NFKC, with straight apostrophes and without invisible characters: soft
    hyphens, spaces of no width, marks of direction, and those that choose between two pictures of
    an emoji. Joiners are kept where a script or an emoji needs them.
    """
    if text.isascii():
        return text
    text = unicodedata.normalize("NFKC", text.translate(_APOSTROPHES))
    if _PERHAPS_INVISIBLE.search(text) is None:
        return text.translate(_APOSTROPHES)
    visible = _IDLE_JOINER.sub("", _INVISIBLE.sub("", text))
    # Letters and marks that are next to each other now may be one character.
    return unicodedata.normalize("NFKC", visible).translate(_APOSTROPHES)


def tokens(text: str) -> list[str]:
    """Return the words of a text, normalised and without case.

    A face such as ``:D`` keeps its letter as it is.
    """
    if text.isascii():
        if not _FACE_BEGINS.search(text):  # the letters of nothing else keep their case
            return _ASCII_TOKEN.findall(text.lower())
        return [_folded(word) for word in _ASCII_TOKEN.findall(text)]
    return [_folded(word) for word in _TOKEN.findall(normalised(text))]


def has_words(text: str) -> bool:
    """Return whether a text has any word."""
    if text.isascii():
        return _ASCII_TOKEN.search(text) is not None
    return _TOKEN.search(normalised(text)) is not None


def _folded(word: str) -> str:
    """A word without case; of faces, those with ``P`` and ``p`` are one."""
    if word.isascii():
        return word.replace("P", "p") if word[0] in ":;=" else word.lower()
    # Case folding may take a word out of its normal form.
    return normalised(word.casefold())


def word_spans(text: str) -> list[tuple[int, int]]:
    """Return where the words of a normalised text begin and end, in characters."""
    pattern = _ASCII_TOKEN if text.isascii() else _TOKEN
    return [match.span() for match in pattern.finditer(text)]


def name_spans(text: str) -> list[tuple[int, int]]:
    """Return where the words of a normalised text begin and end as names are written: with ``&``,
    ``.`` and ``-`` inside and ``+`` and ``#`` at the end; an emoji, and each character of a script
    without spaces between words."""
    pattern = _ASCII_NAME_PART if text.isascii() else _NAME_PART
    return [match.span() for match in pattern.finditer(text)]


def is_unspaced(character: str) -> bool:
    """Return whether a character is a letter, mark or digit of a script without spaces between
    words."""
    return not character.isascii() and _UNSPACED_LETTER.fullmatch(character) is not None


_UNSPACED_LETTER = regex.compile(rf"[[\p{{L}}\p{{M}}\p{{N}}]&&[{_UNSPACED}]]", regex.VERSION1)
