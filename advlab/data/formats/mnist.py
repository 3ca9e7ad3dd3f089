"""Data sets in the four IDX files of MNIST: 60,000 + 10,000 grey images of 28×28, 10 classes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from advlab.data.catalogue import DatasetInfo, RemoteFile

if TYPE_CHECKING:
    from advlab.data.image_set import Images, ImageSet

_NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
SIDE = 28
VAL_FRACTION = 1 / 6
"""Fraction of the training file that is the validation set: 10,000 of 60,000 images."""


def remote_files(
    mirrors: tuple[str, ...], sizes: tuple[int, ...], md5s: tuple[str, ...]
) -> tuple[RemoteFile, ...]:
    """Describe the four gzipped files at each of the mirrors.

    Args:
        mirrors: base URLs, in order of preference.
        sizes: lengths in bytes: training images, training labels, test images, test labels.
        md5s: MD5 checksums, in the same order.
    """
    return tuple(
        RemoteFile(
            f"{name}.gz",
            tuple(f"{mirror}{name}.gz" for mirror in mirrors),
            size,
            md5,
            unpack="gzip",
        )
        for name, size, md5 in zip(_NAMES, sizes, md5s, strict=True)
    )


def present(folder: Path) -> bool:
    """Return whether the four files exist in the folder, plain or gzipped."""
    from advlab.data.formats import idx

    return all(idx.find(folder, name) for name in _NAMES)


def load(name: str, info: DatasetInfo, data_dir: Path, split_seed: int) -> ImageSet:
    """Load the four files and split the training images by class into training and validation.

    Raises:
        EnvironmentFailure: a file is missing or corrupt. The message names it.
    """
    from advlab.data import splits
    from advlab.data.image_set import Images, ImageSet

    folder = data_dir / info.folder
    development = _read(folder, _NAMES[0], _NAMES[1], len(info.classes), every_class=True)
    test = _read(folder, _NAMES[2], _NAMES[3], len(info.classes), every_class=False)
    labels = development.labels.numpy()
    train_index, val_index = splits.draw_fraction(
        labels, VAL_FRACTION, split_seed, str(folder / _NAMES[1])
    )
    pixels = development.pixels.numpy()
    train, val = (
        Images.from_arrays(pixels[index], labels[index]) for index in (train_index, val_index)
    )
    return ImageSet(name, info.classes, train, val, test, info.origin(len(development), len(test)))


def _read(
    folder: Path, images_name: str, labels_name: str, classes: int, every_class: bool
) -> Images:
    from advlab.data import label_checks
    from advlab.data.formats import idx
    from advlab.data.image_set import Images
    from advlab.errors import EnvironmentFailure

    pixels = idx.read(folder, images_name, 3)
    if pixels.shape[1:] != (SIDE, SIDE):
        raise EnvironmentFailure(
            f"{idx.find(folder, images_name)}: images of {pixels.shape[1]}x{pixels.shape[2]} "
            f"pixels, expected {SIDE}x{SIDE}"
        )
    labels = idx.read(folder, labels_name, 1)
    label_checks.check_labels(
        labels, len(pixels), classes, idx.find(folder, labels_name) or folder, every_class
    )
    return Images.from_arrays(pixels, labels)
