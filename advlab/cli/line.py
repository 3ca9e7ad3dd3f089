"""Splitting of a command line into switches that may stand anywhere and the remaining words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from advlab.errors import UsageError

_SWITCHES = {
    "--debug": "debug",
    "--print-config": "print",
    "--help": "help",
    "-h": "help",
    "--version": "version",
    "-V": "version",
}


@dataclass(frozen=True)
class Line:
    """A line that was typed.

    Attributes:
        words: what is left: the command, its components, its flags.
        config: the value of ``--config``, None without one.
        switches: which of "debug", "print", "help" and "version" were given.
    """

    words: list[str]
    config: str | None
    switches: frozenset[str]

    def leading(self) -> tuple[list[str], list[str]]:
        """The words before the first flag, and the rest."""
        first = next(
            (index for index, word in enumerate(self.words) if word.startswith("-")),
            len(self.words),
        )
        return self.words[:first], self.words[first:]


def take_apart(argv: Sequence[str]) -> Line:
    """Take ``--config FILE`` and the switches out of the words, wherever they stand.

    Raises:
        UsageError: a word is no text, ``--config`` comes twice or without a file, or a word follows
            that belongs to no flag.
    """
    for number, word in enumerate(argv, start=1):
        if re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", word):
            raise UsageError(
                f"word {number} of the line, {word!a}, holds control characters or is not UTF-8; "
                "type it as plain text"
            )
    words: list[str] = []
    config: str | None = None
    switches = set()
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word == "--config" or word.startswith("--config="):
            if config is not None:
                raise UsageError("--config: given twice")
            config = word.partition("=")[2] if "=" in word else rest.pop(0) if rest else ""
            if not config or (config.startswith("--") and "=" not in word):
                raise UsageError("--config: needs a file")
        elif word in _SWITCHES:
            switches.add(_SWITCHES[word])
        else:
            words.append(word)
            continue
        # Taken out of the middle of a line, it must not leave the next word behind as one more
        # value of an earlier flag.
        if (
            rest
            and not rest[0].startswith("-")
            and any(earlier.startswith("-") for earlier in words)
        ):
            raise UsageError(
                f"unexpected {rest[0]!r} after {word}; the values of a flag stand right after it"
            )
    return Line(words, config, frozenset(switches))
