"""Stacked digits: three digits in three channels, 1,000 classes, to count the modes of a GAN."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from advlab.data import stacked
from advlab.data.images import digits

if TYPE_CHECKING:
    from advlab.data.image_set import ImageSet

INFO = stacked.stacked_info(digits.INFO)


def present(data_dir: Path) -> bool:
    """Return whether the digits are present."""
    return digits.present(data_dir)


def load(data_dir: Path, split_seed: int, image_size: int | None = None) -> ImageSet:
    """Load the data set into memory; the caller rejects ``image_size``."""
    return stacked.load("stacked_digits", INFO, digits, "digits", data_dir, split_seed)
