"""Words and the numbers that stand for them, in all scripts."""

from __future__ import annotations

import unicodedata

import pytest
import torch
from hypothesis import given, settings, strategies

from advlab.data.text_set import Texts
from advlab.data.vocabulary import PADDING, UNKNOWN, Vocabulary
from advlab.data.words import normalised, tokens


def test_tokens() -> None:
    assert tokens("It's GOOD, isn't it?! :) Café 42") == [
        "it's",
        "good",
        "isn't",
        "it",
        "?",
        "!",
        ":)",
        "café",
        "42",
    ]
    assert tokens("  ...  ") == []


def test_the_most_frequent_words_come_first_and_ties_by_the_alphabet() -> None:
    vocabulary = Vocabulary.from_texts(["b a a", "a c", "c b", "d"], min_count=2)
    assert vocabulary.words == ("a", "b", "c")
    assert len(vocabulary) == 5
    assert vocabulary.encode_words(tokens("c d a nothing")) == [4, UNKNOWN, 2, UNKNOWN]
    assert Texts.from_strings(["a b c"], [0], vocabulary, 2).words.tolist() == [[2, 3]]
    assert vocabulary.encode_words(tokens("...")) == [UNKNOWN]
    assert Vocabulary.from_texts(["b a a", "a c"], max_size=1).words == ("a",)


def test_texts_are_padded_and_cut() -> None:
    vocabulary = Vocabulary(("a", "b"))
    texts = Texts.from_strings(["a b a", "b", "a b a b a"], [0, 1, 0], vocabulary, 4)
    assert texts.words.tolist() == [[2, 3, 2, 0], [3, 0, 0, 0], [2, 3, 2, 3]]
    assert texts.lengths.tolist() == [3, 1, 4]
    assert texts.inputs(torch.tensor([1, 0])).tolist() == [[3, PADDING, PADDING], [2, 3, 2]]
    assert texts.select(torch.tensor([2])).texts == ("a b a b a",)
    joined = texts.joined(Texts.from_strings(["b b b b b b"], [1], vocabulary, 9))
    assert len(joined) == 4
    assert joined.words.shape == (4, 6)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't stop!  It's 100 % fine :-)", ["don't", "stop", "!", "it's", "100", "fine", ":-)"]),
        ("Don\u2019t CAF\u00c9 cafe\u0301", ["don't", "caf\u00e9", "caf\u00e9"]),
        ("\uff11\uff12 \uff21\uff22", ["12", "ab"]),
        ("Stra\u00dfe na\u00efve", ["strasse", "na\u00efve"]),
        (
            "\u0939\u093f\u0928\u094d\u0926\u0940 \u092b\u093f\u0932\u094d\u092e",
            ["\u0939\u093f\u0928\u094d\u0926\u0940", "\u092b\u093f\u0932\u094d\u092e"],
        ),
        ("\u5317\u4eac 2008", ["\u5317", "\u4eac", "2008"]),
        ("\u30b3\u30fc\u30d2\u30fc", ["\u30b3", "\u30fc", "\u30d2", "\u30fc"]),
        ("\u0e14\u0e35", ["\u0e14\u0e35"]),
        ("good \U0001f44d\U0001f3fd \u2764\ufe0f", ["good", "\U0001f44d\U0001f3fd", "\u2764"]),
        ("\U0001f468\u200d\U0001f469", ["\U0001f468\u200d\U0001f469"]),
        ("\U0001f1e9\U0001f1ea", ["\U0001f1e9\U0001f1ea"]),
        ("\u2026 \u2013", []),
        # Invisible characters, and joiners that make no difference, are no part of a word.
        ("Zan\u00adzi\u200bb\u2060a\ufeffr", ["zanzibar"]),
        ("Zan\u200dzi\u200cbar\u200c \u200ez", ["zanzibar", "z"]),
        ("e\u00ad\u0301", ["\u00e9"]),
        ("\u0645\u06cc\u200c\u062e\u0648", ["\u0645\u06cc\u200c\u062e\u0648"]),
        ("\u0645\u06cc\u200c \u062e", ["\u0645\u06cc", "\u062e"]),
        ("\u0915\u094d\u200d\u0937", ["\u0915\u094d\u200d\u0937"]),
        ("\u0d28\u0d4d\u200d x", ["\u0d28\u0d4d\u200d", "x"]),
        ("\u09b0\u200d\u09cd\u09af", ["\u09b0\u200d\u09cd\u09af"]),
        ("\U0001f44d\u200dx", ["\U0001f44d", "x"]),
        ("\u2764\ufe0f\u200d\U0001f525", ["\u2764\u200d\U0001f525"]),
        (
            "\U0001f3f4\U000e0067\U000e0062\U000e007f x\U000e0067",
            ["\U0001f3f4\U000e0067\U000e0062\U000e007f", "x"],
        ),
        ("\u0600123", ["123"]),
        # Faces keep their letter, which is no word of its own.
        (":D :-D =P :p ;d", [":D", ":-D", "=p", ":p", "d"]),
        ("\u00e9 :D :-D", ["\u00e9", ":D", ":-D"]),
        ("Note:Do x:please", ["note", "do", "x", "please"]),
    ],
)
def test_words_of_all_scripts(text: str, words: list[str]) -> None:
    assert tokens(text) == words


@settings(derandomize=True, max_examples=200, deadline=None)
@given(strategies.text(max_size=30))
def test_words_do_not_depend_on_how_unicode_spells_them(text: str) -> None:
    spellings = [unicodedata.normalize(form, text) for form in ("NFC", "NFD")]
    assert tokens(spellings[0]) == tokens(spellings[1])
    assert normalised(spellings[0]) == normalised(spellings[1])


@settings(derandomize=True, max_examples=300, deadline=None)
@given(
    strategies.text(
        "ae\u0301\u00ad\u200b\u200c\u200d\u0645\u0915\u094d\U0001f44d\U0001f3fd\U0001f3f4"
        "\U000e0067\U000e007f\ufe0f '\u2019:DP\u5317",
        max_size=9,
    )
)
def test_normalised_texts_and_words_stay_as_they_are(text: str) -> None:
    assert normalised(normalised(text)) == normalised(text)
    assert tokens(" ".join(tokens(text))) == tokens(text) == tokens(normalised(text))
