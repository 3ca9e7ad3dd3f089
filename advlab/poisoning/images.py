"""Poisoned training images: a patch (BadNets) or a relabelled class.

Gu et al. 2017, arXiv:1708.06733.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from advlab.data.image_set import Images


@dataclass(frozen=True)
class PoisonedImages:
    """Training images after the poison.

    Attributes:
        train: all of them, in their old order.
        rows: numbers of those that were changed, ascending.
        old: their labels before, by row.
    """

    train: Images
    rows: Tensor
    old: Tensor

    def manifest(self, classes: Sequence[str]) -> list[dict[str, object]]:
        """A line for every image that was changed: its number, and both labels."""
        new = self.train.labels[self.rows].tolist()
        return [
            {"row": row, "old": classes[old], "new": classes[label]}
            for row, old, label in zip(self.rows.tolist(), self.old.tolist(), new, strict=True)
        ]


def with_patch(pixels: Tensor, side: int) -> Tensor:
    """Images uint8 (N, C, H, W) with a white square in the lower right corner, a pixel away from
    the edges."""
    patched = pixels.clone()
    height, width = pixels.shape[2:]
    patched[:, :, max(0, height - 1 - side) : height - 1, max(0, width - 1 - side) : width - 1] = (
        255
    )
    return patched


def patched(train: Images, rows: Tensor, target: int, side: int) -> PoisonedImages:
    """The patch in some images, and their label set to the target."""
    pixels, labels = train.pixels.clone(), train.labels.clone()
    pixels[rows] = with_patch(pixels[rows], side)
    labels[rows] = target
    return PoisonedImages(Images(pixels, labels), rows, train.labels[rows])


def relabelled(train: Images, rows: Tensor, target: int) -> PoisonedImages:
    """Some images labelled as the target; their pixels stay."""
    labels = train.labels.clone()
    labels[rows] = target
    return PoisonedImages(Images(train.pixels, labels), rows, train.labels[rows])


def candidates(labels: Tensor, target: int, source: int | None) -> list[int]:
    """Numbers of the images that poison may go to: the source class's, or, where there is none, all
    but the target's."""
    eligible = labels != target if source is None else labels == source
    rows: list[int] = eligible.nonzero().squeeze(1).tolist()
    return rows


def drawn_rows(rows: Sequence[int], poison_rate: float, of: int, seed: int) -> Tensor:
    """As many of the rows as are this fraction of ``of`` images, at most all of them.

    The rows of a larger rate include those of a smaller one of the same seed.
    """
    count = min(len(rows), max(1, round(poison_rate * of))) if poison_rate > 0 else 0
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    return torch.tensor(rows, dtype=torch.int64)[order[:count]].sort().values
