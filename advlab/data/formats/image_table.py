"""Images in Parquet files and in data sets of the Hugging Face Hub; see ``columns``."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from PIL import Image

from advlab.data import storage
from advlab.data.formats import columns, image_files
from advlab.data.formats.columns import Part
from advlab.data.image_set import Images, ImageSet, split_parts
from advlab.data.splits import drawn_order
from advlab.errors import UsageError

_DEFAULT_SIDE = 64


def load(
    name: str,
    split_seed: int,
    image_size: int | None,
    image_column: str | None,
    label_column: str | None,
    *,
    offline: bool,
) -> ImageSet:
    """Load the images of a set into memory, split.

    A set without parts is split by class into 80 % training, 10 % validation and 10 % test; of one
    without validation images, a tenth of the training images validates. Images are decoded some at
    a time: the files themselves are never in memory together.

    Args:
        name: ``parquet:PATH`` or ``hf:NAME``.
        image_size: side of the images in pixels; by default the shorter side of the first image, at
            most 64.
        image_column, label_column: names of the columns; found by their types and usual names where
            not given.
        offline: whether nothing may be downloaded.

    Raises:
        UsageError: there is no such set, it lacks the columns, or a row has no image or label.
        EnvironmentFailure: a library is missing, or a file is damaged or cannot be downloaded.
    """
    table = columns.table(name, offline=offline)
    parts = table.parts
    if "all" not in parts and "test" not in parts:
        raise UsageError(f"{name}: has {', '.join(parts)} images and none to test on")
    first = next(iter(parts.values()))
    image = columns.column(first, image_column, "--image-column", ["image"], columns.IMAGE_NAMES)
    label = columns.column(
        first, label_column, "--label-column", columns.LABEL_KINDS, columns.LABEL_NAMES
    )
    columns.check_column(parts.values(), image, "--image-column")
    columns.check_column(parts.values(), label, "--label-column")
    named = columns.class_names(parts.values(), label)
    side = image_size or _native_side(first, image)
    read = {key: _read(part, image, label, side) for key, part in parts.items()}
    classes = _classes(name, named, [labels for _, labels in read.values()])
    number_of = {key: number for number, key in enumerate(classes)}
    channels = max(decoded.pixels.shape[1] for decoded, _ in read.values())
    held = {
        key: Images(
            storage.contiguous(decoded.pixels.expand(-1, channels, -1, -1)),
            torch.tensor([number_of[value] for value in labels], dtype=torch.int64),
        )
        for key, (decoded, labels) in read.items()
    }
    names = tuple(map(str, classes))
    train, val, test = split_parts(held, split_seed, name, names)
    # Rows are often sorted by class: in a random order, always the same, the first ones are of all.
    test = test.select(drawn_order(len(test)))
    title = name.partition(":")[2]
    origin = f"{title}, {len(train) + len(val):,} + {len(test):,} images from a table"
    remarks = (
        *columns.columns_read(
            name,
            ("images", image, image_column, "--image-column"),
            ("labels", label, label_column, "--label-column"),
        ),
        *table.remarks,
        *image_files.remarks([decoded for decoded, _ in read.values()]),
        *columns.remarks_on(first, image, image_column, "--image-column", columns.IMAGE_NAMES),
        *columns.remarks_on(first, label, label_column, "--label-column", columns.LABEL_NAMES),
        *columns.other_orders(parts.values(), label),
        *columns.unused_split(parts),
    )
    return ImageSet(name, names, train, val, test, origin, remarks=remarks)


def _classes(name: str, named: Sequence[str] | None, labels: Sequence[list[Any]]) -> list[Any]:
    """The labels that occur, or that the schema names, in the order of their numbers."""
    present = {value for part in labels for value in part}
    if named is not None:
        if unknown := sorted(map(str, present - set(named))):
            raise UsageError(f"{name}: the label {unknown[0]!r} is no class that its schema names")
        return list(named)
    if len({type(value) for value in present}) > 1:
        raise UsageError(f"{name}: labels are integers in one part, and texts in another")
    if len(present) < 2:
        raise UsageError(f"{name}: {len(present)} class; at least two are needed")
    least, most = min(present), max(present)
    if isinstance(most, int) and least >= 0 and most < 10 * len(present):
        return list(range(most + 1))  # a class that no image has is a class all the same
    return sorted(present)


def _native_side(part: Part, image: str) -> int:
    for batch in part.batches([image]):
        if batch[image] and batch[image][0] is not None:
            with Image.open(io.BytesIO(batch[image][0]), formats=image_files.formats()) as opened:
                return max(8, min(_DEFAULT_SIDE, *opened.size))
    return _DEFAULT_SIDE


def _read(part: Part, image: str, label: str, side: int) -> tuple[image_files.Decoded, list[Any]]:
    """Images and labels of a part."""
    labels: list[Any] = []

    def images() -> Iterator[list[image_files.Encoded]]:
        for batch in part.batches([image, label]):
            first = len(labels) + 1
            labels.extend(columns.labels_of(part, label, batch[label], first))
            encoded = []
            for row, content in enumerate(batch[image], start=first):
                if content is None:
                    raise UsageError(f"{part.place}: row {row:,} has no image in column {image!r}")
                encoded.append(image_files.Encoded(f"{part.place}: row {row:,}", content))
            yield encoded

    return image_files.decode_all(images(), part.rows, side, part.place), labels
