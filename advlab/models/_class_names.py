"""Names of classes: from a file, and from what a user types to a class's number."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from advlab import names
from advlab.errors import UserError
from advlab.input_files import is_plain

_MOST_LISTED = 8


def read(file: Path, count: int) -> tuple[str, ...]:
    """Names of ``count`` classes, by number.

    Args:
        file: text with a name to a line, a JSON list of names, or the JSON of ImageNet's class index, which gives
            ``"0": ["n01440764", "tench"]`` (or ``"0": "tench"``) for every class.

    Raises:
        UserError: there is no such file, it is none of these, or it holds another number of names.
    """
    if not is_plain(file):
        raise UserError(f"--classes: no file at {file}")
    try:
        text = file.read_text(encoding="utf-8-sig")
        found = (
            _of_json(json.loads(text)) if text.lstrip()[:1] in ("{", "[") else [line.strip() for line in text.splitlines() if line.strip()]
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"--classes: {file} is neither a name to a line nor a class index such as {{'0': ['n01440764', 'tench'], …}}"
        ) from error
    if len(found) != count:
        raise UserError(f"--classes: {file} names {len(found):,} classes, and the network has {count:,}")
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


def number_of(typed: str, classes: Sequence[str], option: str) -> int:
    """The number of the class that ``typed`` names, by its name (case and underscores aside) or by its number.

    Raises:
        UserError: there is none, or several have that name; the line lists what may have been meant.
    """
    plain = _plain(typed)
    same = [number for number, name in enumerate(classes) if _plain(name) == plain]
    if len(same) > 1:
        raise UserError(f"{option} {typed}: {len(same)} classes are called so; give the number of one: {_listed(same, classes)}")
    if same:
        return same[0]
    if typed.isdecimal() and int(typed) < len(classes):
        return int(typed)
    parts = [number for number, name in enumerate(classes) if plain and f" {plain} " in f" {_plain(name)} "]
    if parts:
        raise UserError(f"{option} {typed}: no class is called just so; one of these may be meant: {_listed(parts, classes)}")
    few = ", ".join(classes) if len(classes) <= 15 else f"{classes[0]}, {classes[1]}, …"
    raise UserError(
        f"{option} {typed}: no such class{names.suggestion(typed, classes)}; there are {few} (or a number, 0 to {len(classes) - 1})"
    )


def _plain(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").replace(",", " ").split())


def _listed(numbers: Sequence[int], classes: Sequence[str]) -> str:
    shown = ", ".join(f"{classes[number]} ({number})" for number in numbers[:_MOST_LISTED])
    return shown + (f" and {len(numbers) - _MOST_LISTED} more" if len(numbers) > _MOST_LISTED else "")
