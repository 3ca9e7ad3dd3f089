"""Data sets and networks by their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from advlab.api.keywords import in_keywords, path_text, validated
from advlab.config.options.run import DataOptions, LoadForModelOptions, TargetOptions
from advlab.data import load_images
from advlab.data.image_set import Images, ImageSet
from advlab.errors import UsageError
from advlab.experiments import target_model
from advlab.experiments.target_images import ImageChoice, with_chosen
from advlab.experiments.target_model import TargetModel
from advlab.networks.referenced import CodeNotNamedError
from advlab.networks.sketch import Sketch

_DESCRIPTION = "_advlab_description"  # where a loaded network keeps what is known of it


@in_keywords(dataset="name")
def load_dataset(
    name: str = "auto",
    *,
    data_dir: str | Path = "data",
    image_size: int | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    split_seed: int = 0,
    model: nn.Module | None = None,
    classes: str | Path | None = None,
    limit: int | None = None,
) -> ImageSet:
    """A data set of images, split into ``train``, ``val`` and ``test``.

    With ``model``, it is the data set as a command with this ``--model`` has it: labels are the
    numbers that the model gives to the classes of these names or synsets, images have the size that
    its preprocessing scales to, and a folder of classes that is not split is a test set as a whole
    for a network of a library. By default it is the data set that the model was trained on.

    Args:
        name: as for ``--dataset``: ``digits``, ``mnist``, ``folder:PATH``, ``npz:FILE``,
            ``parquet:PATH``, ``hf:NAME``, ``torchvision:NAME``, ...
        data_dir: folder for data sets.
        image_size: side of the images in pixels, for sets that have no size of their own.
        image_column, label_column: columns of ``parquet:PATH`` and ``hf:NAME``; detected by
            default.
        split_seed: seed of the split.
        model: a network from ``load_model``, which is not changed.
        classes: with ``model``, as for ``--classes``: a file of the names of its classes, or which
            classes of the data set count as one, such as ``"0,1,2,3,4/5,6,7,8,9"``.
        limit: with ``model``, how many test images are read.

    Raises:
        UsageError: there is no such data set, or it does not fit the model.
        EnvironmentFailure: it cannot be read or downloaded.
    """
    given = {
        "dataset": name,
        "data_dir": path_text(data_dir, "load_dataset: data_dir"),
        "image_size": image_size,
        "image_column": image_column,
        "label_column": label_column,
        "split_seed": split_seed,
    }
    if model is not None:
        merged = None if classes is None else path_text(classes, "load_dataset: classes")
        return _for_model(model, {**given, "classes": merged, "limit": limit})
    for option, value in (("classes", classes), ("limit", limit)):
        if value is not None:
            raise UsageError(f"load_dataset: {option}: goes with model")
    return load_images.load(validated(DataOptions, "load_dataset", **given))


def _for_model(model: nn.Module, given: Mapping[str, object]) -> ImageSet:
    """The data set as the commands have it for a network.

    Raises:
        UsageError: it does not fit the network, or the network is none of ``load_model``.
    """
    known: TargetModel | None = getattr(model, _DESCRIPTION, None)
    if known is None:
        raise UsageError(
            "load_dataset: model: is no network from load_model, so that it is not known how it "
            "numbers classes; load the data set without it, and give the labels its numbers"
        )
    if known.trained is None and given["dataset"] == "auto":
        raise UsageError(
            f"load_dataset: name: is missing; on which data {known.place} was trained is not known"
        )
    options = validated(LoadForModelOptions, "load_dataset", **given)
    device = next((one.device for one in model.parameters()), torch.device("cpu"))
    choice = ImageChoice(options.part(DataOptions), options.classes, options.limit)
    with torch.inference_mode(False):
        target, data = with_chosen(choice, replace(known, network=model, body=model), device)
    if options.limit is not None and options.limit < len(data.test):
        data = replace(data, test=data.test.select(torch.arange(options.limit)))
    if target is not None and target.network is not model:  # grey images for a network of colour
        parts = (data.train, data.val, data.test)
        train, val, test = (replace(one, pixels=one.pixels.expand(-1, 3, -1, -1)) for one in parts)
        return replace(data, train=train, val=val, test=test)
    return data


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
        if isinstance(error.__cause__, CodeNotNamedError):
            code = error.__cause__
            message = f'{code.refusal}; give load_model("{code.code}", weights="{name}")'
        raise UsageError(f"load_model: {message}") from error
    if named is None:
        raise UsageError(f"load_model: no network at {name}")
    setattr(named.network, _DESCRIPTION, _without_network(named))
    return named.network


def _without_network(named: TargetModel) -> TargetModel:
    """What is known of a network, to be kept by the network itself."""
    none = nn.Identity()
    trained = None if named.trained is None else replace(named.trained, network=none)
    return replace(named, network=none, body=none, trained=trained)


def training_check(model: nn.Module, data: Images) -> dict[str, str]:
    """The check whether a network from ``load_model`` was trained on these images; empty where it
    was not, or where that is not known: of images that are no bytes, or of networks from
    elsewhere."""
    known: TargetModel | None = getattr(model, _DESCRIPTION, None)
    if known is None or known.metadata is None or not known.metadata.examples:
        return {}
    levels = data.inputs(slice(None)).mul(255)
    if not torch.allclose(levels, levels.round(), atol=1e-3):
        return {}
    stored = Images(levels.round().to(torch.uint8), data.labels)
    count = Sketch.read(known.metadata.examples).count(stored.contents())
    if not count:
        return {}
    return {
        "trained on the images": f"the network was trained on {count:,} of the {len(data):,} images"
    }
