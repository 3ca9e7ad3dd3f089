"""Stacked data sets: three images of another set as the channels of one.

With ten digits these are 1,000 modes of equal weight, which nobody has to guess: the usual count of
how many a generator forgets (Metz et al. 2017, arXiv:1611.02163).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from advlab.data.catalogue import SetInfo, SetModule

if TYPE_CHECKING:
    from advlab.data.image_set import Images, ImageSet

TIMES = 3
_SEED = 3  # which image lies on which; no user's seed, so that everybody has the same set


def described(base: SetInfo) -> SetInfo:
    """The particulars of the stacked form of a set."""
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
        shape=(TIMES * base.shape[0], height, width),
        classes=classes,
    )


def load(
    name: str, info: SetInfo, base: SetModule, base_name: str, data_dir: Path, split_seed: int
) -> ImageSet:
    """The stacked form of a set: as many images in each split as that has, drawn anew for each
    channel."""
    from advlab.data.image_set import ImageSet

    flat = base.load(data_dir, split_seed, None)
    train, val, test = (
        _stacked(part, len(flat.classes), number)
        for number, part in enumerate((flat.train, flat.val, flat.test))
    )
    origin = info.origin(len(train) + len(val), len(test))
    return ImageSet(name, info.classes, train, val, test, origin, stacked_of=base_name)


def _stacked(images: Images, classes: int, number: int) -> Images:
    import torch

    from advlab.data.image_set import Images

    random = torch.Generator().manual_seed(_SEED + number)
    orders = [torch.randperm(len(images), generator=random) for _ in range(TIMES)]
    labels = torch.zeros(len(images), dtype=torch.int64)
    for order in orders:
        labels = labels * classes + images.labels[order]
    return Images(torch.cat([images.pixels[order] for order in orders], dim=1).contiguous(), labels)
