"""SVHN: colour photos of house numbers, 32x32, labelled by the digit in the middle.

``train_32x32.mat`` and ``test_32x32.mat`` are in the data folder itself, where torchvision puts
them; the "extra" images are not used. A tenth of the training images, drawn by class with
``--split-seed``, is the validation set.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from advlab.data.catalogue import DatasetInfo, RemoteFile
from advlab.input_files import is_plain

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from advlab.data.image_set import ImageSet

_TRAIN, _TEST = "train_32x32.mat", "test_32x32.mat"
_URL = "http://ufldl.stanford.edu/housenumbers/"
_VAL_FRACTION = 0.1
_SIDE = 32

INFO = DatasetInfo(
    title="SVHN",
    noun="photos of house numbers",
    counts=(65_931, 7_326, 26_032),
    shape=(3, 32, 32),
    classes=tuple(str(digit) for digit in range(10)),
    source=_URL,
    licence="non-commercial use only",
    stored=(_TRAIN, _TEST),
    files=(
        RemoteFile(_TRAIN, (_URL + _TRAIN,), 182_040_794, "e26dedcc434d2e4c54c9b2d4a06d8373"),
        RemoteFile(_TEST, (_URL + _TEST,), 64_275_384, "eb5a983be6a315427106f1b164d9cef3"),
    ),
)


def present(data_dir: Path) -> bool:
    """Return whether both files exist in ``data_dir``."""
    return all(is_plain(data_dir / name) for name in (_TRAIN, _TEST))


def load(data_dir: Path, split_seed: int, image_size: int | None = None) -> ImageSet:
    """Load the data set into memory; the caller rejects ``image_size``.

    Raises:
        EnvironmentFailure: a file is missing or corrupt; the message names it.
    """
    from advlab.data import splits
    from advlab.data.image_set import Images, ImageSet

    test_pixels, test_labels = _read(data_dir / _TEST, every_class=False)
    pixels, labels = _read(data_dir / _TRAIN, every_class=True)
    train_index, val_index = splits.draw_fraction(
        labels, _VAL_FRACTION, split_seed, str(data_dir / _TRAIN)
    )
    # The image index is the last axis of the file. Indexing the transposed view copies only the
    # selected images.
    train, val = (
        Images.from_arrays(pixels[index], labels[index]) for index in (train_index, val_index)
    )
    test = Images.from_arrays(test_pixels, test_labels)
    return ImageSet(
        "svhn", INFO.classes, train, val, test, INFO.origin(len(labels), len(test_labels))
    )


def _read(path: Path, every_class: bool) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read pixels, as a view of shape (N, 3, 32, 32), and labels; the file labels digit 0 as 10."""
    import numpy as np

    from advlab.data import label_checks
    from advlab.data.formats import mat
    from advlab.errors import EnvironmentFailure

    pixels, labels = mat.read(path, "X", "y")
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[:3] != (_SIDE, _SIDE, 3):
        raise EnvironmentFailure(
            f"{path}: holds images of shape {pixels.shape} and type {pixels.dtype}, not "
            f"({_SIDE}, {_SIDE}, 3, N) bytes"
        )
    labels = labels.reshape(-1).astype(np.int64)
    labels[labels == 10] = 0
    label_checks.check_labels(labels, pixels.shape[-1], len(INFO.classes), path, every_class)
    return pixels.transpose(3, 2, 0, 1), labels
