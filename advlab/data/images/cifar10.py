"""CIFAR-10: colour photos of ten kinds of animals and vehicles, 32x32.

The data set is read from the binary version, ``cifar-10-batches-bin/``, which is also the one that
is downloaded, or from torchvision's ``cifar-10-batches-py/``, whose pickles are read without
executing code. A tenth of the training images, drawn by class with ``--split-seed``, is the
validation set.
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

_BINARY, _PICKLED = "cifar-10-batches-bin", "cifar-10-batches-py"
_TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
_TEST = ("test_batch",)
_VAL_FRACTION = 0.1
_SHAPE = (3, 32, 32)

INFO = DatasetInfo(
    title="CIFAR-10",
    noun="photos of animals and vehicles",
    counts=(45_000, 5_000, 10_000),
    shape=_SHAPE,
    classes=(
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ),
    source="https://www.cs.toronto.edu/~kriz/cifar.html",
    licence="none stated",
    stored=(_BINARY, _PICKLED),
    files=(
        RemoteFile(
            "cifar-10-binary.tar.gz",
            ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
            170_052_171,
            "c32a1d4ab5d03f1284b67883e8d87530",
            unpack="tar",
            members=tuple(f"{_BINARY}/{name}.bin" for name in _TRAIN + _TEST),
        ),
    ),
)


def present(data_dir: Path) -> bool:
    """Return whether all six batches exist under ``data_dir``, in either version."""
    return _version(data_dir) is not None


def load(data_dir: Path, split_seed: int, image_size: int | None = None) -> ImageSet:
    """Load the data set into memory; the caller rejects ``image_size``.

    Raises:
        EnvironmentFailure: a file is missing or corrupt; the message names it.
    """
    import numpy as np

    from advlab.data import splits
    from advlab.data.image_set import Images, ImageSet
    from advlab.errors import EnvironmentFailure

    folder = _version(data_dir)
    if folder is None:
        raise EnvironmentFailure(f"{data_dir / _BINARY}: one of the six batch files is missing")
    batches = [_read(folder, name) for name in _TRAIN]
    pixels = np.concatenate([batch[0] for batch in batches])
    labels = np.concatenate([batch[1] for batch in batches])
    del batches
    test_pixels, test_labels = _read(folder, *_TEST)
    train_index, val_index = splits.draw_fraction(labels, _VAL_FRACTION, split_seed, str(folder))
    train, val = (
        Images.from_arrays(pixels[index], labels[index]) for index in (train_index, val_index)
    )
    origin = INFO.origin(len(labels), len(test_labels))
    return ImageSet(
        "cifar10", INFO.classes, train, val, Images.from_arrays(test_pixels, test_labels), origin
    )


def _version(data_dir: Path) -> Path | None:
    """Return the folder of the complete version, preferably the binary one, or None."""
    for folder, suffix in ((data_dir / _BINARY, ".bin"), (data_dir / _PICKLED, "")):
        if all(is_plain(folder / f"{name}{suffix}") for name in _TRAIN + _TEST):
            return folder
    return None


def _read(folder: Path, name: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read the pixels (N, 3, 32, 32) and labels (N,) of a batch."""
    from advlab.data import label_checks
    from advlab.data.formats import cifar

    path = folder / (f"{name}.bin" if folder.name == _BINARY else name)
    pixels, labels = cifar.read_binary(path) if folder.name == _BINARY else cifar.read_pickled(path)
    label_checks.check_labels(
        labels, len(pixels), len(INFO.classes), path, every_class=name not in _TEST
    )
    return pixels.reshape(-1, *_SHAPE), labels
