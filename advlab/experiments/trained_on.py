"""Test examples that a network was trained on: their figures say nothing of others.

A data set that gives no test part is split by ``--split-seed``, and a network that was trained on
one split meets its training examples again in another, as in a set that changed since.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from advlab.config.options.run import DataOptions
from advlab.config.options.text import TextDataOptions
from advlab.data.image_set import Images, ImageSet
from advlab.data.text_set import Texts, TextSet
from advlab.errors import UsageError
from advlab.networks.metadata import ENCODER, IMAGE_CLASSIFIER, Kind, Metadata, read_metadata
from advlab.networks.sketch import Sketch


def sketch_of(train: Images | Texts, weights: str | None = None) -> str:
    """The examples of a training for the metadata of its checkpoint.

    Args:
        weights: the checkpoint that it starts from, whose examples count as well.
    """
    sketch = Sketch.of(train.contents())
    before = None if weights is None else _metadata(weights)
    return (sketch if before is None else sketch.joined(Sketch.read(before.examples))).text()


def check_weights_unseen(
    weights: str | None, data: ImageSet, options: DataOptions, option: str = "--weights"
) -> None:
    """Refuse to train on from weights that were trained on test or validation images.

    Args:
        weights: the checkpoint that a training starts from; None for random weights.
        options: with which the data were loaded.
        option: what names the checkpoint.

    Raises:
        UsageError: its training examples are among them.
    """
    metadata = None if weights is None else _metadata(weights)
    for text in seen_in_training(metadata, data, options, validates=True).values():
        raise UsageError(f"{option} {weights}: {text}")


def seen_in_training(
    metadata: Metadata | None,
    data: ImageSet | TextSet,
    options: DataOptions | TextDataOptions,
    validates: bool = False,
) -> dict[str, str]:
    """The check whether a network was trained on test examples; empty where it was not, or where
    that is not known. Copies of the data's own training examples, which every training on them
    meets, are no matter of it.

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
        if part != "test" and not validates:
            continue
        count = sketch.count(examples.contents(), besides=data.train.contents())
        if count:
            failed[f"trained on the {part} set"] = (
                f"the network was trained on {about}{count:,} of the {len(examples):,} {part} "
                f"{noun}{_other_split(metadata, data, options)}"
            )
    return failed


def _other_split(
    metadata: Metadata,
    data: ImageSet | TextSet,
    options: DataOptions | TextDataOptions,
) -> str:
    """How the data were split for the training, where they are the same data, split otherwise."""
    # A file may be named from another folder.
    there, here = (Path(name.rpartition(":")[2]).name for name in (metadata.dataset, data.name))
    if there != here or options.dataset == "auto":
        return ""
    loaded: dict[str, JsonValue] = getattr(metadata, "data", {})
    otherwise = [
        f"--{key.replace('_', '-')} {loaded[key]}"
        for key in ("split_seed", "test_fraction")
        if key in loaded and loaded[key] != getattr(options, key, loaded[key])
    ]
    if not otherwise:
        return ""
    return f"; it was trained with {' '.join(otherwise)}, which leaves others for testing"


def _metadata(weights: str) -> Metadata | None:
    """The metadata of a checkpoint of a classifier of images or of an encoder; None where the
    weights are another file."""
    path = Path(weights)
    kinds: tuple[Kind[Any], ...] = (IMAGE_CLASSIFIER, ENCODER)
    for kind in kinds:
        with contextlib.suppress(UsageError):
            metadata: Metadata = read_metadata(path / kind.file if path.is_dir() else path, kind)
            return metadata
    return None
