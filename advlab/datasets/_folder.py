"""``folder:PATH``: images of the user's own, a sub-folder a class.

Either the classes' folders lie right under PATH, and the images are split by class with ``--split-seed`` into 80 %
training, 10 % validation, 10 % test; or PATH holds ``train/`` and ``test/`` with the classes' folders in each, and
perhaps ``val/``; without that, a tenth of the training images, drawn by class, validates.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from advlab.datasets import _decode, _split
from advlab.datasets._set import Images, ImageSet
from advlab.errors import UserError

DEFAULT_SIDE = 64
_SHARE = 0.1
_PARTS = ("train", "val", "test")
_JUNK = ("thumbs.db", "desktop.ini", "__macosx", "ehthumbs.db", "icon\r")
_LAYOUT = "a folder holds one sub-folder per class with images in it, or train/ and test/ with such sub-folders"


@dataclass(frozen=True)
class _Listing:
    """Files with their classes, in the order of the classes' and the files' names."""

    classes: tuple[str, ...]
    paths: list[Path]
    labels: np.ndarray[tuple[int], np.dtype[np.int64]]


def load(root: Path, split_seed: int, image_size: int | None) -> ImageSet:
    """The folder's images in memory as one tensor, of which the splits are views.

    Raises:
        UserError: the folder is not laid out as the module says; the line names what stands in the way.
        WorldError: an image cannot be read; the line names it.
    """
    if not root.exists():
        raise UserError(f"{root}: there is no such folder")
    if not root.is_dir():
        raise UserError(f"{root} is a file; {_LAYOUT}")
    top = _entries(root)
    names = {path.name for path in top if path.is_dir()}
    parts = _given_parts(root, names, split_seed) if names & {"train", "test"} else _drawn_parts(root, split_seed)
    classes = parts[0].classes
    paths = [path for part in parts for path in part.paths]
    pixels = _decode.decode(paths, image_size or DEFAULT_SIDE, root.name)
    labels = torch.from_numpy(np.concatenate([part.labels for part in parts]))
    ends = np.cumsum([len(part.paths) for part in parts]).tolist()
    train, val, test = (Images(pixels[start:end], labels[start:end]) for start, end in zip([0, *ends], ends, strict=False))
    origin = f"{root.name or root}, {len(train) + len(val):,} + {len(test):,} images from a folder"
    return ImageSet(f"folder:{root}", classes, train, val, test, origin)


def _given_parts(root: Path, names: set[str], split_seed: int) -> list[_Listing]:
    """The three parts where ``train/`` and ``test/`` are given."""
    for needed in ("train", "test"):
        if needed not in names:
            raise UserError(f"{root}: has {sorted(names & set(_PARTS))[0]}/ but no {needed}/; {_LAYOUT}")
    for path in _entries(root):
        if path.name not in _PARTS or not path.is_dir():
            raise UserError(f"{path}: beside train/ and test/ there may only be val/")
    train, test = _listing(root / "train"), _listing(root / "test")
    if "val" in names:
        val = _listing(root / "val")
    else:
        kept, held_out = _split.draw_share(train.labels, _SHARE, split_seed, str(root / "train"))
        train, val = _some(train, kept), _some(train, held_out)
    for part, name in ((val, "val"), (test, "test")):
        if differing := sorted(set(part.classes) ^ set(train.classes)):
            raise UserError(f"{root}: the class {differing[0]!r} is not in both train/ and {name}/")
    return [train, val, test]


def _drawn_parts(root: Path, split_seed: int) -> list[_Listing]:
    """The three parts drawn from one folder."""
    whole = _listing(root)
    counts = np.bincount(whole.labels)
    if counts.min() < len(_PARTS):
        name = whole.classes[int(counts.argmin())]
        raise UserError(f"{root / name}: {counts.min()} image(s); to be split three ways, a class needs at least 3")
    rest, test = _split.draw(whole.labels, _tenth(whole.labels, leave=2), split_seed, leave=2)
    kept, held_out = _split.draw(whole.labels[rest], _tenth(whole.labels, leave=2), split_seed)
    return [_some(whole, index) for index in (rest[kept], rest[held_out], test)]


def _tenth(labels: np.ndarray[tuple[int], np.dtype[np.int64]], leave: int) -> int:
    """A tenth of the images, at least one of each class, and so that ``leave`` of each can stay."""
    counts = np.bincount(labels)
    return min(max(round(len(labels) * _SHARE), len(counts)), int((counts - leave).sum()))


def _some(listing: _Listing, index: np.ndarray[tuple[int], np.dtype[np.int64]]) -> _Listing:
    return _Listing(listing.classes, [listing.paths[number] for number in index], listing.labels[index])


def _listing(folder: Path) -> _Listing:
    """The images under the folder's sub-folders, each a class.

    Raises:
        UserError: something there is neither, or there are fewer than two classes.
    """
    entries = _entries(folder)
    for path in entries:
        if not path.is_dir():
            what = "an image outside of a class's folder" if _looks_like_image(path) else "not an image"
            raise UserError(f"{path}: {what}; {_LAYOUT}")
    if not entries:
        raise UserError(f"{folder}: no images; {_LAYOUT}")
    files = [_images_of(path) for path in entries]
    if not any(files):
        raise UserError(f"{folder}: no images in any of its {len(entries)} sub-folder(s); {_LAYOUT}")
    for path, images in zip(entries, files, strict=True):
        if not images:
            raise UserError(f"{path}: a class without an image; add some or remove the folder")
    if len(entries) < 2:
        raise UserError(f"{folder}: {entries[0].name!r} is its only class; two are needed at least")
    labels = np.repeat(np.arange(len(entries), dtype=np.int64), [len(images) for images in files])
    return _Listing(tuple(path.name for path in entries), [path for images in files for path in images], labels)


def _images_of(folder: Path) -> list[Path]:
    """The image files of a class's folder.

    Raises:
        UserError: it holds a folder, or a file that is no image.
    """
    entries = _entries(folder)
    for path in entries:
        if path.is_dir():
            raise UserError(f"{path}: a folder within the class {folder.name!r}; {_LAYOUT}")
        if not _looks_like_image(path):
            raise UserError(f"{path}: not an image; move it elsewhere")
    return entries


def _entries(folder: Path) -> list[Path]:
    """What the folder holds, by name, without what systems leave lying about."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.name.lower() not in _JUNK)
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror})") from error


def _looks_like_image(path: Path) -> bool:
    """By its ending, so that a broken image is told from what is none; by its content where the ending says nothing."""
    return path.suffix.lower() in _decode.endings() or _decode.is_image(path)
