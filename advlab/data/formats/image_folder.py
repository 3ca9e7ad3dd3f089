"""``folder:PATH``: a data set of images with one sub-folder per class.

If PATH holds the folders of the classes directly, the images are split by class with
``--split-seed`` into 80 % training, 10 % validation and 10 % test. If it holds ``train/`` and
``test/``, optionally with ``val/``, these are the splits; ``split_words`` lists their other names.
Without ``val/``, a tenth of the training images, drawn by class, is the validation set. The layout
of Tiny ImageNet is read too; see ``tiny_imagenet``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from advlab.data import splits
from advlab.data.formats import image_files, tiny_imagenet
from advlab.data.formats.listing import (
    Index,
    Listing,
    files_of_classes,
    given_splits,
    is_split,
    listing_of,
    looks_like_image,
    skipped_remark,
)
from advlab.data.image_set import Images, ImageSet
from advlab.data.split_words import PARTS
from advlab.errors import UsageError

DEFAULT_SIDE = 64
_HELD_OUT = 0.1
_LAYOUT = (
    "a folder holds one sub-folder per class with images in it, or train/ and test/ with such "
    "sub-folders"
)


def load(root: Path, split_seed: int, image_size: int | None) -> ImageSet:
    """Load the images of a folder into memory as one tensor, of which the splits are views.

    Test images are in a random order, always the same, so that the first ones are of all
    classes.

    Args:
        image_size: side of the images in pixels; default: 64.

    Raises:
        UsageError: the folder does not have one of the layouts above. The message names the path at
            fault.
        EnvironmentFailure: an image cannot be read. The message names it.
    """
    _check_folder(root)
    if tiny_imagenet.is_tiny_imagenet(root):
        listings = tiny_imagenet.split_listings(root, split_seed)
    elif (split_folders := given_splits(root, _LAYOUT)) is not None:
        listings = _given_splits(root, *split_folders, split_seed)
    else:
        listings = _drawn_splits(root, split_seed)
    listings[2] = _shuffled(listings[2])
    classes = listings[0].classes
    paths = [path for listing in listings for path in listing.paths]
    decoded = image_files.decode(paths, image_size or DEFAULT_SIDE, root.name)
    pixels = decoded.pixels
    labels = torch.from_numpy(np.concatenate([listing.labels for listing in listings]))
    ends = np.cumsum([len(listing.paths) for listing in listings]).tolist()
    train, val, test = (
        Images(pixels[start:end], labels[start:end])
        for start, end in zip([0, *ends], ends, strict=False)
    )
    origin = f"{root.name or root}, {len(train) + len(val):,} + {len(test):,} images from a folder"
    skipped = [path for listing in listings for path in listing.skipped]
    remarks = (*skipped_remark(skipped, root, "images"), *image_files.remarks([decoded], root))
    return ImageSet(f"folder:{root}", classes, train, val, test, origin, remarks=remarks)


def load_as_test(root: Path, image_size: int | None, limit: int | None) -> ImageSet:
    """Load images of a folder that is not split as test images, for networks that were trained on
    others.

    Args:
        limit: number of images to read, drawn from all classes; None for all.

    Raises:
        UsageError, EnvironmentFailure: as for ``load``.
    """
    listing = _shuffled(_listing(root))
    total = len(listing.paths)
    listing = listing.select(np.arange(min(limit or total, total)))
    decoded = image_files.decode(listing.paths, image_size or DEFAULT_SIDE, root.name)
    test = Images(decoded.pixels, torch.from_numpy(listing.labels))
    nothing = test.select(torch.arange(0))
    some = f" of {total:,}" if len(test) < total else ""
    origin = f"{root.name or root}, {len(test):,}{some} images from a folder"
    remarks = (
        *skipped_remark(listing.skipped, root, "images"),
        *image_files.remarks([decoded], root),
        "all images of the folder are test images for this network",
    )
    return ImageSet(
        f"folder:{root}", listing.classes, nothing, nothing, test, origin, remarks=remarks
    )


def holds_classes(root: Path) -> bool:
    """Return whether a folder holds classes alone, and not parts for training and testing.

    Raises:
        UsageError: there is no such folder.
    """
    _check_folder(root)
    return not is_split(root)


def _check_folder(root: Path) -> None:
    """Refuse a path at which there is no folder."""
    if not root.exists():
        raise UsageError(f"{root}: no such folder")
    if not root.is_dir():
        raise UsageError(f"{root} is a file; {_LAYOUT}")


def _shuffled(listing: Listing) -> Listing:
    """Return the files in a random order that is always the same."""
    return listing.select(splits.drawn_order(len(listing.paths)).numpy())


def _given_splits(
    root: Path, folders: dict[str, Path], beside: list[Path], split_seed: int
) -> list[Listing]:
    """List training, validation and test images of a folder with ``train/`` and ``test/``."""
    for path in beside:
        if looks_like_image(path):
            raise UsageError(f"{path}: an image outside of train/ and test/; {_LAYOUT}")
    train, test = _listing(folders["train"]), _listing(folders["test"])
    if "val" in folders:
        val = _listing(folders["val"])
    else:
        remaining, held_out = splits.draw_fraction(
            train.labels, _HELD_OUT, split_seed, str(folders["train"]), train.classes
        )
        train, val = train.select(remaining), train.select(held_out)
    return [replace(train, skipped=(*beside, *train.skipped)), val, test]


def _drawn_splits(root: Path, split_seed: int) -> list[Listing]:
    """Split the images of one folder by class into training, validation and test images."""
    listing = _listing(root)
    labels = listing.labels
    counts = np.bincount(labels)
    if counts.min() < len(PARTS):
        name = listing.classes[int(counts.argmin())]
        raise UsageError(
            f"{root / name}: {counts.min()} image(s); each class needs at least 3, one for each "
            "split"
        )
    count = _tenth(labels, min_kept=2)
    development, test = splits.stratified_draw(labels, count, split_seed, min_kept=2)
    remaining, held_out = splits.stratified_draw(labels[development], count, split_seed)
    return [
        listing.select(index) for index in (development[remaining], development[held_out], test)
    ]


def _tenth(labels: Index, min_kept: int) -> int:
    """Return a tenth of the images, at least one of each class, keeping ``min_kept`` of each."""
    counts = np.bincount(labels)
    return min(max(round(len(labels) * _HELD_OUT), len(counts)), int((counts - min_kept).sum()))


def _listing(folder: Path) -> Listing:
    """List the images in the sub-folders of a folder, each of which is a class.

    Raises:
        UsageError: there is an image beside the folders of the classes, an empty class, or fewer
            than two classes.
    """
    by_class = files_of_classes(folder, looks_like_image)
    outside = [
        path for path in by_class.skipped if path.parent == folder and looks_like_image(path)
    ]
    if outside:
        raise UsageError(f"{outside[0]}: an image outside of the folders of the classes; {_LAYOUT}")
    if not by_class.files:
        raise UsageError(f"{folder}: no images; {_LAYOUT}")
    if not any(by_class.files.values()):
        raise UsageError(
            f"{folder}: no images in any of its {len(by_class.files)} sub-folder(s); {_LAYOUT}"
        )
    for name, images in by_class.files.items():
        if not images:
            raise UsageError(
                f"{folder / name}: a class without images; add some or remove the folder"
            )
    if len(by_class.files) < 2:
        raise UsageError(
            f"{folder}: {next(iter(by_class.files))!r} is the only class; at least two are needed"
        )
    listing = listing_of(tuple(by_class.files), list(by_class.files.values()))
    return replace(listing, skipped=tuple(by_class.skipped))
