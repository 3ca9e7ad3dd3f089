"""Reader of text data sets in folders: one sub-folder per class and one text per file.

The sub-folders are in the folder itself, or in ``train/`` and ``test/``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from advlab.errors import EnvironmentFailure, UsageError
from advlab.input_files import is_plain
from advlab.progress import with_progress

_LAYOUT = (
    "a folder holds one sub-folder per class with .txt files in it, or train/ and test/ with "
    "such sub-folders"
)
_MAX_BYTES = 1_000_000  # of a text file


def has_train_and_test(root: Path) -> bool:
    """Return whether the folder holds ``train/`` and ``test/``.

    Raises:
        UsageError: the folder does not exist.
    """
    if not root.is_dir():
        raise UsageError(f"folder: {root} " + ("is a file" if root.exists() else "does not exist"))
    return (root / "train").is_dir() and (root / "test").is_dir()


def classes_of(root: Path) -> tuple[str, ...]:
    """Return the names of the sub-folders that hold texts, sorted.

    Raises:
        UsageError: there are fewer than two.
    """
    names = sorted(
        path.name
        for path in root.iterdir()
        if path.is_dir() and not path.name.startswith(".") and any(path.glob("*.txt"))
    )
    if len(names) < 2:
        problem = f"{names[0]!r} is the only class" if names else "no texts"
        raise UsageError(f"{root}: {problem}; {_LAYOUT}")
    return tuple(names)


def read(root: Path, classes: Sequence[str]) -> tuple[list[str], list[int], int]:
    """Read the texts in the folders of the classes, sorted by class and file name.

    Returns:
        The texts, their labels, and the number of empty files, which are left out.

    Raises:
        UsageError: a file is not text. The message names it.
        EnvironmentFailure: a file cannot be read.
    """
    files = [
        (path, label)
        for label, name in enumerate(classes)
        for path in sorted((root / name).glob("*.txt"))
    ]
    texts: list[str] = []
    labels: list[int] = []
    for path, label in with_progress(files, root.name, "texts"):
        text = _text(path)
        if text:
            texts.append(text)
            labels.append(label)
    return texts, labels, len(files) - len(texts)


def _text(path: Path) -> str:
    is_plain(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise EnvironmentFailure(f"{path}: {error.strerror}") from error
    if len(content) > _MAX_BYTES:
        raise UsageError(f"{path}: {len(content):,} bytes; a text may have {_MAX_BYTES:,} at most")
    if b"\0" in content:
        raise UsageError(f"{path}: a NUL character; the file is not text")
    try:
        return content.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path}: not UTF-8 text (byte {content[error.start]:#04x}); save it as UTF-8"
        ) from error
