"""``advlab data show``: class counts and example images or texts of a data set."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from advlab.config.options.run import DataCommandOptions, DataOptions
from advlab.config.options.text import TextOptions
from advlab.config.references import dataset_title
from advlab.data import load_images, load_texts
from advlab.data.image_set import Images, ImageSet
from advlab.data.text_set import Texts, TextSet
from advlab.experiments.train.texts import shortened
from advlab.plots.dataset import class_counts, samples
from advlab.plots.sheets import Tile, sheet
from advlab.plots.style import save
from advlab.runs.files import write_json, write_text
from advlab.runs.machine import derive
from advlab.runs.table import table

_ROWS, _COLUMNS = 20, 10  # classes that are drawn as a row each, and images in a row
_MAX_TILES = 102  # images in the figure of a data set with more classes, one image per class
_TEXTS = 5  # texts per class
_COLOURS = {1: "grey", 3: "colour"}


def show(name: str, is_text: bool, options: DataCommandOptions) -> Path:
    """Print the class counts of a data set and draw examples; return the folder of the figures.

    Raises:
        UsageError: the data set is malformed.
        EnvironmentFailure: the data set cannot be read or downloaded.
    """
    data: ImageSet | TextSet
    if is_text:
        data = load_texts.load(
            _TextDataOptions(dataset=name, data_dir=options.data_dir, split_seed=options.split_seed)
        )
    else:
        data = load_images.load(
            DataOptions(
                dataset=name,
                data_dir=options.data_dir,
                split_seed=options.split_seed,
                image_size=options.image_size,
            )
        )
    folder = Path(options.out) / "data" / _slug(name)
    folder.mkdir(parents=True, exist_ok=True)
    counts = {
        split: np.bincount(examples.labels.numpy(), minlength=len(data.classes))
        for split, examples in (
            ("training", data.train),
            ("validation", data.val),
            ("test", data.test),
        )
    }
    rows = [
        [class_name, *(f"{numbers[label]:,}" for numbers in counts.values())]
        for label, class_name in enumerate(data.classes)
    ]
    print(f"{data.introduction()}\n{_description(data)}\n{table(['class', *counts], rows)}")
    noun = "texts" if isinstance(data, TextSet) else "images"
    caption = f"{data.origin} · split seed {options.split_seed}"
    save(
        class_counts(
            counts,
            data.classes,
            f"Number of {noun} in each class of {dataset_title(data.name)}",
            caption,
            noun,
        ),
        folder / "classes.png",
    )
    if isinstance(data, TextSet):
        write_text(folder / "samples.md", _sample_texts(data) + "\n")
    else:
        _draw_images(data, caption, folder / "samples.png")
    result = {
        "dataset": data.name,
        "origin": data.origin,
        "classes": list(data.classes),
        "sha256": data.sha256(),
    }
    write_json(
        folder / "counts.json",
        {**result, **{split: numbers.tolist() for split, numbers in counts.items()}},
    )
    print(
        f"in {folder}: classes.png, counts.json, "
        f"samples.{'md' if isinstance(data, TextSet) else 'png'}"
    )
    return folder


def _slug(name: str) -> str:
    """Return the folder name for a data set: its name, or the last part of its path."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", Path(name.rpartition(":")[2]).name).strip("_") or "data"


class _TextDataOptions(TextOptions, DataOptions):
    """Options with which ``train`` reads a text data set, at their defaults."""


def _description(data: ImageSet | TextSet) -> str:
    if isinstance(data, TextSet):
        lengths = data.train.lengths.double()
        return (
            f"vocabulary of {len(data.vocabulary.words):,} words; "
            f"{float(lengths.mean()):.1f} words per text on average, {int(lengths.max())} at most"
        )
    channels, height, width = data.shape
    return f"{_COLOURS.get(channels, f'{channels}-channel')} images of {height} × {width}"


def _draw_images(data: ImageSet, caption: str, path: Path) -> None:
    """Draw random training images, or test images where there are no others: a row per class, or
    one image per class if there are many."""
    kind, images = ("Training", data.train) if len(data.train) else ("Test", data.test)
    title = f"{kind} images of {dataset_title(data.name)}, by class"
    if len(data.classes) <= _ROWS:
        rows = {
            name: _sample_images(images, label, _COLUMNS) for label, name in enumerate(data.classes)
        }
        save(samples(rows, title, caption), path)
        return
    tiles = [
        Tile(pixels, data.classes[label][:16])
        for label in range(min(len(data.classes), _MAX_TILES))
        for pixels in _sample_images(images, label, 1)
    ]
    save(sheet(tiles, title, caption, columns=10), path)


def _sample_images(images: Images, label: int, count: int) -> list[Any]:
    rows = images.labels.eq(label).nonzero().squeeze(1)
    drawn = torch.randperm(
        len(rows), generator=torch.Generator().manual_seed(derive(0, 50, label))
    )[:count]
    return list(images.inputs(rows[drawn]).numpy())


def _sample_texts(data: TextSet) -> str:
    train: Texts = data.train
    lines = []
    for label, name in enumerate(data.classes):
        rows = train.labels.eq(label).nonzero().squeeze(1)
        drawn = torch.randperm(
            len(rows), generator=torch.Generator().manual_seed(derive(0, 50, label))
        )[:_TEXTS]
        lines += [[name, shortened(train.texts[row])] for row in rows[drawn].tolist()]
    return table(["class", "text"], lines)
