"""Image data sets in memory: pixels and labels in three splits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from advlab.data import splits, storage
from advlab.data.pixels import to_unit
from advlab.errors import UsageError

_HELD_OUT = 0.1  # of a set that gives no test or no validation images


@dataclass(frozen=True)
class Images:
    """Images (N, C, H, W) and their int64 labels (N,).

    Pixels are uint8 in the data sets. Callers of the library may also pass float32 in [0, 1].
    """

    pixels: Tensor
    labels: Tensor

    @staticmethod
    def from_arrays(pixels: NDArray[np.uint8], labels: NDArray[np.integer]) -> Images:
        """Create images from NumPy arrays, sharing their memory if they are contiguous.

        Args:
            pixels: shape (N, H, W) or (N, C, H, W).
            labels: shape (N,).
        """
        with_channels = pixels[:, None] if pixels.ndim == 3 else pixels
        return Images(
            torch.from_numpy(np.require(with_channels, requirements=["C", "W"])),
            torch.from_numpy(np.array(labels, dtype=np.int64)),
        )

    def __len__(self) -> int:
        return self.labels.shape[0]

    def select(self, index: Tensor) -> Images:
        """Return the images at ``index`` (int64, on the CPU), in that order."""
        return Images(storage.selected(self.pixels, index), self.labels[index])

    def contents(self) -> Iterator[bytes]:
        """The pixels of each image, from which a ``Sketch`` is made."""
        return (image.contiguous().numpy().tobytes() for image in self.pixels)

    def inputs(self, index: Tensor | slice, device: torch.device | str = "cpu") -> Tensor:
        """Return the images at ``index`` as float32 in [0, 1] on ``device``.

        Pixels are moved as uint8 and converted on the device, which is a quarter of the transfer.
        """
        pixels = self.pixels[index].to(device)
        return to_unit(pixels) if pixels.dtype == torch.uint8 else pixels.clone()

    def tensors(self, count: int | None = None) -> tuple[Tensor, Tensor]:
        """Return the first ``count`` images, float32 (N, C, H, W) in [0, 1], and labels (N,).

        Args:
            count: at least 1; None, or more than there are, gives all images.

        Raises:
            UsageError: ``count`` is no whole number, or less than 1.
        """
        if count is not None and (isinstance(count, bool) or not hasattr(count, "__index__")):
            raise UsageError(f"tensors({count!r}): the number of images must be a whole number")
        if count is not None and count < 1:
            raise UsageError(f"tensors({count}): the number of images must be at least 1")
        return self.inputs(slice(0, count)), self.labels[:count]

    def sizes(self) -> None:
        """Return None: all images have one size, so batches need no sorting by length."""


@dataclass(frozen=True)
class ImageSet:
    """An image data set: three splits, class names and origin.

    Attributes:
        name: name for ``--dataset``; ``auto`` is replaced by the data set that was loaded.
        classes: class names by label.
        origin: phrase for captions and the first printed line, such as "MNIST, 60,000 + 10,000
            handwritten digits".
        fallback_reason: why ``auto`` did not load its first choice; empty otherwise.
        remarks: what a reader of the figures should know of the data, a sentence each.
        stacked_of: for a stacked data set, the name of the data set in its channels; else empty.
    """

    name: str
    classes: tuple[str, ...]
    train: Images
    val: Images
    test: Images
    origin: str
    fallback_reason: str = ""
    stacked_of: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of an image."""
        channels, height, width = self.test.pixels.shape[1:]
        return channels, height, width

    def relabelled(self, numbers: Sequence[int], classes: tuple[str, ...]) -> ImageSet:
        """Return the data set with the labels ``numbers[label]`` and other class names.

        Args:
            numbers: for each class its new number; several classes may get the same one.
            classes: class names by new number.
        """
        table = torch.tensor(list(numbers), dtype=torch.int64)

        def changed(images: Images) -> Images:
            return Images(images.pixels, table[images.labels])

        return replace(
            self,
            classes=classes,
            train=changed(self.train),
            val=changed(self.val),
            test=changed(self.test),
        )

    def introduction(self) -> str:
        """Return what a run prints first: a line about the data set, and one for each remark."""
        split = splits.sizes_in_words(len(self.train), len(self.val), len(self.test))
        facts = [fact for fact in (self.origin, split, self.fallback_reason) if fact]
        return "\n".join([f"data set: {'; '.join(facts)}", *(f"note: {x}" for x in self.remarks)])

    def sha256(self) -> str:
        """Return the SHA-256 hash of the class names, pixels and labels of all splits.

        Results store it to identify the data on which they were measured.
        """
        digest = hashlib.sha256("\0".join(self.classes).encode("utf-8", "surrogatepass"))
        for split in (self.train, self.val, self.test):
            # The shape separates the splits: moving an image to the next split changes the hash.
            digest.update(f"{tuple(split.pixels.shape)}\n".encode())
            digest.update(split.pixels.contiguous().numpy().data)
            digest.update(split.labels.contiguous().numpy().data)
        return digest.hexdigest()


def split_parts(
    parts: Mapping[str, Images], seed: int, where: str, classes: Sequence[str]
) -> tuple[Images, Images, Images]:
    """Training, validation and test images from the parts of a set.

    Where all images are one part they are split by class into 80 %, 10 % and 10 %. Where no
    validation images are given, a tenth of the training images, by class, validates.

    Args:
        parts: ``all``, or ``test`` and possibly ``train`` and ``val``.
        seed: seed of the split.
        where: what a refusal begins with.
        classes: class names by label.

    Raises:
        UsageError: a class has too few images.
    """
    if "all" in parts:
        images = parts["all"]
        rest, tested = splits.draw_fraction(
            images.labels.numpy(), _HELD_OUT, seed, where, classes, parts=3
        )
        test, remaining = _at(images, tested), _HELD_OUT / (1 - _HELD_OUT)
    else:
        test = parts["test"]
        images = parts.get("train", _at(test, np.arange(0)))
        if "val" in parts or not len(images):
            return images, parts.get("val", _at(test, np.arange(0))), test
        rest, remaining = np.arange(len(images)), _HELD_OUT
    # Of the images' places alone, so that they are copied once.
    others, held_out = splits.draw_fraction(
        images.labels.numpy()[rest], remaining, seed, where, classes
    )
    return _at(images, rest[others]), _at(images, rest[held_out]), test


def _at(images: Images, index: NDArray[np.int64]) -> Images:
    return images.select(torch.from_numpy(index))


def take(images: Images, count: int | None, seed: int) -> Images:
    """Draw ``count`` images in the class proportions of ``images``, keeping their order.

    With ``count`` None, all images are returned.

    Raises:
        UsageError: there are fewer than ``count`` images, or more than ``count`` classes.
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
    _, drawn = splits.stratified_draw(labels, count, seed, min_kept=0)
    return images.select(torch.from_numpy(drawn))
