"""Fashion-MNIST: grey photos of clothes, 28x28, in the format of MNIST but harder.

The four IDX files are in ``FashionMNIST/raw/``, where torchvision puts them, plain or gzipped. A
sixth of the training images (10,000 of 60,000, drawn by class with ``--split-seed``) is the
validation set. The test set is used as it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from advlab.data.catalogue import DatasetInfo
from advlab.data.formats import mnist

if TYPE_CHECKING:
    from advlab.data.image_set import ImageSet

INFO = DatasetInfo(
    title="Fashion-MNIST",
    noun="photos of clothes",
    counts=(50_000, 10_000, 10_000),
    shape=(1, 28, 28),
    classes=(
        "T-shirt/top",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    ),
    source="https://github.com/zalandoresearch/fashion-mnist",
    licence="MIT",
    folder="FashionMNIST/raw",
    stored=("train-*", "t10k-*"),
    files=mnist.remote_files(
        mirrors=(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        ),
        sizes=(26_421_880, 29_515, 4_422_102, 5_148),
        md5s=(
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
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
    return mnist.load("fashion_mnist", INFO, data_dir, split_seed)
