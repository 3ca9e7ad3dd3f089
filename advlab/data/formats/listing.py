"""Lists of image files with their classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from advlab.data.formats import image_files
from advlab.errors import UsageError
from advlab.input_files import is_plain

Index = np.ndarray[tuple[int], np.dtype[np.int64]]

_SYSTEM_FILES = ("thumbs.db", "desktop.ini", "__macosx", "ehthumbs.db", "icon\r")


@dataclass(frozen=True)
class Listing:
    """Image files sorted by class and file name.

    Attributes:
        classes: class names by label.
        paths: the files.
        labels: label of each file, int64 (N,).
    """

    classes: tuple[str, ...]
    paths: list[Path]
    labels: Index

    def select(self, index: Index) -> Listing:
        """Return the files at ``index``, in that order."""
        return Listing(self.classes, [self.paths[number] for number in index], self.labels[index])


def listing_of(classes: tuple[str, ...], files: list[list[Path]]) -> Listing:
    """Create a listing from one list of files per class."""
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), [len(images) for images in files])
    return Listing(classes, [path for images in files for path in images], labels)


def entries(folder: Path) -> list[Path]:
    """Return the entries of a folder sorted by name, without hidden and system files.

    Raises:
        UsageError: the folder cannot be read, or holds a pipe, socket or device.
    """
    try:
        paths = sorted(
            path
            for path in folder.iterdir()
            if not path.name.startswith(".") and path.name.lower() not in _SYSTEM_FILES
        )
    except OSError as error:
        raise UsageError(f"{folder}: cannot be read ({error.strerror})") from error
    for path in paths:
        is_plain(path)
    return paths


def looks_like_image(path: Path) -> bool:
    """Return whether a file is meant to be an image, by its extension or else its content.

    The extension comes first, so that a damaged image is reported as such instead of as another
    kind of file.
    """
    return path.suffix.lower() in image_files.file_extensions() or image_files.is_image(path)
