"""``npz:FILE``: a data set of images in a NumPy archive.

The archive holds ``images`` and ``labels``, which are split by class with ``--split-seed`` into
80 % training, 10 % validation and 10 % test; or it holds ``x_test`` and ``y_test``, optionally with
``x_train`` and ``y_train``, and with ``x_val`` and ``y_val``. ``x`` and ``y``, ``data`` and
``targets`` are understood for ``images`` and ``labels``; the words of ``split_words`` for a part,
before or after these, such as ``train_images``; and all of them in any letter case. An optional
array ``classes`` names the classes. Every other array is named in a remark, and not read.

Images are read some at a time, so that beside their bytes little more is ever in memory.
"""

from __future__ import annotations

import contextlib
import math
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray

from advlab.data import label_names, split_words, storage
from advlab.data.image_set import Images, ImageSet, split_parts
from advlab.errors import EnvironmentFailure, UsageError
from advlab.input_files import is_plain

_IMAGES, _LABELS = "images", "labels"
_WORDS = {
    **dict.fromkeys(("images", "image", "x", "data"), _IMAGES),
    **dict.fromkeys(("labels", "label", "y", "targets", "target"), _LABELS),
}
_WHOLE = "all"  # the part of arrays whose names tell none
_CLASSES = "classes"
_CONTENT = (
    "an archive holds images and labels, or x_test and y_test, optionally with x_train, y_train, "
    "x_val and y_val"
)
_CHANNELS = (1, 3)
_LEVELS = 255
_ZIP = b"PK\x03\x04"  # what an archive begins with
_ARRAY = ".npy"  # what the name of an array in it ends in
_MAGIC = np.lib.format.MAGIC_PREFIX  # what an array begins with
_MOST_DEFLATED = 1032  # bytes that one byte of an archive may stand for
_CHUNK = 64_000_000  # bytes of an array that are read at a time
_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
    # The same, with names of fields beyond Latin-1, which images and labels do not have.
    (3, 0): np.lib.format.read_array_header_2_0,
}


@dataclass(frozen=True)
class Stored:
    """An array of an archive, of which its head alone was read.

    Attributes:
        file: the archive.
        name: the array's name.
        member: the name of its file within the archive.
        shape, dtype: the array's own.
        in_rows: whether it is stored row by row, so that it can be read in parts.
    """

    file: Path
    name: str
    member: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    in_rows: bool

    def read(self) -> NDArray[Any]:
        """The whole array."""
        if self.dtype.hasobject:
            raise UsageError(
                f"{self.file}: holds Python objects, which are code; save plain arrays"
            )
        with _damage_named(self.file), _opened(self.file, self.member) as stream:
            array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
        return array

    def parts(self) -> Iterator[NDArray[Any]]:
        """The array in parts of some rows each, in their order."""
        if not self.in_rows:
            yield self.read()
            return
        row = self.dtype.itemsize * math.prod(self.shape[1:])
        rows = max(1, _CHUNK // max(1, row))
        with _damage_named(self.file), _opened(self.file, self.member) as stream:
            _head(stream)
            for start in range(0, self.shape[0], rows):
                count = min(rows, self.shape[0] - start)
                content = stream.read(count * row)
                if len(content) < count * row:
                    raise EOFError(f"{self.name} is cut off")
                yield np.frombuffer(content, self.dtype).reshape(count, *self.shape[1:])


Archive = Mapping[str, Stored]


def load(file: Path, split_seed: int) -> ImageSet:
    """Load the images of an archive into memory.

    Images have the shape (N, H, W), (N, H, W, C) or (N, C, H, W) with one or three channels. They
    are bytes, or floats in [0, 1], which are rounded to bytes. Labels are integers or texts.

    An archive with test images only has no training images: networks can be attacked and evaluated
    on it, and not trained.

    Raises:
        UsageError: the file is missing, does not hold such arrays, or holds two for one purpose.
            The message names the array.
        EnvironmentFailure: the file is damaged.
    """
    if not is_plain(file):
        raise UsageError(f"npz: no file at {file}")
    present = _members(file)
    names = _arrays_of_parts(file, present)
    read = {name for pair in names.values() for name in pair} | {_CLASSES}
    arrays = {name: _stored(file, name, member) for name, member in present.items() if name in read}
    remarks: list[str] = []
    if unread := [name for name in present if name not in read]:
        remarks.append(f"arrays that were not read: {', '.join(unread)}")
    pixels: dict[str, torch.Tensor] = {}
    labels: dict[str, NDArray[Any]] = {}
    for part, (of_images, of_labels) in names.items():
        pixels[part] = _pixels(arrays[of_images], remarks)
        labels[part] = _labels(file, of_labels, arrays[of_labels].read(), len(pixels[part]))
    shapes = {tuple(one.shape[1:]) for one in pixels.values()}
    if len(shapes) > 1:
        raise UsageError(f"{file}: the images of its parts have several shapes: {sorted(shapes)}")
    _check_kinds(file, {names[part][1]: array for part, array in labels.items()})
    classes, numbers = _numbered(file, arrays, labels)
    parts = {part: Images(pixels[part], torch.from_numpy(numbers[part])) for part in names}
    train, val, test = split_parts(parts, split_seed, str(file), classes)
    origin = f"{file.name}, {len(train) + len(val):,} + {len(test):,} images from an archive"
    return ImageSet(f"npz:{file}", classes, train, val, test, origin, remarks=tuple(remarks))


def _arrays_of_parts(file: Path, arrays: Collection[str]) -> dict[str, tuple[str, str]]:
    """The names of the images and of the labels of each part.

    Raises:
        UsageError: an array is missing, two serve one purpose, or none is for testing.
    """
    by_role: dict[tuple[str, str], str] = {}
    for name in arrays:
        if (role := _role(name)) is None:
            continue
        if role in by_role:
            part = "" if role[0] == _WHOLE else f" {role[0]}"
            raise UsageError(
                f"{file}: {by_role[role]} and {name} both name the{part} {role[1]}; leave one out"
            )
        by_role[role] = name
    parts = {part for part, _ in by_role}
    if not parts & {_WHOLE, "test"}:
        raise UsageError(f"{file}: holds {', '.join(arrays) or 'nothing'}; {_CONTENT}")
    if _WHOLE in parts and len(parts) > 1:
        whole = next(name for (part, _), name in by_role.items() if part == _WHOLE)
        other = next(name for (part, _), name in by_role.items() if part != _WHOLE)
        raise UsageError(
            f"{file}: holds {whole}, which would be split, and {other}, which is a part already; "
            "leave one of them out"
        )
    for (part, kind), name in by_role.items():
        missing = _LABELS if kind == _IMAGES else _IMAGES
        if (part, missing) not in by_role:
            raise UsageError(f"{file}: {name} without its {missing}; {_CONTENT}")
    order = [part for part in (_WHOLE, *split_words.PARTS) if part in parts]
    return {part: (by_role[part, _IMAGES], by_role[part, _LABELS]) for part in order}


def _role(name: str) -> tuple[str, str] | None:
    """The part that an array belongs to, and whether it holds images or labels; None where its name
    does not tell."""
    words = name.lower().split("_")
    parts = [part for word in words if (part := split_words.part_of(word)) is not None]
    others = [word for word in words if split_words.part_of(word) is None]
    if len(parts) > 1 or len(others) != 1 or others[0] not in _WORDS:
        return None
    return (parts[0] if parts else _WHOLE), _WORDS[others[0]]


def _members(file: Path) -> dict[str, str]:
    """The file within the archive of each array, by the array's name.

    NumPy ends the names of such files in ``.npy``; other programs may leave it out.

    Raises:
        UsageError: two arrays have one name.
    """
    if not zipfile.is_zipfile(file):  # NumPy takes any other file for Python objects
        with file.open("rb") as opened:
            cut_off = opened.read(len(_ZIP)) == _ZIP
        if cut_off:
            raise EnvironmentFailure(f"{file}: an archive of NumPy arrays that is cut off")
        raise UsageError(f"{file}: is no archive of NumPy arrays, as np.savez writes it")
    with _damage_named(file), zipfile.ZipFile(file) as archive:
        members = [
            name
            for name in archive.namelist()
            if name.endswith(_ARRAY) or _holds_array(archive, name)
        ]
    named = {member.removesuffix(_ARRAY): member for member in members}
    if len(named) < len(members):
        twice = Counter(member.removesuffix(_ARRAY) for member in members).most_common(1)[0][0]
        raise UsageError(f"{file}: holds two arrays of the name {twice}; leave one out")
    return named


def _holds_array(archive: zipfile.ZipFile, member: str) -> bool:
    """Whether a file of an archive begins as an array does."""
    with archive.open(member) as stream:
        return stream.read(len(_MAGIC)) == _MAGIC


@contextlib.contextmanager
def _damage_named(file: Path) -> Iterator[None]:
    """Within it, what NumPy and zipfile find wrong with an archive is told in a line."""
    try:
        yield
    except (
        ValueError,
        OSError,
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        KeyError,
        AttributeError,
        RuntimeError,  # encrypted, or compressed in a way that is not known here
    ) as error:
        text = " ".join(str(error).split())[:200]
        raise EnvironmentFailure(f"{file}: no archive of NumPy arrays ({text})") from error


@contextlib.contextmanager
def _opened(file: Path, name: str) -> Iterator[IO[bytes]]:
    """The stream of an array within the archive."""
    with zipfile.ZipFile(file) as archive, archive.open(name) as stream:
        yield stream


def _stored(file: Path, name: str, member: str) -> Stored:
    """What the head of an array says.

    Raises:
        EnvironmentFailure: it says more than the archive holds, for which no memory is taken.
    """
    with _damage_named(file), zipfile.ZipFile(file) as archive, archive.open(member) as stream:
        shape, by_columns, dtype = _head(stream)
        stated = archive.getinfo(member).file_size - stream.tell()
        held = min(stated, _MOST_DEFLATED * file.stat().st_size)
        if any(type(length) is not int for length in shape):  # True is one, as numbers go
            raise ValueError(f"{name} has the shape {shape}")
        if not dtype.hasobject and dtype.itemsize * math.prod(shape) > held:
            raise EOFError(f"{name} is cut off")
    return Stored(file, name, member, shape, dtype, in_rows=not by_columns and not dtype.hasobject)


def _head(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether columns are stored one after the other, and type of an array."""
    version = np.lib.format.read_magic(stream)
    if version not in _READERS:
        raise ValueError(f"an array of the unknown version {version[0]}.{version[1]}")
    return _READERS[version](stream)


def _pixels(stored: Stored, remarks: list[str]) -> torch.Tensor:
    """Images as bytes (N, C, H, W)."""
    file, name, shape = stored.file, stored.name, stored.shape
    if stored.dtype.hasobject:
        stored.read()  # refused there
    channels_last = len(shape) == 4 and shape[1] not in _CHANNELS and shape[3] in _CHANNELS
    if len(shape) == 3:
        shape = (shape[0], 1, *shape[1:])
    elif channels_last:
        shape = (shape[0], shape[3], *shape[1:3])
    if len(shape) != 4 or shape[1] not in _CHANNELS or min(shape) < 1:
        raise UsageError(
            f"{file}: {name} has the shape {stored.shape}; images have (N, H, W), (N, H, W, C) or "
            "(N, C, H, W) with one or three channels"
        )
    if stored.dtype != np.uint8 and stored.dtype.kind != "f":
        raise UsageError(
            f"{file}: {name} holds {stored.dtype}; images are uint8 or floats in [0, 1]"
        )
    pixels = storage.empty(shape)
    start, farthest = 0, 0.0
    for part in stored.parts():
        stop = start + len(part)
        if part.dtype.kind == "f":
            part, distance = _levels(file, name, part)
            farthest = max(farthest, distance)
        if channels_last:
            part = part.transpose(0, 3, 1, 2)
        pixels[start:stop].numpy()[...] = part.reshape(stop - start, *shape[1:])
        start = stop
    if farthest > 1e-6:
        remarks.append(f"{name} was rounded to 256 levels, by {farthest:.1g} at most")
    return pixels


def _levels(file: Path, name: str, values: NDArray[Any]) -> tuple[NDArray[np.uint8], float]:
    """Floats in [0, 1] as bytes, and how far the farthest was from its byte."""
    if bool(np.isnan(values).any()):
        raise UsageError(f"{file}: {name} holds NaN, which is no value of a pixel")
    if not bool(((values >= 0) & (values <= 1)).all()):
        raise UsageError(
            f"{file}: {name} holds values outside [0, 1]; floats are in [0, 1], bytes are uint8"
        )
    levels = np.round(values * _LEVELS)
    return levels.astype(np.uint8), float(np.abs(levels / _LEVELS - values).max())


def _labels(file: Path, name: str, array: NDArray[Any], count: int) -> NDArray[Any]:
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.shape != (count,) or array.dtype.kind not in "iuUS":
        raise UsageError(
            f"{file}: {name} holds {array.dtype} of the shape {array.shape}; labels are integers "
            f"or texts, one for each of the {count:,} images"
        )
    return _as_text(file, name, array)


def _as_text(file: Path, name: str, array: NDArray[Any]) -> NDArray[Any]:
    """Bytes as text; any other array as it is."""
    if array.dtype.kind != "S":
        return array
    try:
        return np.char.decode(array, "utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{file}: {name} holds bytes that are not UTF-8 text") from error


def _check_kinds(file: Path, labels: Mapping[str, NDArray[Any]]) -> None:
    """Refuse labels that are numbers in one part and texts in another, or that stand for none."""
    texts = [name for name, array in labels.items() if array.dtype.kind == "U"]
    if numbers := [name for name in labels if name not in texts] if texts else []:
        raise UsageError(f"{file}: {numbers[0]} holds integers, and {texts[0]} texts")
    for name in texts:
        if missing := [one for one in labels[name].tolist() if label_names.is_missing(one)]:
            raise UsageError(f"{file}: {name} holds {missing[0]!r}, which is no label")


def _numbered(
    file: Path, arrays: Archive, labels: Mapping[str, NDArray[Any]]
) -> tuple[tuple[str, ...], dict[str, NDArray[np.int64]]]:
    """Class names, and the labels of each part as their numbers."""
    if all(one.dtype.kind in "iu" for one in labels.values()):
        # Together, signed and unsigned integers of 64 bits would become floating numbers.
        labels = {part: _signed(file, one) for part, one in labels.items()}
    present = np.unique(np.concatenate(list(labels.values())))
    if _CLASSES in arrays:
        classes = _class_names(file, arrays[_CLASSES].read())
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


def _signed(file: Path, labels: NDArray[Any]) -> NDArray[np.int64]:
    """Labels as int64.

    Raises:
        UsageError: one of them is too large.
    """
    if labels.dtype.kind == "u" and len(labels) and int(labels.max()) > np.iinfo(np.int64).max:
        raise UsageError(f"{file}: the label {int(labels.max())} is too large")
    return labels.astype(np.int64)


def _class_names(file: Path, array: NDArray[Any]) -> tuple[str, ...]:
    """The names in ``classes``.

    Raises:
        UsageError: they are no names, or two are equal.
    """
    if array.ndim != 1 or array.dtype.kind not in "iuUS":
        raise UsageError(
            f"{file}: {_CLASSES} holds {array.dtype} of the shape {array.shape}; it names each "
            "class once"
        )
    names = tuple(map(str, _as_text(file, _CLASSES, array).tolist()))
    if twice := [name for number, name in enumerate(names) if name in names[:number]]:
        raise UsageError(f"{file}: {_CLASSES} holds {twice[0]!r} twice; each class needs its name")
    return names
