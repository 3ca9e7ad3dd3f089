"""Tiny ImageNet as it is distributed: 200 classes of 64×64 photos, read by ``folder:PATH``.

Training images are ``train/<wnid>/images/*.JPEG``, with a file of bounding boxes beside the folder.
Validation images are ``val/images/*.JPEG`` with ``val/val_annotations.txt``, or sorted by class as
``val/<wnid>/…``. ``words.txt`` names the classes. ``test/`` has no labels and is not read: ``val/``
is the test set, and a tenth of the training images, drawn by class, is the validation set.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from advlab.data import splits
from advlab.data.formats.listing import Listing, entries, listing_of, looks_like_image
from advlab.errors import EnvironmentFailure, UsageError
from advlab.input_files import is_plain

_ANNOTATIONS = "val_annotations.txt"
_VAL_FRACTION = 0.1


def is_tiny_imagenet(root: Path) -> bool:
    """Return whether a folder has this layout.

    The layout is recognised by the annotations, by ``wnids.txt``, or by ``images/`` in a class.
    Without annotations, a folder whose ``test/`` is sorted by class has another one, since that of
    Tiny ImageNet has no labels.
    """
    if not (root / "train").is_dir():
        return False
    if (root / "val" / _ANNOTATIONS).is_file():
        return True
    if _is_sorted(root / "test", root / "train"):
        return False
    if (root / "wnids.txt").is_file():
        return True
    first = next((path for path in entries(root / "train") if path.is_dir()), None)
    return first is not None and (first / "images").is_dir()


def _is_sorted(folder: Path, training: Path) -> bool:
    """Whether a folder holds folders of classes of the training images."""
    return any((folder / path.name).is_dir() for path in entries(training) if path.is_dir())


def split_listings(root: Path, split_seed: int) -> list[Listing]:
    """List training, validation and test images.

    Raises:
        UsageError: a file or folder is missing or misplaced. The message names it.
        EnvironmentFailure: the annotations are damaged. The message names the line.
    """
    folders = [path for path in entries(root / "train") if path.is_dir()]
    if len(folders) < 2:
        raise UsageError(f"{root / 'train'}: {len(folders)} class(es); at least two are needed")
    identifiers = [path.name for path in folders]
    classes = _names(root / "words.txt", identifiers)
    train = listing_of(classes, [_images_of(folder) for folder in folders])
    if not (root / "val").is_dir():
        raise UsageError(
            f"{root}: has the layout of Tiny ImageNet but no val/, which is read as the test set "
            "because test/ has no labels"
        )
    test = listing_of(classes, _validation(root / "val", identifiers))
    train_index, val_index = splits.draw_fraction(
        train.labels, _VAL_FRACTION, split_seed, str(root / "train"), classes
    )
    unread = (root / "test",) if _is_sorted(root / "test", root / "train") else ()
    test = replace(test, skipped=(*test.skipped, *unread))
    return [train.select(train_index), train.select(val_index), test]


def _validation(folder: Path, identifiers: list[str]) -> list[list[Path]]:
    """Return the labelled images of ``val/``, by class."""
    if (folder / "images").is_dir():
        return _annotated(folder, identifiers)
    if missing := [name for name in identifiers if not (folder / name).is_dir()]:
        raise UsageError(
            f"{folder}: neither images/ with {_ANNOTATIONS}, nor a folder for the class "
            f"{missing[0]!r}"
        )
    return [_images_of(folder / name) for name in identifiers]


def _annotated(folder: Path, identifiers: list[str]) -> list[list[Path]]:
    """Return the images of ``val/images`` by class, as given by the annotations.

    A line of the annotations holds file name, class and bounding box, separated by tabs.
    """
    file = folder / _ANNOTATIONS
    if not is_plain(file):
        raise UsageError(f"{file} is missing; it holds the labels of {folder / 'images'}")
    files: dict[str, list[Path]] = {name: [] for name in identifiers}
    images = {path.name: path for path in entries(folder / "images")}
    for number, line in enumerate(_lines(file), start=1):
        if not line.strip():
            continue
        words = line.split("\t")
        if len(words) < 2:
            raise EnvironmentFailure(
                f"{file}:{number}: expected a file name and its class, separated by a tab, "
                f"not {line[:60]!r}"
            )
        name, label = words[0].strip(), words[1].strip()
        if label not in files:
            raise EnvironmentFailure(f"{file}:{number}: the class {label!r} is not in train/")
        if name not in images:
            raise EnvironmentFailure(
                f"{file}:{number}: {name!r} is not in images/, or is listed twice"
            )
        files[label].append(images.pop(name))
    if images:
        raise EnvironmentFailure(
            f"{file}: {len(images):,} images without a class, such as {next(iter(images))}"
        )
    for name, paths in files.items():
        if not paths:
            raise EnvironmentFailure(f"{file}: no image of the class {name}")
    return [sorted(paths) for paths in files.values()]


def _images_of(folder: Path) -> list[Path]:
    """Return the images of a class, in its folder or in ``images/`` with bounding boxes beside."""
    inner = folder / "images"
    outer = [
        path for path in entries(folder) if path != inner and not path.name.endswith("_boxes.txt")
    ]
    if inner.is_dir() and outer:
        raise UsageError(
            f"{outer[0]}: only a file of bounding boxes (*_boxes.txt) is allowed beside {inner}"
        )
    paths = entries(inner) if inner.is_dir() else outer
    for path in paths:
        if path.is_dir() or not looks_like_image(path):
            raise UsageError(f"{path}: not an image; move it elsewhere")
    if not paths:
        raise UsageError(f"{folder}: a class without images")
    return paths


def _names(file: Path, identifiers: list[str]) -> tuple[str, ...]:
    """Return the first name of each class in ``words.txt``.

    Classes without a name are called by their identifier, which is also appended to a name that
    several classes share.
    """
    if not is_plain(file):
        return tuple(identifiers)
    rows = (line.partition("\t") for line in _lines(file))
    first_names = {wnid.strip(): synset.split(",")[0].strip() for wnid, _, synset in rows}
    names = [first_names.get(wnid) or wnid for wnid in identifiers]
    return tuple(
        f"{name} ({wnid})" if names.count(name) > 1 else name
        for name, wnid in zip(names, identifiers, strict=True)
    )


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise EnvironmentFailure(f"{file}: not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror})") from error
