"""Stacked MNIST: three digits in three channels, 1,000 classes, to count the modes of a GAN."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from advlab.data import stacked
from advlab.data.images import mnist

if TYPE_CHECKING:
    from advlab.data.image_set import ImageSet

INFO = stacked.stacked_info(mnist.INFO)


def present(data_dir: Path) -> bool:
    """Return whether MNIST is present."""
    return mnist.present(data_dir)


def load(data_dir: Path, split_seed: int, image_size: int | None = None) -> ImageSet:
    """Load the data set into memory; the caller rejects ``image_size``."""
    return stacked.load("stacked_mnist", INFO, mnist, "mnist", data_dir, split_seed)
