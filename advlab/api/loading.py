"""Data sets and networks by their names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from advlab.api.keywords import in_keywords, path_text, validated
from advlab.config.options.run import LoadOptions, TargetOptions
from advlab.data import load_images
from advlab.data.image_set import Images, ImageSet
from advlab.errors import UsageError
from advlab.experiments import target_model
from advlab.networks.sketch import Sketch

_EXAMPLES = "_advlab_examples"  # where a loaded network keeps what it was trained on


@in_keywords(dataset="name")
def load_dataset(
    name: str = "auto",
    *,
    data_dir: str | Path = "data",
    image_size: int | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    split_seed: int = 0,
) -> ImageSet:
    """A data set of images, split into ``train``, ``val`` and ``test``.

    Args:
        name: as for ``--dataset``: ``digits``, ``mnist``, ``folder:PATH``, ``npz:FILE``,
            ``parquet:PATH``, ``hf:NAME``, ``torchvision:NAME``, ...
        data_dir: folder for data sets.
        image_size: side of the images in pixels, for sets that have no size of their own.
        image_column, label_column: columns of ``parquet:PATH`` and ``hf:NAME``; detected by
            default.
        split_seed: seed of the split.

    Raises:
        UsageError: there is no such data set.
        EnvironmentFailure: it cannot be read or downloaded.
    """
    options = validated(
        LoadOptions,
        "load_dataset",
        dataset=name,
        data_dir=path_text(data_dir, "load_dataset: data_dir"),
        image_size=image_size,
        image_column=image_column,
        label_column=label_column,
        split_seed=split_seed,
    )
    return load_images.load(options)


@in_keywords(model="name")
def load_model(
    name: str | Path,
    *,
    weights: str | Path | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    resize: int | None = None,
    crop: int | None = None,
    output: str | None = None,
) -> nn.Module:
    """A classifier of images, from images (N, C, H, W) in [0, 1] to logits (N, classes), in
    evaluation mode. Preprocessing is part of it.

    Args:
        name: as for ``--model``: a checkpoint or the folder of a run, ``torchvision:NAME``,
            ``timm:NAME``, ``robustbench:NAME``, ``FILE.py:FUNCTION``, ``package.module:FUNCTION``
            or ``FILE.pt2``. Code is imported and run.
        weights: file of a state dict, ``.pt``, ``.pth`` or ``.safetensors``; a library's own
            weights are downloaded without it.
        mean, std: normalisation, one number or one for each channel.
        resize: what the shorter side of an image is scaled to, in pixels; 0 for nothing.
        crop: side of the central square that is kept after it, in pixels; 0 for all.
        output: key or number of the logits, where the network returns several tensors.

    Raises:
        UsageError: there is no such network, or its weights are damaged or another network's.
        EnvironmentFailure: weights cannot be downloaded, or the library is not installed.
    """
    text = path_text(name, "load_model: name")
    if not target_model.names_network(text):
        text = str(Path(text).resolve())  # a checkpoint, which need not exist yet to be named
    options = validated(
        TargetOptions,
        "load_model",
        model=text,
        weights=None if weights is None else path_text(weights, "load_model: weights"),
        mean=[mean] if isinstance(mean, (int, float)) else mean,
        std=[std] if isinstance(std, (int, float)) else std,
        resize=resize,
        crop=crop,
        output=output,
    )
    try:
        named = target_model.named(options)
    except UsageError as error:
        # In Python there is no flag that the network was named by.
        message = str(error).removeprefix("--model: ").removeprefix("--model ")
        raise UsageError(f"load_model: {message}") from error
    if named is None:
        raise UsageError(f"load_model: no network at {name}")
    if named.metadata is not None:
        setattr(named.network, _EXAMPLES, named.metadata.examples)
    return named.network


def training_check(model: nn.Module, data: Images) -> dict[str, str]:
    """The check whether a network from ``load_model`` was trained on these images; empty where it
    was not, or where that is not known: of images that are no bytes, or of networks from
    elsewhere."""
    examples = getattr(model, _EXAMPLES, "")
    if not examples:
        return {}
    levels = data.inputs(slice(None)).mul(255)
    if not torch.allclose(levels, levels.round(), atol=1e-3):
        return {}
    stored = Images(levels.round().to(torch.uint8), data.labels)
    count = Sketch.read(examples).count(stored.contents())
    if not count:
        return {}
    return {
        "trained on the images": f"the network was trained on {count:,} of the {len(data):,} images"
    }
