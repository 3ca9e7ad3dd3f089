"""Words of texts in any script.

Unicode writes the same word in several ways: with letters that carry their marks, or marks that
follow their letters; in full width; with straight or curly apostrophes. ``normalised`` makes them
one. What a word is follows Unicode's properties: marks belong to their letters, an emoji is a word,
and in scripts that put no spaces between words every character counts as one.
"""

from __future__ import annotations

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
_SENTIMENT = r"[!?]|[:;=]['-]?[()DPp/]"  # punctuation that expresses sentiment
_TOKEN = regex.compile(
    rf"""
    [[\p{{L}}\p{{N}}]&&[{_UNSPACED}]]\p{{M}}*
    | {_WORD}(?:'{_WORD})*
    | \p{{Regional_Indicator}}{{2}}
    | {_PICTURE}(?:\u200d{_PICTURE})*
    | {_SENTIMENT}
    """,
    regex.VERBOSE | regex.VERSION1,
)
_ASCII_TOKEN = regex.compile(rf"\w+(?:'\w+)*|{_SENTIMENT}", regex.ASCII)
_NAME_WORD = regex.compile(rf"[{_LETTER}'&.-]*[{_LETTER}]", regex.VERSION1)


def normalised(text: str) -> str:
    """Return a text with one spelling of each character, in its own case.

    That is Unicode's form NFKC, with straight apostrophes and without the marks that choose between
    two pictures of an emoji.
    """
    if text.isascii():
        return text
    text = text.replace("\u2019", "'").replace("\u02bc", "'").replace("\uff07", "'")
    return unicodedata.normalize("NFKC", text).replace("\ufe0f", "").replace("\ufe0e", "")


def tokens(text: str) -> list[str]:
    """Return the words of a text, normalised and without case."""
    if text.isascii():
        words: list[str] = _ASCII_TOKEN.findall(text.lower())
        return words
    # Case folding may take a text out of its normal form.
    folded = unicodedata.normalize("NFKC", normalised(text).casefold())
    words = _TOKEN.findall(folded)
    return words


def name_words(text: str) -> list[str]:
    """Return the words of a text as names are written: in their own case, with ``&``, ``.`` and
    ``-`` inside."""
    words: list[str] = _NAME_WORD.findall(normalised(text))
    return words
