"""Data sets of images in memory: uint8 pixels and labels in three splits."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from advlab.data import splits
from advlab.data.pixels import to_unit
from advlab.errors import UsageError


@dataclass(frozen=True)
class Images:
    """Images (N, C, H, W) and their int64 labels (N,).

    Data sets hold bytes, uint8. Images that a program hands over may be float32 in [0, 1].
    """

    pixels: Tensor
    labels: Tensor

    @staticmethod
    def of(pixels: NDArray[np.uint8], labels: NDArray[np.integer]) -> Images:
        """From arrays of shape (N, H, W) or (N, C, H, W) and (N,), sharing their memory where the
        layout allows."""
        stacked = pixels[:, None] if pixels.ndim == 3 else pixels
        return Images(
            torch.from_numpy(np.require(stacked, requirements=["C", "W"])),
            torch.from_numpy(np.array(labels, dtype=np.int64)),
        )

    def __len__(self) -> int:
        return self.labels.shape[0]

    def select(self, index: Tensor) -> Images:
        """The images at ``index`` (int64, on the CPU), in that order."""
        return Images(self.pixels[index], self.labels[index])

    def inputs(self, index: Tensor | slice, device: torch.device | str = "cpu") -> Tensor:
        """The images at ``index`` as float32 in [0, 1] on ``device``, to which bytes are moved."""
        part = self.pixels[index].to(device)
        return to_unit(part) if part.dtype == torch.uint8 else part.clone()

    def tensors(self, count: int | None = None) -> tuple[Tensor, Tensor]:
        """The first ``count`` images, float32 (N, C, H, W) in [0, 1], and their labels (N,)."""
        return self.inputs(slice(0, count)), self.labels[:count]

    def sizes(self) -> None:
        """Images of a set are all of one size."""


@dataclass(frozen=True)
class ImageSet:
    """A data set: its three splits, its class names, and where it came from.

    Attributes:
        name: what ``--dataset`` calls it (``auto`` never stands here).
        classes: class names by label.
        origin: a phrase for captions and the first line printed, such as "MNIST, 60,000 + 10,000
            handwritten digits".
        stacked_of: the data set whose images lie on each other in the channels of this one's; empty
            where they do not.
        instead: why it is this set, where it stands in for another; empty where it was asked for.
    """

    name: str
    classes: tuple[str, ...]
    train: Images
    val: Images
    test: Images
    origin: str
    instead: str = ""
    stacked_of: str = ""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width of an image."""
        channels, height, width = self.test.pixels.shape[1:]
        return channels, height, width

    def introduction(self) -> str:
        """The first line that a run prints."""
        return f"data set: {self.origin}" + (f"; {self.instead}" if self.instead else "")

    def sha256(self) -> str:
        """Hash over class names and all splits' pixels and labels, so that a result can say which
        data it was measured on."""
        digest = hashlib.sha256("\0".join(self.classes).encode("utf-8", "surrogatepass"))
        for part in (self.train, self.val, self.test):
            digest.update(
                f"{tuple(part.pixels.shape)}\n".encode()
            )  # where one split ends and the next begins
            digest.update(part.pixels.contiguous().numpy().data)
            digest.update(part.labels.contiguous().numpy().data)
        return digest.hexdigest()


def take(images: Images, count: int | None, seed: int) -> Images:
    """``count`` of the images in the same proportion of classes, in their order; all for None.

    Raises:
        UsageError: there are fewer images than that, or more classes.
    """
    if count is None:
        return images
    labels = images.labels.numpy()
    classes = len(np.unique(labels))
    if not classes <= count <= len(images):
        raise UsageError(
            f"cannot train on {count:,} images: of these {len(images):,} in {classes} classes, "
            f"{classes:,} or more can be taken"
        )
    _, drawn = splits.draw(labels, count, seed, leave=0)
    return images.select(torch.from_numpy(drawn))
