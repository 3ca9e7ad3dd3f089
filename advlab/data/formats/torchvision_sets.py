"""``torchvision:NAME``: a classification set of torchvision, by its own class and its own download.

The classes differ in how they name their parts: some take ``train``, some ``split``, some neither.
Their signatures and the values that ``split`` takes tell which there are.
"""

from __future__ import annotations

import inspect
import re
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torchvision import datasets

from advlab.components import suggestion
from advlab.data import storage
from advlab.data.formats.image_files import to_rgb
from advlab.data.image_set import Images, ImageSet, split_parts
from advlab.errors import EnvironmentFailure, UsageError

PREFIX = "torchvision:"
NAMES = (
    *("CIFAR10", "CIFAR100", "CLEVRClassification", "Caltech101", "Caltech256", "Country211"),
    *("DTD", "EMNIST", "EuroSAT", "FER2013", "FGVCAircraft", "FakeData", "FashionMNIST"),
    *("Flowers102", "Food101", "GTSRB", "Imagenette", "KMNIST", "MNIST", "OxfordIIITPet"),
    *("QMNIST", "RenderedSST2", "SEMEION", "STL10", "SUN397", "SVHN", "StanfordCars", "USPS"),
)
"""Torchvision's sets of images with one class each."""

_SIDE = 64
_LOOKED_AT = 8  # images whose sizes tell whether all have one
_PATIENCE = 30.0  # seconds that a download may stay silent
_ROLES = {"train": ("train", "trainval"), "val": ("val", "valid"), "test": ("test",)}
_EMNIST = "balanced"  # its ``split`` names one of six sets of letters and digits

Parts = Mapping[str, Mapping[str, Any]]


def load(
    text: str, data_dir: Path, split_seed: int, image_size: int | None, offline: bool
) -> ImageSet:
    """Load a set of torchvision into memory; it is downloaded first where it is missing.

    Images of one size are taken as they are unless ``image_size`` is given. Those of several sizes
    are cropped to a centred square and scaled to it, by default to 64 pixels.

    Raises:
        UsageError: torchvision has no such set, or it cannot be split.
        EnvironmentFailure: it is not there and cannot be downloaded, or it is damaged.
    """
    name = checked(text)
    kind = getattr(datasets, name)
    sets = {
        part: _opened(kind, text, data_dir, arguments, offline)
        for part, arguments in _parts(kind).items()
    }
    remarks = []
    if "test" not in sets and "val" in sets:
        sets["test"] = sets.pop("val")
        remarks.append("there are no test images, so that the validation images are tested on")
    pixels = _pixels(list(sets.values()), image_size)
    targets = {part: _labels(one, text) for part, one in sets.items()}
    classes = _classes(next(iter(sets.values())), targets)
    parts = {part: Images(pixels[number], targets[part]) for number, part in enumerate(sets)}
    train, val, test = split_parts(parts, split_seed, text, classes)
    origin = f"{name} of torchvision, {len(train) + len(val):,} + {len(test):,} images"
    return ImageSet(f"{PREFIX}{name}", classes, train, val, test, origin, remarks=tuple(remarks))


def checked(text: str) -> str:
    """The name of the set, in torchvision's spelling.

    Raises:
        UsageError: torchvision has none of that name, or it has no classes.
    """
    name = text.removeprefix(PREFIX)
    if name in NAMES:
        return name
    raise UsageError(
        f"{text}: torchvision has no classification set of that name{suggestion(name, NAMES)}; "
        f"there are {', '.join(NAMES)}"
    )


def _parts(kind: type) -> Parts:
    """The arguments that select each part of a set; one part, ``all``, where it is not split."""
    parameters = inspect.signature(kind).parameters
    if kind is datasets.EMNIST:
        return {part: {"split": _EMNIST, "train": part == "train"} for part in ("train", "test")}
    if "train" in parameters or issubclass(kind, datasets.MNIST):
        return {part: {"train": part == "train"} for part in ("train", "test")}
    if "split" not in parameters:
        return {"all": {}}
    values = _values_of_split(kind)
    return {
        part: {"split": next(value for value in usual if value in values)}
        for part, usual in _ROLES.items()
        if any(value in values for value in usual)
    }


def _values_of_split(kind: Callable[..., object]) -> list[str]:
    """What ``split`` may be. Every class checks it before it looks for its files, and a refusal
    lists the values."""
    try:
        kind("", split="?")
    except ValueError as error:
        return re.findall(r"'([\w-]+)'", str(error).partition("Valid values are")[2])
    raise AssertionError(f"{kind} takes any split")


def _opened(
    kind: type, text: str, data_dir: Path, arguments: Mapping[str, Any], offline: bool
) -> Any:
    """A part of the set, of Pillow's images and their labels."""
    parameters = inspect.signature(kind).parameters
    if "root" not in parameters:  # images that are drawn and not read
        return kind(**arguments)
    downloads = "download" in parameters or "kwargs" in parameters
    try:
        return kind(str(data_dir), **arguments, **({"download": False} if downloads else {}))
    except ModuleNotFoundError as error:
        raise EnvironmentFailure(f"{text} needs the package {error.name}") from error
    except (RuntimeError, OSError, ValueError) as error:
        if not downloads or offline:
            reason = "ADVLAB_OFFLINE is set" if downloads else "it cannot be downloaded by program"
            raise EnvironmentFailure(
                f"{text} is not in {data_dir}, and {reason}: {_in_one_line(error)}"
            ) from error
    patience = socket.getdefaulttimeout()
    try:
        socket.setdefaulttimeout(_PATIENCE)
        data_dir.mkdir(parents=True, exist_ok=True)
        return kind(str(data_dir), **arguments, download=True)
    except (RuntimeError, OSError, ValueError, ImportError) as error:
        raise EnvironmentFailure(
            f"{text} is not in {data_dir} and cannot be downloaded: {_in_one_line(error)}"
        ) from error
    finally:
        socket.setdefaulttimeout(patience)


def _pixels(parts: list[Any], image_size: int | None) -> list[torch.Tensor]:
    """The images of each part, uint8 (N, C, H, W), with one channel where all are grey.

    Raises:
        UsageError: they do not fit into memory, as far as the first images tell.
    """
    some = {parts[0][number][0].size for number in range(min(_LOOKED_AT, len(parts[0])))}
    own = max(some.pop()) if len(some) == 1 else _SIDE
    _check_memory(sum(map(len, parts)), image_size or own)
    read = None if image_size is not None else _read(parts, None)
    arrays = read or _read(parts, image_size or _SIDE)
    assert arrays is not None
    grey = all(one.shape[1] == 1 for part in arrays for one in part)
    channels = 1 if grey else 3
    return [
        torch.from_numpy(
            np.concatenate([np.broadcast_to(one, (1, channels, *one.shape[2:])) for one in part])
        ).contiguous()
        for part in arrays
    ]


def _check_memory(count: int, side: int) -> None:
    """Refuse images in colour that exceed the memory: torchvision's classes give them one by one,
    and they are put together in memory.

    Raises:
        UsageError: they do.
    """
    needed, memory = count * 3 * side * side, storage.memory()
    if needed > memory:
        raise UsageError(
            f"--image-size {side}: {count:,} images take {needed / 1e9:.1f} GB, and this machine "
            f"has {memory / 1e9:.1f} GB"
        )


def _read(parts: list[Any], side: int | None) -> list[list[np.ndarray[Any, Any]]] | None:
    """Each image as bytes (1, C, H, W); None where they keep their sizes and these differ."""
    size = None if side is None else (side, side)
    arrays = []
    for part in parts:
        images = []
        for number in range(len(part)):
            image: Image.Image = part[number][0]
            grey = image.mode in ("1", "L")
            image = image.convert("L") if grey else to_rgb(image, Path(f"image {number}"))
            if size is None:
                size = image.size
            if image.size != size:
                if side is None:
                    return None
                image = ImageOps.fit(image, size, Image.Resampling.BICUBIC)
            array = np.asarray(image, dtype=np.uint8)
            images.append(array[None, None] if grey else array.transpose(2, 0, 1)[None])
        arrays.append(images)
    return arrays


def _labels(part: Any, text: str) -> torch.Tensor:
    """The class of each image, int64 (N,)."""
    stored = getattr(part, "targets", getattr(part, "labels", getattr(part, "_labels", None)))
    if stored is None or len(stored) != len(part) or np.ndim(stored) != 1:
        stored = [part[number][1] for number in range(len(part))]
    labels = np.asarray(stored)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not len(labels) or labels.min() < 0:
        raise UsageError(f"{text}: its images do not have one class each")
    return torch.from_numpy(labels.astype(np.int64))


def _classes(part: Any, targets: Mapping[str, torch.Tensor]) -> tuple[str, ...]:
    """The names of the classes where the set has them for every label, else numbers."""
    count = max(int(labels.max()) for labels in targets.values()) + 1
    names = getattr(part, "classes", getattr(part, "categories", None))
    if isinstance(names, (list, tuple)) and len(names) >= count:
        return tuple(", ".join(name) if isinstance(name, tuple) else str(name) for name in names)
    return tuple(str(number) for number in range(count))


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
