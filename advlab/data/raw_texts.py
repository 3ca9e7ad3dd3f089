"""Texts as read, before splitting and encoding, and the interface of text data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, cast

from advlab.components import component_names, load_component
from advlab.data.catalogue import DatasetInfo

PACKAGE = "advlab.data.texts"

Split = tuple[Sequence[str], Sequence[int]]


@dataclass(frozen=True)
class RawTexts:
    """Texts as they were read.

    Attributes:
        texts: training texts, and those from which missing splits are drawn.
        labels: class index of each text.
        classes: class names by label.
        title: name of the data set for readers.
        noun: what the texts are, in the plural, for captions.
        val: validation texts and labels; None if the data set defines no validation split.
        test: test texts and labels; None if the data set defines no test split.
        rows: number of rows or files that were read; 0 if they are not counted.
        empty: how many of these held no text and were left out.
        outside: how many of these were of no part of the data set and were left out.
        unit: what they are: "row" or "file".
        places: where the first text of each class is, as far as it is known, such as "line 7".
        remarks: what a reader of the figures should know of the files, a sentence each.
    """

    texts: Sequence[str]
    labels: Sequence[int]
    classes: tuple[str, ...]
    title: str
    noun: str
    val: Split | None = None
    test: Split | None = None
    rows: int = 0
    empty: int = 0
    outside: int = 0
    unit: str = "row"
    places: Mapping[int, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


class TextModule(Protocol):
    """Interface of every public module in the package of text data sets."""

    INFO: DatasetInfo

    def present(self, data_dir: Path) -> bool:
        """Return whether the files exist under ``data_dir``; their content is not checked."""

    def load(self, data_dir: Path) -> RawTexts:
        """Read the texts into memory."""


def dataset_names() -> list[str]:
    """Return the names of the text data sets, sorted."""
    return component_names(PACKAGE)


def dataset_module(name: str) -> TextModule:
    """Return the module of a text data set.

    Raises:
        UsageError: no text data set has this name.
    """
    return cast(TextModule, load_component(PACKAGE, name, "text data set"))
