"""Poisoned training images: a backdoor with a trigger, or a relabelled class.

With relabelled images: Gu et al. 2017, arXiv:1708.06733. With the trigger in images of the target
class, whose labels stay true: Barni et al. 2019, arXiv:1902.11237.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from advlab.data.image_set import Images
from advlab.errors import UsageError
from advlab.poisoning.triggers import Trigger, Warp


@dataclass(frozen=True)
class Perturbed:
    """Training images as an attack perturbed them.

    Attributes:
        pixels: uint8 (N, C, H, W).
        distance: of gradient matching: 1 less the cosine between both gradients, in [0, 2], before
            rounding to 8 bits.
    """

    pixels: Tensor
    distance: float | None = None


@dataclass(frozen=True)
class PoisonedImages:
    """Training images after the poison.

    Attributes:
        train: all of them, in their old order.
        rows: numbers of those that were changed, ascending.
        old: their labels before, by row.
        noise: numbers of images that were changed against detection, and keep their labels: those
            of WaNet's noise mode, ascending. They are none of ``rows``.
        distance: of gradient matching, as of ``Perturbed``.
    """

    train: Images
    rows: Tensor
    old: Tensor
    noise: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    distance: float | None = None

    def manifest(self, classes: Sequence[str]) -> list[dict[str, object]]:
        """A line for every image that was changed: its number, and both labels; where it was
        changed in noise mode, that too."""
        new = self.train.labels[self.rows].tolist()
        lines: list[dict[str, object]] = [
            {"row": row, "old": classes[old], "new": classes[label]}
            for row, old, label in zip(self.rows.tolist(), self.old.tolist(), new, strict=True)
        ]
        for row in self.noise.tolist():
            label = classes[int(self.train.labels[row])]
            lines.append({"row": row, "old": label, "new": label, "mode": "noise"})
        return lines


def backdoored(train: Images, rows: Tensor, target: int, trigger: Trigger) -> PoisonedImages:
    """The trigger in some images, and their label set to the target.

    Labels of images of the target class therefore stay.
    """
    pixels, labels = train.pixels.clone(), train.labels.clone()
    pixels[rows] = trigger(pixels[rows])
    labels[rows] = target
    return PoisonedImages(Images(pixels, labels), rows, train.labels[rows])


def with_noise_mode(
    poisoned: PoisonedImages, warp: Warp, ratio: float, row_seed: int, noise_seed: int
) -> PoisonedImages:
    """More images in WaNet's noise mode, so that only the exact warping sets the backdoor off.

    Args:
        ratio: how many, for each poisoned image.
        row_seed: seed of which images.
        noise_seed: seed of their random shifts.
    """
    chosen = set(poisoned.rows.tolist())
    others = [row for row in range(len(poisoned.train)) if row not in chosen]
    if not chosen:
        return poisoned
    noise = drawn_rows(others, ratio, len(chosen), row_seed, "--noise-ratio")
    pixels = poisoned.train.pixels.clone()
    pixels[noise] = warp.noisy(pixels[noise], noise_seed)
    return replace(poisoned, train=Images(pixels, poisoned.train.labels), noise=noise)


def relabelled(train: Images, rows: Tensor, target: int) -> PoisonedImages:
    """Some images labelled as the target; their pixels stay."""
    labels = train.labels.clone()
    labels[rows] = target
    return PoisonedImages(Images(train.pixels, labels), rows, train.labels[rows])


def candidates(labels: Tensor, target: int, source: int | None) -> list[int]:
    """Numbers of the images that poison may go to: the source class's (with clean labels, that is
    the target), or, where there is none, all but the target's."""
    eligible = labels != target if source is None else labels == source
    rows: list[int] = eligible.nonzero().squeeze(1).tolist()
    return rows


def drawn_rows(
    rows: Sequence[int],
    poison_rate: float,
    of: int,
    seed: int,
    flag: str = "--poison-rate",
    unit: str = "images",
) -> Tensor:
    """As many of the rows as are this fraction of ``of`` images, or texts.

    The rows of a larger rate include those of a smaller one of the same seed.

    Raises:
        UsageError: there are fewer rows.
    """
    count = max(1, round(poison_rate * of)) if poison_rate > 0 else 0
    if count > len(rows):
        raise UsageError(
            f"{flag} {poison_rate:g}: that is {count:,} {unit}, and there are {len(rows):,} that "
            f"the attack may change; at most {math.floor(1000 * len(rows) / of) / 1000:g}"
        )
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    return torch.tensor(rows, dtype=torch.int64)[order[:count]].sort().values
