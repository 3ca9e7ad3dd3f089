"""Lists of image files with their classes."""

from __future__ import annotations

from collections.abc import Callable
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
        remarks: what a reader of the figures should know of the folder, a sentence each.
    """

    classes: tuple[str, ...]
    paths: list[Path]
    labels: Index
    remarks: tuple[str, ...] = ()

    def select(self, index: Index) -> Listing:
        """Return the files at ``index``, in that order."""
        paths = [self.paths[number] for number in index]
        return Listing(self.classes, paths, self.labels[index], self.remarks)


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


@dataclass(frozen=True)
class FilesOfClasses:
    """What the sub-folders of a folder hold.

    Attributes:
        files: for each sub-folder, by its name, its files, sorted; those of its own sub-folders
            too.
        skipped: other files, beside the sub-folders and in them.
        noun: what the files are, in the plural.
    """

    files: dict[str, list[Path]]
    skipped: list[Path]
    noun: str

    def remarks(self) -> list[str]:
        """Return a sentence about skipped files, if there are any."""
        if not self.skipped:
            return []
        names = ", ".join(path.name for path in self.skipped[:3])
        more = ", …" if len(self.skipped) > 3 else ""
        return [f"{len(self.skipped):,} files are no {self.noun} and were skipped: {names}{more}"]


def files_of_classes(root: Path, belongs: Callable[[Path], bool], noun: str) -> FilesOfClasses:
    """List the files in the sub-folders of a folder, each of which is a class.

    Hidden files are left out without a word. A class may have sub-folders of its own, whose files
    belong to it. Links are followed.

    Args:
        belongs: whether a file is one of the data set.
        noun: what such files are called, in the plural.

    Raises:
        UsageError: a folder cannot be read, holds a pipe, socket or device, or holds a link to a
            folder above it.
    """
    files: dict[str, list[Path]] = {}
    skipped: list[Path] = []
    for path in entries(root):
        if path.is_dir():
            inside = _all_files(path, {root.resolve()})
            files[path.name] = [file for file in inside if belongs(file)]
            skipped += [file for file in inside if not belongs(file)]
        else:
            skipped.append(path)
    return FilesOfClasses(files, skipped, noun)


def _all_files(folder: Path, above: set[Path]) -> list[Path]:
    """The files in a folder and its sub-folders, sorted by path."""
    here = folder.resolve()
    if here in above:
        raise UsageError(f"{folder}: is a link to a folder above it")
    found: list[Path] = []
    for path in entries(folder):
        found += _all_files(path, above | {here}) if path.is_dir() else [path]
    return found


def looks_like_image(path: Path) -> bool:
    """Return whether a file is meant to be an image, by its extension or else its content.

    The extension comes first, so that a damaged image is reported as such instead of as another
    kind of file.
    """
    return path.suffix.lower() in image_files.file_extensions() or image_files.is_image(path)
