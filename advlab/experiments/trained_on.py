"""Test examples that a network was trained on: their figures say nothing of others.

A data set that gives no test part is split by ``--split-seed``, and a network that was trained on
one split meets its training examples again in another, as in a set that changed since.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from advlab.data.image_set import Images, ImageSet
from advlab.data.text_set import Texts, TextSet
from advlab.errors import UsageError
from advlab.networks import checkpoint
from advlab.networks.metadata import (
    IMAGE_CLASSIFIER,
    ImageClassifierMetadata,
    TextClassifierMetadata,
    read_metadata,
)
from advlab.networks.sketch import Sketch


def sketch_of(train: Images | Texts, weights: str | None = None) -> str:
    """The examples of a training for the metadata of its checkpoint.

    Args:
        weights: the checkpoint that it starts from, whose examples count as well.
    """
    sketch = Sketch.of(train.contents())
    before = None if weights is None else _metadata(weights)
    return (sketch if before is None else sketch.joined(Sketch.read(before.examples))).text()


def check_weights_unseen(options: Any, data: ImageSet) -> None:
    """Refuse to train on from weights that were trained on test images.

    Raises:
        UsageError: ``--weights`` is a checkpoint that was.
    """
    weights = getattr(options, "weights", None)
    metadata = None if weights is None else _metadata(weights)
    for text in seen_in_training(metadata, data, options).values():
        raise UsageError(f"--weights {weights}: {text}")


def seen_in_training(
    metadata: ImageClassifierMetadata | TextClassifierMetadata | None,
    data: ImageSet | TextSet,
    options: Any,
    validates: bool = False,
) -> dict[str, str]:
    """The check whether a network was trained on test examples; empty where it was not, or where
    that is not known.

    Args:
        metadata: of the network's checkpoint; None for a network that has none.
        options: with which the data were loaded.
        validates: whether validation examples are to be new to the network as well.
    """
    if metadata is None or not metadata.examples:
        return {}
    sketch = Sketch.read(metadata.examples)
    noun = "texts" if isinstance(data, TextSet) else "images"
    about = "" if sketch.whole else "about "  # where it is not, their number is an estimate
    failed = {}
    for part, examples in {"test": data.test, "validation": data.val}.items():
        count = sketch.count(examples.contents()) if part == "test" or validates else 0
        if count:
            failed[f"trained on the {part} set"] = (
                f"the network was trained on {about}{count:,} of the {len(examples):,} {part} "
                f"{noun}{_other_split(metadata, data, options)}"
            )
    return failed


def _other_split(
    metadata: ImageClassifierMetadata | TextClassifierMetadata,
    data: ImageSet | TextSet,
    options: Any,
) -> str:
    """How the data were split for the training, where they are the same data, split otherwise."""
    # A file may be named from another folder.
    there, here = (Path(name.rpartition(":")[2]).name for name in (metadata.dataset, data.name))
    if there != here or options.dataset == "auto":
        return ""
    otherwise = [
        f"--{key.replace('_', '-')} {metadata.data[key]}"
        for key in ("split_seed", "test_fraction")
        if key in metadata.data and metadata.data[key] != getattr(options, key, metadata.data[key])
    ]
    return f"; it was trained with {' '.join(otherwise)}" if otherwise else ""


def _metadata(weights: str) -> ImageClassifierMetadata | None:
    """The metadata of a checkpoint; None where the weights are another file."""
    path = Path(weights)
    if not checkpoint.is_image_classifier(path):
        return None
    return read_metadata(path / checkpoint.FILE if path.is_dir() else path, IMAGE_CLASSIFIER)
