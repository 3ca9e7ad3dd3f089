"""``advlab data show``: class counts and example images or texts of a data set."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from advlab.config.options.run import DataCommandOptions, DataOptions
from advlab.config.options.text import TextOptions
from advlab.data import load_images as images
from advlab.data import load_texts as texts
from advlab.data.image_set import Images, ImageSet
from advlab.data.text_set import Texts, TextSet
from advlab.experiments.train.texts import shortened
from advlab.plots.dataset import class_counts, samples
from advlab.plots.sheets import Tile, sheet
from advlab.plots.style import save
from advlab.runs.files import write_json, write_text
from advlab.runs.machine import derive
from advlab.runs.table import table

_ROWS, _COLUMNS = 20, 10  # classes that get a row of their own, and images in it
_MOST_TILES = 102  # of more classes, one image each
_TEXTS = 5  # of each class
_COLOURS = {1: "grey", 3: "colour"}


def show(name: str, is_text: bool, options: DataCommandOptions) -> Path:
    """Print and draw a set; the folder that the pictures are in.

    Raises:
        UsageError: it is not as it should be.
        EnvironmentFailure: it cannot be had.
    """
    data: ImageSet | TextSet
    if is_text:
        data = texts.load(
            _TextShow(dataset=name, data_dir=options.data_dir, split_seed=options.split_seed)
        )
    else:
        data = images.load(
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
        split: np.bincount(part.labels.numpy(), minlength=len(data.classes))
        for split, part in (("training", data.train), ("validation", data.val), ("test", data.test))
    }
    rows = [
        [name, *(f"{numbers[label]:,}" for numbers in counts.values())]
        for label, name in enumerate(data.classes)
    ]
    text = table(["class", *counts], rows)
    print(f"{data.introduction()}\n{_about(data)}\n{text}")
    noun = "texts" if isinstance(data, TextSet) else "images"
    caption = f"{data.origin} · split seed {options.split_seed}"
    save(
        class_counts(counts, data.classes, f"Classes of {data.name}", caption, noun),
        folder / "classes.png",
    )
    if isinstance(data, TextSet):
        write_text(folder / "samples.md", _texts_of(data) + "\n")
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
    """A folder's name: the set's, or the last part of a path."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", Path(name.rpartition(":")[2]).name).strip("_") or "data"


class _TextShow(TextOptions, DataOptions):
    """A set of texts as ``train`` would read it, nothing else."""


def _about(data: ImageSet | TextSet) -> str:
    if isinstance(data, TextSet):
        lengths = data.train.lengths.double()
        return (
            f"{len(data.vocabulary):,} words known; a text has {float(lengths.mean()):.1f} words "
            f"on average, {int(lengths.max())} at most"
        )
    channels, height, width = data.shape
    return f"{_COLOURS.get(channels, f'{channels}-channel')} images of {height} × {width}"


def _draw_images(data: ImageSet, caption: str, path: Path) -> None:
    """Drawn training images: a row for each class, or, of many classes, one of each."""
    title = f"Training images of {data.name}"
    if len(data.classes) <= _ROWS:
        rows = {name: _some(data.train, label, _COLUMNS) for label, name in enumerate(data.classes)}
        save(samples(rows, title, caption), path)
        return
    tiles = [
        Tile(_some(data.train, label, 1)[0], data.classes[label][:16])
        for label in range(min(len(data.classes), _MOST_TILES))
    ]
    save(sheet(tiles, title, caption, columns=10), path)


def _some(part: Images, label: int, count: int) -> list[Any]:
    rows = part.labels.eq(label).nonzero().squeeze(1)
    drawn = torch.randperm(
        len(rows), generator=torch.Generator().manual_seed(derive(0, 50, label))
    )[:count]
    return list(part.inputs(rows[drawn]).numpy())


def _texts_of(data: TextSet) -> str:
    part: Texts = data.train
    lines = []
    for label, name in enumerate(data.classes):
        rows = part.labels.eq(label).nonzero().squeeze(1)
        drawn = torch.randperm(
            len(rows), generator=torch.Generator().manual_seed(derive(0, 50, label))
        )[:_TEXTS]
        lines += [[name, shortened(part.texts[row])] for row in rows[drawn].tolist()]
    return table(["class", "text"], lines)
