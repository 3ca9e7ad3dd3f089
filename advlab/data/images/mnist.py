"""MNIST: grey images of handwritten digits, 28x28.

The four IDX files are in ``MNIST/raw/``, where torchvision puts them, plain or gzipped. A sixth of
the training images (10,000 of 60,000, drawn by class with ``--split-seed``) is the validation set.
The test set is used as it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from advlab.data.catalogue import DatasetInfo
from advlab.data.formats import mnist

if TYPE_CHECKING:
    from advlab.data.image_set import ImageSet

INFO = DatasetInfo(
    title="MNIST",
    noun="handwritten digits",
    counts=(50_000, 10_000, 10_000),
    shape=(1, 28, 28),
    classes=tuple(str(digit) for digit in range(10)),
    source="http://yann.lecun.com/exdb/mnist/",
    licence="CC BY-SA 3.0",
    folder="MNIST/raw",
    stored=("train-*", "t10k-*"),
    files=mnist.remote_files(
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "http://yann.lecun.com/exdb/mnist/",
        ),
        sizes=(9_912_422, 28_881, 1_648_877, 4_542),
        md5s=(
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
    ),
)


def present(data_dir: Path) -> bool:
    """Return whether the four files exist under ``data_dir``."""
    return mnist.present(data_dir / INFO.folder)


def load(data_dir: Path, split_seed: int, image_size: int | None = None) -> ImageSet:
    """Load the data set into memory; the caller rejects ``image_size``.

    Raises:
        EnvironmentFailure: a file is missing or corrupt; the message names it.
    """
    return mnist.load("mnist", INFO, data_dir, split_seed)
