"""Class names from a file."""

from __future__ import annotations

import json
from pathlib import Path

from advlab.errors import UsageError
from advlab.input_files import is_plain


def read(file: Path, count: int) -> tuple[str, ...]:
    """Names of ``count`` classes, by number.

    Args:
        file: text with a name to a line, a JSON list of names, or the JSON of ImageNet's class
            index, which gives ``"0": ["n01440764", "tench"]`` (or ``"0": "tench"``) for every
            class.

    Raises:
        UsageError: there is no such file, it is none of these, or it holds another number of names.
    """
    if not is_plain(file):
        raise UsageError(f"--classes: no file at {file}")
    try:
        text = file.read_text(encoding="utf-8-sig")
        found = (
            _of_json(json.loads(text))
            if text.lstrip()[:1] in ("{", "[")
            else [line.strip() for line in text.splitlines() if line.strip()]
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(
            f"--classes: {file} is neither a name to a line nor a class index such as {{'0': "
            f"['n01440764', 'tench'], …}}"
        ) from error
    if len(found) != count:
        raise UsageError(
            f"--classes: {file} names {len(found):,} classes, and the network has {count:,}"
        )
    return tuple(found)


def _of_json(content: object) -> list[str]:
    if isinstance(content, dict):
        content = [content[str(number)] for number in range(len(content))]
    if not isinstance(content, list):
        raise TypeError
    found = [entry[-1] if isinstance(entry, list) else entry for entry in content]
    if not all(isinstance(name, str) and name for name in found):
        raise TypeError
    return found
