"""Data sets in MNIST's four IDX files: 60,000 + 10,000 grey images of 28×28 in 10 classes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from advlab.data.catalogue import RemoteFile, SetInfo

if TYPE_CHECKING:
    from advlab.data.image_set import Images, ImageSet

_NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
SIDE = 28
VAL_SHARE = 1 / 6
"""Share of the training file that validates: 10,000 of 60,000."""


def remote_files(
    mirrors: tuple[str, ...], sizes: tuple[int, ...], md5s: tuple[str, ...]
) -> tuple[RemoteFile, ...]:
    """The four gzipped files under each of the mirrors, in the order training images, labels, test
    images, labels."""
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
    """Whether the four files lie in the folder, plain or gzipped."""
    from advlab.data.formats import idx

    return all(idx.find(folder, name) for name in _NAMES)


def load(name: str, info: SetInfo, data_dir: Path, split_seed: int) -> ImageSet:
    """Read the four files under ``data_dir`` and split the training file, by class, into training
    and validation.

    Raises:
        EnvironmentFailure: a file is missing or corrupt; the line names it.
    """
    from advlab.data import splits
    from advlab.data.image_set import Images, ImageSet

    folder = data_dir / info.folder
    both = _read(folder, _NAMES[0], _NAMES[1], len(info.classes), every_class=True)
    test = _read(folder, _NAMES[2], _NAMES[3], len(info.classes), every_class=False)
    labels = both.labels.numpy()
    kept, held_out = splits.draw_share(labels, VAL_SHARE, split_seed, str(folder / _NAMES[1]))
    pixels = both.pixels.numpy()
    train, val = (
        Images.of(pixels[kept], labels[kept]),
        Images.of(pixels[held_out], labels[held_out]),
    )
    return ImageSet(name, info.classes, train, val, test, info.origin(len(both), len(test)))


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
            f"pixels, not {SIDE}x{SIDE}"
        )
    labels = idx.read(folder, labels_name, 1)
    label_checks.labels_fit(
        labels, len(pixels), classes, idx.find(folder, labels_name) or folder, every_class
    )
    return Images.of(pixels, labels)
