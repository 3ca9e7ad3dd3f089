"""Reader of text data sets in folders: one sub-folder per class and one text per file.

The sub-folders are in the folder itself, or in ``train/``, ``test/`` and perhaps ``val/``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from advlab.data.formats import text_file
from advlab.data.formats.listing import (
    files_of_classes,
    given_splits,
    skipped_remark,
)
from advlab.errors import EnvironmentFailure, UsageError
from advlab.progress import with_progress

_LAYOUT = (
    "a folder holds one sub-folder per class with .txt files in it, or train/ and test/ with "
    "such sub-folders"
)
_MAX_BYTES = 1_000_000  # of a text file


@dataclass(frozen=True)
class TextFiles:
    """Texts of a folder, sorted by class and file name.

    Attributes:
        classes: class names by label.
        texts: the texts, stripped of surrounding white space.
        labels: the label of each text.
        empty: number of empty files, which are left out.
        skipped: other files.
    """

    classes: tuple[str, ...]
    texts: list[str]
    labels: list[int]
    empty: int
    skipped: tuple[Path, ...]


@dataclass(frozen=True)
class TextSplits:
    """The texts of a folder by split; None for a split that the folder does not define.

    Attributes:
        remarks: what a reader of the figures should know of the folder, a sentence each.
    """

    train: TextFiles
    val: TextFiles | None
    test: TextFiles | None
    remarks: tuple[str, ...]


_TEXTS = "files that end in .txt"


def read(root: Path) -> TextSplits:
    """Read the texts of a folder: its classes, or ``train/``, ``test/`` and perhaps ``val/``.

    Raises:
        UsageError: the folder does not exist, has another layout, or a part of it cannot be read
            by ``read_classes``. The message names the path at fault.
        EnvironmentFailure: a file cannot be read.
    """
    if not root.is_dir():
        raise UsageError(f"folder: {root} " + ("is a file" if root.exists() else "does not exist"))
    split_folders = given_splits(root, _LAYOUT)
    if split_folders is None:
        train = read_classes(root)
        return TextSplits(train, None, None, skipped_remark(train.skipped, root, _TEXTS))
    folders, beside = split_folders
    parts = {name: read_classes(folder) for name, folder in folders.items()}
    skipped = [*beside, *(path for part in parts.values() for path in part.skipped)]
    return TextSplits(
        parts["train"], parts.get("val"), parts["test"], skipped_remark(skipped, root, _TEXTS)
    )


def read_classes(root: Path, only: Sequence[str] | None = None) -> TextFiles:
    """Read the texts in the sub-folders of a folder, each of which is a class.

    Files count as texts if their names end in ``.txt``, in any case. Sub-folders of a class belong
    to it. Hidden files are left out, and other files are listed as skipped.

    Args:
        only: the classes that are read, in their order; all of the folder if not given.

    Raises:
        UsageError: there are fewer than two classes, a class without texts, or a file that is not
            text. The message names it.
        EnvironmentFailure: a file cannot be read.
    """
    by_class = files_of_classes(root, _looks_like_text)
    classes = tuple(by_class.files if only is None else only)
    files = {name: by_class.files.get(name, []) for name in classes}
    if not any(files.values()):
        raise UsageError(f"{root}: no texts; {_LAYOUT}")
    for name, paths in files.items():
        if not paths:
            raise UsageError(
                f"{root / name}: a class without texts; add .txt files or remove the folder"
            )
    if len(classes) < 2:
        raise UsageError(f"{root}: {classes[0]!r} is the only class; at least two are needed")
    numbered = [(path, label) for label, name in enumerate(classes) for path in files[name]]
    texts: list[str] = []
    labels: list[int] = []
    for path, label in with_progress(numbered, root.name, "texts"):
        if text := _text(path):
            texts.append(text)
            labels.append(label)
    if without := sorted(set(range(len(classes))) - set(labels)):
        raise UsageError(f"{root / classes[without[0]]}: a class whose files are all empty")
    return TextFiles(classes, texts, labels, len(numbered) - len(texts), tuple(by_class.skipped))


def _looks_like_text(path: Path) -> bool:
    return path.suffix.lower() == ".txt"


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise EnvironmentFailure(f"{path}: {error.strerror}") from error
    if len(content) > _MAX_BYTES:
        raise UsageError(f"{path}: {len(content):,} bytes; a text may have {_MAX_BYTES:,} at most")
    encoding = text_file.by_mark(content)
    try:
        text = content.decode(encoding).strip()
    except UnicodeDecodeError as error:
        name = "UTF-8" if encoding == "utf-8-sig" else encoding.upper()
        raise UsageError(
            f"{path}: not {name} text (byte {content[error.start]:#04x}); save it as UTF-8"
        ) from error
    if "\0" in text:
        raise UsageError(f"{path}: a NUL character; the file is not text")
    return text
