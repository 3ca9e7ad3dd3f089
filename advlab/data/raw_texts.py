"""Texts as read, before splitting and encoding, and descriptions of the data sets of texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from advlab.components import component_names, load_component
from advlab.data.catalogue import SetInfo

PACKAGE = "advlab.data.texts"

Part = tuple[Sequence[str], Sequence[int]]


@dataclass(frozen=True)
class Raw:
    """Texts as they were read.

    Attributes:
        val: texts and labels that are for validation by whoever made the set; None where nobody
            said.
        test: the same for testing.
        note: what was left out, for the origin.
    """

    texts: Sequence[str]
    labels: Sequence[int]
    classes: tuple[str, ...]
    title: str
    noun: str
    val: Part | None = None
    test: Part | None = None
    note: str = ""


class TextModule(Protocol):
    """What every public file of this package holds."""

    INFO: SetInfo

    def present(self, data_dir: Path) -> bool:
        """Whether the set's files lie under ``data_dir``. Looks at names only."""

    def load(self, data_dir: Path) -> Raw:
        """The texts."""


def known() -> list[str]:
    """Names of the sets of texts, sorted."""
    return component_names(PACKAGE)


def module_of(name: str) -> TextModule:
    """The file of a set of texts.

    Raises:
        UsageError: there is none of that name.
    """
    return cast(TextModule, load_component(PACKAGE, name, "set of texts"))
