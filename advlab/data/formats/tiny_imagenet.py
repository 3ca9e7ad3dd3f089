"""Tiny ImageNet as it is distributed: 200 classes of 64×64 photos, read by ``folder:PATH``.

``train/<wnid>/images/*.JPEG`` with a file of boxes beside; ``val/images/*.JPEG`` with
``val/val_annotations.txt``, or sorted by class as many people have it, ``val/<wnid>/…``; names of
the classes in ``words.txt``. ``test/`` comes without labels and is not looked at: ``val/`` takes
its place, and a tenth of the training images, drawn by class, validates.
"""

from __future__ import annotations

from pathlib import Path

from advlab.data import splits
from advlab.data.formats.listing import Listing, entries, listed, looks_like_image
from advlab.errors import EnvironmentFailure, UsageError
from advlab.input_files import is_plain

_ANNOTATIONS = "val_annotations.txt"
_SHARE = 0.1


def recognised(root: Path) -> bool:
    """Whether the folder is laid out so: by the files that only this set has, or by the images'
    folder within a class."""
    if not (root / "train").is_dir():
        return False
    if (root / "wnids.txt").is_file() or (root / "val" / _ANNOTATIONS).is_file():
        return True
    first = next((path for path in entries(root / "train") if path.is_dir()), None)
    return first is not None and (first / "images").is_dir()


def parts(root: Path, split_seed: int) -> list[Listing]:
    """Training, validation and test images.

    Raises:
        UsageError: something is not where it belongs; the line names it.
        EnvironmentFailure: the annotations are damaged; the line says where.
    """
    folders = [path for path in entries(root / "train") if path.is_dir()]
    if len(folders) < 2:
        raise UsageError(f"{root / 'train'}: {len(folders)} class(es); two are needed at least")
    identifiers = [path.name for path in folders]
    classes = _names(root / "words.txt", identifiers)
    train = listed(classes, [_images_of(folder) for folder in folders])
    if not (root / "val").is_dir():
        raise UsageError(
            f"{root}: looks like Tiny ImageNet, but has no val/, which serves as the test images "
            "(test/ has no labels)"
        )
    test = listed(classes, _validation(root / "val", identifiers))
    kept, held_out = splits.draw_share(train.labels, _SHARE, split_seed, str(root / "train"))
    return [train.some(kept), train.some(held_out), test]


def _validation(folder: Path, identifiers: list[str]) -> list[list[Path]]:
    """The labelled images of ``val/``, by class."""
    if (folder / "images").is_dir():
        return _annotated(folder, identifiers)
    if missing := [name for name in identifiers if not (folder / name).is_dir()]:
        raise UsageError(
            f"{folder}: neither images/ with {_ANNOTATIONS}, nor a folder for the class "
            f"{missing[0]!r}"
        )
    return [_images_of(folder / name) for name in identifiers]


def _annotated(folder: Path, identifiers: list[str]) -> list[list[Path]]:
    """The images of ``val/images``, sorted by what the annotations say of each: a line of file,
    class and a box, with tabs between."""
    file = folder / _ANNOTATIONS
    if not is_plain(file):
        raise UsageError(
            f"{file}: is missing; without it nobody knows what {folder / 'images'} shows"
        )
    files: dict[str, list[Path]] = {name: [] for name in identifiers}
    images = {path.name: path for path in entries(folder / "images")}
    for number, line in enumerate(_lines(file), start=1):
        if not line.strip():
            continue
        words = line.split("\t")
        if len(words) < 2:
            raise EnvironmentFailure(
                f"{file}:{number}: should be a file and its class with a tab between, not "
                f"{line[:60]!r}"
            )
        name, label = words[0].strip(), words[1].strip()
        if label not in files:
            raise EnvironmentFailure(f"{file}:{number}: there is no class {label!r} in train/")
        if name not in images:
            raise EnvironmentFailure(
                f"{file}:{number}: {name!r} is not in images/, or stands here twice"
            )
        files[label].append(images.pop(name))
    if images:
        raise EnvironmentFailure(
            f"{file}: does not say what {next(iter(images))} shows ({len(images):,} images "
            "without a class)"
        )
    for name, found in files.items():
        if not found:
            raise EnvironmentFailure(f"{file}: no image of the class {name}")
    return [sorted(found) for found in files.values()]


def _images_of(folder: Path) -> list[Path]:
    """The images of a class's folder, which hold them themselves or in ``images/``; a file of boxes
    may lie beside."""
    inner = folder / "images"
    beside = [
        path for path in entries(folder) if path != inner and not path.name.endswith("_boxes.txt")
    ]
    if inner.is_dir() and beside:
        raise UsageError(f"{beside[0]}: beside {inner} there may only be a file of boxes")
    found = entries(inner) if inner.is_dir() else beside
    for path in found:
        if path.is_dir() or not looks_like_image(path):
            raise UsageError(f"{path}: not an image; move it elsewhere")
    if not found:
        raise UsageError(f"{folder}: a class without an image")
    return found


def _names(file: Path, identifiers: list[str]) -> tuple[str, ...]:
    """What ``words.txt`` calls the classes, by the first of their names; those that would share
    one, and the unnamed, by number."""
    if not is_plain(file):
        return tuple(identifiers)
    pairs = (line.partition("\t") for line in _lines(file))
    words = {number.strip(): meaning.split(",")[0].strip() for number, _, meaning in pairs}
    found = [words.get(number) or number for number in identifiers]
    return tuple(
        f"{name} ({number})" if found.count(name) > 1 else name
        for name, number in zip(found, identifiers, strict=True)
    )


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise EnvironmentFailure(f"{file}: is not text (byte {error.start})") from error
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror})") from error
