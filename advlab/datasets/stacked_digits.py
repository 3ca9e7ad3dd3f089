"""Stacked digits: three of its images in the channels of one; 1,000 classes, to count modes by."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from advlab.datasets import _stacked, digits

if TYPE_CHECKING:
    from advlab.datasets._set import ImageSet

INFO = _stacked.described(digits.INFO)


def present(data_dir: Path) -> bool:
    """Whether digits itself is there."""
    return digits.present(data_dir)


def load(data_dir: Path, split_seed: int, image_size: int | None = None) -> ImageSet:
    """The set in memory, made of digits's. ``image_size`` is refused before it comes here."""
    return _stacked.load("stacked_digits", INFO, digits, "digits", data_dir, split_seed)
