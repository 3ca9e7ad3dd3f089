"""Stacked data sets: each image has three images of another data set in its channels.

With ten digits this gives 1,000 known modes of equal probability, the usual benchmark for counting
the modes that a generator misses (Metz et al. 2017, arXiv:1611.02163).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from advlab.data.catalogue import DatasetInfo, DatasetModule

if TYPE_CHECKING:
    from advlab.data.image_set import Images, ImageSet

IMAGES_PER_STACK = 3
_SEED = 3  # fixed, so that the stacked data set is the same for every user and --seed


def stacked_info(base: DatasetInfo) -> DatasetInfo:
    """Return the description of the stacked form of a data set."""
    _, height, width = base.shape
    classes = tuple(
        first + second + third
        for first in base.classes
        for second in base.classes
        for third in base.classes
    )
    return replace(
        base,
        title=f"stacked {base.title}",
        noun=f"triples of {base.noun}",
        shape=(IMAGES_PER_STACK * base.shape[0], height, width),
        classes=classes,
    )


def load(
    name: str,
    info: DatasetInfo,
    base: DatasetModule,
    base_name: str,
    data_dir: Path,
    split_seed: int,
) -> ImageSet:
    """Load the stacked form of a data set.

    Each split has as many images as that of the base. Every channel is an independent permutation.
    """
    from advlab.data.image_set import ImageSet

    base_set = base.load(data_dir, split_seed, None)
    train, val, test = (
        _stacked(split, len(base_set.classes), number)
        for number, split in enumerate((base_set.train, base_set.val, base_set.test))
    )
    origin = info.origin(len(train) + len(val), len(test))
    return ImageSet(name, info.classes, train, val, test, origin, stacked_of=base_name)


def _stacked(images: Images, classes: int, number: int) -> Images:
    import torch

    from advlab.data.image_set import Images

    random = torch.Generator().manual_seed(_SEED + number)
    orders = [torch.randperm(len(images), generator=random) for _ in range(IMAGES_PER_STACK)]
    labels = torch.zeros(len(images), dtype=torch.int64)
    for order in orders:
        labels = labels * classes + images.labels[order]
    return Images(torch.cat([images.pixels[order] for order in orders], dim=1).contiguous(), labels)
