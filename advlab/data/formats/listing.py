"""Files of a data set in a folder, with their classes: the rules for images and texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from advlab.data import split_words
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
        skipped: files beside the images that are no images.
    """

    classes: tuple[str, ...]
    paths: list[Path]
    labels: Index
    skipped: tuple[Path, ...] = ()

    def select(self, index: Index) -> Listing:
        """Return the files at ``index``, in that order."""
        paths = [self.paths[number] for number in index]
        return Listing(self.classes, paths, self.labels[index], self.skipped)


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
    """

    files: dict[str, list[Path]]
    skipped: list[Path]


def skipped_remark(
    skipped: Iterable[Path], root: Path, noun: str, where: str = " in the folders of classes"
) -> tuple[str, ...]:
    """Return a sentence about skipped files, if there are any.

    Args:
        noun: what the files of the data set are, in the plural.
        where: where they are looked for.
    """
    names = [str(path.relative_to(root)) for path in dict.fromkeys(skipped)]
    if not names:
        return ()
    count = f"{len(names):,} file{'s' * (len(names) != 1)}"
    listed = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return (f"skipped, since only {noun}{where} are read: {count} ({listed})",)


def is_split(root: Path) -> bool:
    """Return whether a folder holds parts for training or testing, and not classes alone.

    Raises:
        UsageError: the folder cannot be read.
    """
    folders = [path.name for path in entries(root) if path.is_dir()]
    return any(split_words.part_of(name) in ("train", "test") for name in folders)


def given_splits(root: Path, layout: str) -> tuple[dict[str, Path], list[Path]] | None:
    """Return the sub-folders that are parts, by part, and the files beside them.

    A part's folder has any of the names of ``split_words``, such as ``train``, ``Training`` or
    ``valid``. None stands for a folder that holds the classes themselves, whose splits are drawn.

    Args:
        layout: the sentence on the layout of folders, for messages.

    Raises:
        UsageError: there is ``train/`` without ``test/`` or the other way round, two folders for
            one part, another folder beside them, or a class that is not in every part.
    """
    if not is_split(root):
        return None
    paths = entries(root)
    folders = [path.name for path in paths if path.is_dir()]
    names = split_words.assigned(folders, str(root))
    for needed in ("train", "test"):
        if needed not in names:
            present = next(iter(names.values()))
            raise UsageError(
                f"{root}: has {present}/ but no {needed}/, and no class can be named "
                f"{present!r}; {layout}"
            )
    for name in folders:
        if name not in names.values():
            raise UsageError(f"{root / name}: only train/, test/ and val/ are allowed here")
    parts = {part: root / name for part, name in names.items()}
    _check_same_classes(root, parts)
    return parts, [path for path in paths if not path.is_dir()]


def _check_same_classes(root: Path, parts: Mapping[str, Path]) -> None:
    """Refuse a part whose classes are not those of the training part."""
    classes = {
        part: {path.name for path in entries(folder) if path.is_dir()}
        for part, folder in parts.items()
    }
    for part, folder in parts.items():
        if differing := sorted(classes["train"] ^ classes[part]):
            raise UsageError(
                f"{root}: the class {differing[0]!r} is not in both {parts['train'].name}/ and "
                f"{folder.name}/"
            )


def files_of_classes(root: Path, belongs: Callable[[Path], bool]) -> FilesOfClasses:
    """List the files in the sub-folders of a folder, each of which is a class.

    Hidden files are left out without a word. A class may have sub-folders of its own, whose files
    belong to it. Links are followed.

    Args:
        belongs: whether a file is one of the data set.

    Raises:
        UsageError: a folder cannot be read, holds a pipe, socket or device, or holds a link to a
            folder above it.
    """
    files: dict[str, list[Path]] = {}
    skipped: list[Path] = []
    for path in entries(root):
        if path.is_dir():
            inside = all_files(path, {root.resolve()})
            files[path.name] = [file for file in inside if belongs(file)]
            skipped += [file for file in inside if not belongs(file)]
        else:
            skipped.append(path)
    return FilesOfClasses(files, skipped)


def all_files(folder: Path, above: AbstractSet[Path] = frozenset()) -> list[Path]:
    """The files in a folder and its sub-folders, sorted by path, without hidden and system files.

    Args:
        above: the folders that it lies in.

    Raises:
        UsageError: a folder cannot be read, or is a link to one above it.
    """
    resolved = folder.resolve()
    if resolved in above:
        raise UsageError(f"{folder}: is a link to a folder above it")
    files: list[Path] = []
    for path in entries(folder):
        files += all_files(path, above | {resolved}) if path.is_dir() else [path]
    return files


def looks_like_image(path: Path) -> bool:
    """Return whether a file is meant to be an image, by its extension or else its content.

    The extension comes first, so that a damaged image is reported as such instead of as another
    kind of file.
    """
    return path.suffix.lower() in image_files.file_extensions() or image_files.is_image(path)
