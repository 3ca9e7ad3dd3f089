"""MNIST: handwritten digits, grey, 28x28, the set that most papers begin with.

The four IDX files lie in ``MNIST/raw/`` as torchvision leaves them, plain or gzipped. A sixth of
the training file, 10,000 of 60,000 images drawn by class with ``--split-seed``, validates; the test
file stays as it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from advlab.data.catalogue import SetInfo
from advlab.data.formats import mnist

if TYPE_CHECKING:
    from advlab.data.image_set import ImageSet

INFO = SetInfo(
    title="MNIST",
    noun="handwritten digits",
    counts=(50_000, 10_000, 10_000),
    shape=(1, 28, 28),
    classes=tuple(str(digit) for digit in range(10)),
    source="http://yann.lecun.com/exdb/mnist/",
    licence="CC BY-SA 3.0",
    folder="MNIST/raw",
    keeps=("train-*", "t10k-*"),
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
    """Whether the four files lie under ``data_dir``."""
    return mnist.present(data_dir / INFO.folder)


def load(data_dir: Path, split_seed: int, image_size: int | None = None) -> ImageSet:
    """The set in memory. ``image_size`` is refused before it comes here.

    Raises:
        EnvironmentFailure: a file is missing or corrupt; the line names it.
    """
    return mnist.load("mnist", INFO, data_dir, split_seed)
