"""Lists of image files with their classes, and which other files are skipped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from advlab.data.formats import image_files
from advlab.errors import UsageError
from advlab.input_files import is_plain

Index = np.ndarray[tuple[int], np.dtype[np.int64]]

_JUNK = ("thumbs.db", "desktop.ini", "__macosx", "ehthumbs.db", "icon\r")


@dataclass(frozen=True)
class Listing:
    """Files with their classes, in the order of the classes' and the files' names."""

    classes: tuple[str, ...]
    paths: list[Path]
    labels: Index

    def some(self, index: Index) -> Listing:
        """Those at ``index``, in that order."""
        return Listing(self.classes, [self.paths[number] for number in index], self.labels[index])


def listed(classes: tuple[str, ...], files: list[list[Path]]) -> Listing:
    """The files of each class, one class after the other."""
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), [len(images) for images in files])
    return Listing(classes, [path for images in files for path in images], labels)


def entries(folder: Path) -> list[Path]:
    """What the folder holds, by name, without what systems leave lying about.

    Raises:
        UsageError: the folder cannot be read, or a pipe, socket or device lies in it.
    """
    try:
        found = sorted(
            path
            for path in folder.iterdir()
            if not path.name.startswith(".") and path.name.lower() not in _JUNK
        )
    except OSError as error:
        raise UsageError(f"{folder}: cannot be read ({error.strerror})") from error
    for path in found:
        is_plain(path)
    return found


def looks_like_image(path: Path) -> bool:
    """By its ending, so that a broken image is told from what is none; by its content where the
    ending says nothing."""
    return path.suffix.lower() in image_files.endings() or image_files.is_image(path)
