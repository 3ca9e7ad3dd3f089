"""``folder:PATH``: a data set of images with one sub-folder per class.

Either the classes' folders lie right under PATH, and the images are split by class with
``--split-seed`` into 80 % training, 10 % validation, 10 % test; or PATH holds ``train/`` and
``test/`` with the classes' folders in each, and perhaps ``val/``; without that, a tenth of the
training images, drawn by class, validates. Tiny ImageNet's own layout is known too; see
``tiny_imagenet``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from advlab.data import splits
from advlab.data.formats import image_files, tiny_imagenet
from advlab.data.formats.listing import Index, Listing, entries, listed, looks_like_image
from advlab.data.image_set import Images, ImageSet
from advlab.errors import UsageError

DEFAULT_SIDE = 64
_SHARE = 0.1
_PARTS = ("train", "val", "test")
_LAYOUT = (
    "a folder holds one sub-folder per class with images in it, or train/ and test/ with such "
    "sub-folders"
)


def load(root: Path, split_seed: int, image_size: int | None) -> ImageSet:
    """The folder's images in memory as one tensor, of which the splits are views.

    Raises:
        UsageError: the folder is not laid out as the module says; the line names what stands in the
            way.
        EnvironmentFailure: an image cannot be read; the line names it.
    """
    if not root.exists():
        raise UsageError(f"{root}: there is no such folder")
    if not root.is_dir():
        raise UsageError(f"{root} is a file; {_LAYOUT}")
    names = {path.name for path in entries(root) if path.is_dir()}
    if tiny_imagenet.recognised(root):
        parts = tiny_imagenet.parts(root, split_seed)
    else:
        parts = (
            _given_parts(root, names, split_seed)
            if names & {"train", "test"}
            else _drawn_parts(root, split_seed)
        )
    classes = parts[0].classes
    paths = [path for part in parts for path in part.paths]
    pixels = image_files.decode(paths, image_size or DEFAULT_SIDE, root.name)
    labels = torch.from_numpy(np.concatenate([part.labels for part in parts]))
    ends = np.cumsum([len(part.paths) for part in parts]).tolist()
    train, val, test = (
        Images(pixels[start:end], labels[start:end])
        for start, end in zip([0, *ends], ends, strict=False)
    )
    origin = f"{root.name or root}, {len(train) + len(val):,} + {len(test):,} images from a folder"
    return ImageSet(f"folder:{root}", classes, train, val, test, origin)


def _given_parts(root: Path, names: set[str], split_seed: int) -> list[Listing]:
    """The three parts where ``train/`` and ``test/`` are given."""
    for needed in ("train", "test"):
        if needed not in names:
            raise UsageError(
                f"{root}: has {sorted(names & set(_PARTS))[0]}/ but no {needed}/; {_LAYOUT}"
            )
    for path in entries(root):
        if path.name not in _PARTS or not path.is_dir():
            raise UsageError(f"{path}: beside train/ and test/ there may only be val/")
    train, test = _listing(root / "train"), _listing(root / "test")
    if "val" in names:
        val = _listing(root / "val")
    else:
        kept, held_out = splits.draw_share(train.labels, _SHARE, split_seed, str(root / "train"))
        train, val = train.some(kept), train.some(held_out)
    for part, name in ((val, "val"), (test, "test")):
        if differing := sorted(set(part.classes) ^ set(train.classes)):
            raise UsageError(
                f"{root}: the class {differing[0]!r} is not in both train/ and {name}/"
            )
    return [train, val, test]


def _drawn_parts(root: Path, split_seed: int) -> list[Listing]:
    """The three parts drawn from one folder."""
    whole = _listing(root)
    counts = np.bincount(whole.labels)
    if counts.min() < len(_PARTS):
        name = whole.classes[int(counts.argmin())]
        raise UsageError(
            f"{root / name}: {counts.min()} image(s); to be split three ways, a class needs at "
            "least 3"
        )
    rest, test = splits.draw(whole.labels, _tenth(whole.labels, leave=2), split_seed, leave=2)
    kept, held_out = splits.draw(whole.labels[rest], _tenth(whole.labels, leave=2), split_seed)
    return [whole.some(index) for index in (rest[kept], rest[held_out], test)]


def _tenth(labels: Index, leave: int) -> int:
    """A tenth of the images, at least one of each class, and so that ``leave`` of each can stay."""
    counts = np.bincount(labels)
    return min(max(round(len(labels) * _SHARE), len(counts)), int((counts - leave).sum()))


def _listing(folder: Path) -> Listing:
    """The images under the folder's sub-folders, each a class.

    Raises:
        UsageError: something there is neither, or there are fewer than two classes.
    """
    folders = entries(folder)
    for path in folders:
        if not path.is_dir():
            what = (
                "an image outside of a class's folder" if looks_like_image(path) else "not an image"
            )
            raise UsageError(f"{path}: {what}; {_LAYOUT}")
    if not folders:
        raise UsageError(f"{folder}: no images; {_LAYOUT}")
    files = [_images_of(path) for path in folders]
    if not any(files):
        raise UsageError(
            f"{folder}: no images in any of its {len(folders)} sub-folder(s); {_LAYOUT}"
        )
    for path, images in zip(folders, files, strict=True):
        if not images:
            raise UsageError(f"{path}: a class without an image; add some or remove the folder")
    if len(folders) < 2:
        raise UsageError(
            f"{folder}: {folders[0].name!r} is its only class; two are needed at least"
        )
    return listed(tuple(path.name for path in folders), files)


def _images_of(folder: Path) -> list[Path]:
    """The image files of a class's folder.

    Raises:
        UsageError: it holds a folder, or a file that is no image.
    """
    files = entries(folder)
    for path in files:
        if path.is_dir():
            raise UsageError(f"{path}: a folder within the class {folder.name!r}; {_LAYOUT}")
        if not looks_like_image(path):
            raise UsageError(f"{path}: not an image; move it elsewhere")
    return files
