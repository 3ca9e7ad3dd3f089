"""Names of a network's classes, from a file, and their match with the classes of a data set."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from advlab.components import plain_name
from advlab.errors import UsageError
from advlab.input_files import is_plain

_SYNSET = re.compile(r"n\d{8}")  # WordNet's number of a noun, by which ImageNet's folders are named
_IMAGENET = 1000


@dataclass(frozen=True)
class ClassNames:
    """Names of classes by number.

    Attributes:
        names: for people.
        synsets: WordNet's numbers, by which ImageNet names its folders; empty where unknown.
    """

    names: tuple[str, ...]
    synsets: tuple[str, ...] = ()

    def __len__(self) -> int:
        """How many classes there are."""
        return len(self.names)

    def numbers_of(self, classes: Sequence[str]) -> list[int] | None:
        """The number of each class of a data set; None where one of them is not among these.

        Classes match by their synset, else by their name but for case, commas and underscores. A
        name that two classes share matches none. A thousand folders that are all named by synsets
        are ImageNet's, whose classes are in the order of their synsets.
        """
        if (
            len(classes) == len(self.names) == _IMAGENET
            and len(set(classes)) == _IMAGENET
            and all(_SYNSET.fullmatch(name) for name in classes)
        ):
            order = {name: number for number, name in enumerate(sorted(classes))}
            return [order[name] for name in classes]
        for known, key in (
            (self.synsets, str),
            (self.names, plain_name),
        ):
            keys = [key(name) for name in known]
            numbers = {name: number for number, name in enumerate(keys) if keys.count(name) == 1}
            spelled = [key(name) for name in classes]
            if len(set(spelled)) == len(spelled) and all(name in numbers for name in spelled):
                return [numbers[name] for name in spelled]
        return None


def read(file: Path, count: int) -> ClassNames:
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
        names = (
            _of_json(json.loads(text))
            if text.lstrip()[:1] in ("{", "[")
            else ClassNames(tuple(line.strip() for line in text.splitlines() if line.strip()))
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(
            f"--classes: {file} is neither a name to a line nor a class index such as {{'0': "
            f"['n01440764', 'tench'], …}}"
        ) from error
    if len(names) != count:
        raise UsageError(
            f"--classes: {file} names {len(names):,} classes, and the network has {count:,}"
        )
    return names


def _of_json(content: object) -> ClassNames:
    if isinstance(content, dict):
        content = [content[str(number)] for number in range(len(content))]
    if not isinstance(content, list):
        raise TypeError
    names = [entry[-1] if isinstance(entry, list) else entry for entry in content]
    if not all(isinstance(name, str) and name for name in names):
        raise TypeError
    first = [entry[0] if isinstance(entry, list) and len(entry) > 1 else "" for entry in content]
    synsets = first if all(isinstance(one, str) and _SYNSET.fullmatch(one) for one in first) else []
    return ClassNames(tuple(names), tuple(synsets))
