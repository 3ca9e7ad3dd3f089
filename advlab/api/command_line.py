"""A line of the command line, from Python."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from advlab.cli.main import main
from advlab.errors import UsageError


def run(line: str | Sequence[str]) -> int:
    """Carry out a line of the command line, such as ``"train cnn --dataset digits"``.

    Args:
        line: the line after ``advlab``, as a text or as its words.

    Returns:
        The exit status: 0, 2 for a usage error, 1 for an environment error.

    Raises:
        UsageError: it is neither a text nor several, or a quotation in it has no end.
    """
    try:
        words = shlex.split(line) if isinstance(line, str) else list(line)
    except (TypeError, ValueError) as error:  # no words, or a quotation without an end
        raise UsageError(f"run: {line!r} is no line and no sequence of words: {error}") from error
    for word in words:
        if not isinstance(word, str):
            raise UsageError(f"run: every word of a line is a text, and {word!r} is none")
    return main(words)
