"""``npz:FILE``: a data set of images in a NumPy archive.

The archive holds ``images`` and ``labels``, which are split by class with ``--split-seed`` into
80 % training, 10 % validation and 10 % test; or it holds ``x_test`` and ``y_test``, optionally with
``x_train`` and ``y_train``, and with ``x_val`` and ``y_val``. ``x`` and ``y``, ``data`` and
``targets`` are understood for ``images`` and ``labels``. An optional array ``classes`` names the
classes.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from advlab.data.image_set import Images, ImageSet, split_parts
from advlab.errors import EnvironmentFailure, UsageError
from advlab.input_files import is_plain

_PAIRS = (("images", "labels"), ("x", "y"), ("X", "y"), ("data", "targets"), ("data", "labels"))
_CONTENT = (
    "an archive holds images and labels, or x_test and y_test, optionally with x_train, y_train, "
    "x_val and y_val"
)
_CHANNELS = (1, 3)
_LEVELS = 255
_ZIP = b"PK\x03\x04"  # what an archive begins with

Archive = Mapping[str, NDArray[Any]]


def load(file: Path, split_seed: int) -> ImageSet:
    """Load the images of an archive into memory.

    Images have the shape (N, H, W), (N, H, W, C) or (N, C, H, W) with one or three channels. They
    are bytes, or floats in [0, 1], which are rounded to bytes. Labels are integers or texts.

    An archive with test images only has no training images: networks can be attacked and evaluated
    on it, and not trained.

    Raises:
        UsageError: the file is missing or does not hold such arrays. The message names the array.
        EnvironmentFailure: the file is damaged.
    """
    if not is_plain(file):
        raise UsageError(f"npz: no file at {file}")
    arrays = _read(file)
    pair = next((pair for pair in _PAIRS if set(pair) <= arrays.keys()), None)
    names: dict[str, tuple[str, str]]
    if "x_test" in arrays:
        names = {
            part: (f"x_{part}", f"y_{part}")
            for part in ("train", "val", "test")
            if f"x_{part}" in arrays
        }
    elif pair is not None:
        names = {"all": pair}
    else:
        raise UsageError(f"{file}: holds {', '.join(arrays) or 'nothing'}; {_CONTENT}")
    remarks: list[str] = []
    pixels: dict[str, torch.Tensor] = {}
    labels: dict[str, NDArray[Any]] = {}
    for part, (of_images, of_labels) in names.items():
        if of_labels not in arrays:
            raise UsageError(f"{file}: {of_images} without {of_labels}; {_CONTENT}")
        pixels[part] = _pixels(file, of_images, arrays[of_images], remarks)
        labels[part] = _labels(file, of_labels, arrays[of_labels], len(pixels[part]))
    shapes = {tuple(one.shape[1:]) for one in pixels.values()}
    if len(shapes) > 1:
        raise UsageError(f"{file}: the images of its parts have several shapes: {sorted(shapes)}")
    classes, numbers = _numbered(file, arrays, labels)
    parts = {part: Images(pixels[part], torch.from_numpy(numbers[part])) for part in names}
    train, val, test = split_parts(parts, split_seed, str(file))
    origin = f"{file.name}, {len(train) + len(val):,} + {len(test):,} images from an archive"
    return ImageSet(f"npz:{file}", classes, train, val, test, origin, remarks=tuple(remarks))


def _read(file: Path) -> Archive:
    if not zipfile.is_zipfile(file):  # NumPy takes any other file for Python objects
        with file.open("rb") as opened:
            cut_off = opened.read(len(_ZIP)) == _ZIP
        if cut_off:
            raise EnvironmentFailure(f"{file}: an archive of NumPy arrays that is cut off")
        raise UsageError(f"{file}: is no archive of NumPy arrays, as np.savez writes it")
    try:
        with np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except ValueError as error:
        if "pickle" in str(error).lower():
            raise UsageError(
                f"{file}: holds Python objects, which are code; save plain arrays"
            ) from error
        raise EnvironmentFailure(f"{file}: no archive of NumPy arrays ({error})") from error
    except (OSError, zipfile.BadZipFile, EOFError, KeyError, AttributeError) as error:
        text = " ".join(str(error).split())[:200]
        raise EnvironmentFailure(f"{file}: no archive of NumPy arrays ({text})") from error


def _pixels(file: Path, name: str, array: NDArray[Any], remarks: list[str]) -> torch.Tensor:
    """Images as bytes (N, C, H, W)."""
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4 and array.shape[1] not in _CHANNELS and array.shape[3] in _CHANNELS:
        array = array.transpose(0, 3, 1, 2)
    if array.ndim != 4 or array.shape[1] not in _CHANNELS or 0 in array.shape:
        raise UsageError(
            f"{file}: {name} has the shape {array.shape}; images have (N, H, W), (N, H, W, C) or "
            "(N, C, H, W) with one or three channels"
        )
    if array.dtype == np.uint8:
        return torch.from_numpy(np.ascontiguousarray(array))
    if array.dtype.kind != "f":
        raise UsageError(
            f"{file}: {name} holds {array.dtype}; images are uint8 or floats in [0, 1]"
        )
    if not bool(((array >= 0) & (array <= 1)).all()):  # False for NaN
        raise UsageError(
            f"{file}: {name} holds values outside [0, 1]; floats are in [0, 1], bytes are uint8"
        )
    levels = np.round(array * _LEVELS)
    farthest = float(np.abs(levels / _LEVELS - array).max())
    if farthest > 1e-6:
        remarks.append(f"{name} was rounded to 256 levels, by {farthest:.1g} at most")
    return torch.from_numpy(np.ascontiguousarray(levels.astype(np.uint8)))


def _labels(file: Path, name: str, array: NDArray[Any], count: int) -> NDArray[Any]:
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.shape != (count,) or array.dtype.kind not in "iuUS":
        raise UsageError(
            f"{file}: {name} holds {array.dtype} of the shape {array.shape}; labels are integers "
            f"or texts, one for each of the {count:,} images"
        )
    return array.astype(str) if array.dtype.kind == "S" else array


def _numbered(
    file: Path, arrays: Archive, labels: Mapping[str, NDArray[Any]]
) -> tuple[tuple[str, ...], dict[str, NDArray[np.int64]]]:
    """Class names, and the labels of each part as their numbers."""
    present = np.unique(np.concatenate(list(labels.values())))
    if "classes" in arrays:
        classes = tuple(map(str, arrays["classes"].tolist()))
        if present.dtype.kind in "iu":
            if present.min() < 0 or present.max() >= len(classes):
                raise UsageError(
                    f"{file}: a label is {int(present.max())}, and classes names {len(classes)}"
                )
            return classes, {part: one.astype(np.int64) for part, one in labels.items()}
        if unknown := sorted(set(present.tolist()) - set(classes)):
            raise UsageError(f"{file}: the label {unknown[0]!r} is not among classes")
        order = {name: number for number, name in enumerate(classes)}
    elif present.dtype.kind in "iu" and present.min() >= 0 and present.max() < 10 * len(present):
        # A class that no image has is a class all the same.
        classes = tuple(str(number) for number in range(int(present.max()) + 1))
        return classes, {part: one.astype(np.int64) for part, one in labels.items()}
    else:
        classes = tuple(map(str, present.tolist()))
        order = {name: number for number, name in enumerate(present.tolist())}
    return classes, {
        part: np.asarray([order[name] for name in one.tolist()], dtype=np.int64)
        for part, one in labels.items()
    }
