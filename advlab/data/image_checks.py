"""What a reader should know of images that a user brought: equal images, classes, brightness.

Equal images are counted and kept, while texts drop copies. Images are compared after they were
cropped and scaled, so that equal pixels do not prove equal files. Published test sets would also
change their size, and with it their figures.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import torch

from advlab.data import label_checks, label_names
from advlab.data.image_set import Images, ImageSet
from advlab.errors import UsageError

_DARK = 16
"""Largest level of images that were hardly meant as bytes from 0 to 255: scikit-learn's digits go
from 0 to 16, masks from 0 to 1."""


def checked(data: ImageSet, *, is_sample: bool = False) -> ImageSet:
    """Return the data set with remarks on its classes, its brightness and equal images.

    Args:
        is_sample: whether there may be more images, so that nothing is said of classes without any.

    Raises:
        UsageError: there are fewer than two classes to train on, or a class of the validation or
            test images has no training image.
    """
    parts = {"training": data.train, "validation": data.val, "test": data.test}
    labels = {part: images.labels.numpy() for part, images in parts.items()}
    label_checks.check_parts(data.name, data.classes, labels, "images")
    if len(data.classes) < 2:
        raise UsageError(
            f"{data.name}: {data.classes[0]!r} is the only class; at least two are needed"
        )
    groups = label_names.near_equal(data.classes)
    remarks = [
        *([] if is_sample else label_checks.absent_classes(data.classes, labels, "image")),
        *[label_names.remark(groups, "give the images of one class one name")] * bool(groups),
        *label_checks.unlabelled(data.classes, "images"),
        *darkness(list(parts.values())),
        *_equal_images(data),
    ]
    return replace(data, remarks=(*data.remarks, *remarks))


def darkness(parts: Sequence[Images]) -> list[str]:
    """Return a sentence about images that are black or nearly so."""
    largest_of = torch.cat([images.pixels.flatten(1).amax(1) for images in parts if len(images)])
    largest = int(largest_of.max())
    if largest > _DARK:
        dark = int((largest_of <= _DARK).sum())
        return [
            f"images that are almost black, without a value above {_DARK} of 255: {dark:,} of "
            f"{len(largest_of):,}"
        ] * bool(dark)
    if not largest:
        return ["all images are black"]
    return [
        "the images are almost black: the largest of their values, which go from 0 to 255, is "
        f"{largest}; if that stands for white, save the images as floats from 0 to 1"
    ]


def _equal_images(data: ImageSet) -> list[str]:
    """Return a sentence about images with the same pixels, if there are any."""
    train, val, test = (_digests(images) for images in (data.train, data.val, data.test))
    classes: dict[bytes, set[int]] = defaultdict(set)
    for digests, images in ((train, data.train), (val, data.val), (test, data.test)):
        for digest, label in zip(digests, images.labels.tolist(), strict=True):
            classes[digest].add(label)
    every = [*train, *val, *test]
    repeated = len(every) - len(classes)
    if not repeated:
        return []
    in_train, in_either = set(train), {*train, *val}
    tested = sum(digest in in_either for digest in test)
    validated = sum(digest in in_train for digest in val)
    several = [digest for digest in every if len(classes[digest]) > 1]
    facts = [f"{_counted(repeated)} the same as an earlier one"]
    if tested:
        facts.append(f"{tested:,} of {len(test):,} test images are training or validation images")
    if validated:
        facts.append(f"{validated:,} of {len(val):,} validation images are training images")
    if several:
        first, second = (data.classes[label] for label in sorted(classes[several[0]])[:2])
        facts.append(
            f"{_counted(len(several))} in several classes, such as {first!r} and {second!r}"
        )
    return [f"equal images, which are all kept: {'; '.join(facts)}"]


def _counted(count: int) -> str:
    return f"{count:,} image{' is' if count == 1 else 's are'}"


def _digests(images: Images) -> list[bytes]:
    """A hash of the pixels of each image."""
    rows = images.pixels.contiguous().numpy()
    return [hashlib.blake2b(row, digest_size=16).digest() for row in rows]
