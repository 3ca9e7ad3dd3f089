"""Data sets of texts in folders: one sub-folder per class and one text per file.

The sub-folders lie in the folder itself, or in ``train/`` and ``test/``.
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
_LARGEST = 1_000_000  # bytes; no review is so long


def given_parts(root: Path) -> bool:
    """Whether training and test texts lie apart.

    Raises:
        UsageError: there is no such folder.
    """
    if not root.is_dir():
        raise UsageError(f"folder: no folder at {root}" + (" (a file)" if root.exists() else ""))
    return (root / "train").is_dir() and (root / "test").is_dir()


def classes_of(root: Path) -> tuple[str, ...]:
    """Names of the sub-folders with texts in them, sorted.

    Raises:
        UsageError: there are fewer than two.
    """
    found = sorted(
        path.name
        for path in root.iterdir()
        if path.is_dir() and not path.name.startswith(".") and any(path.glob("*.txt"))
    )
    if len(found) < 2:
        raise UsageError(
            f"{root}: "
            + (f"{found[0]!r} is its only class" if found else "no texts")
            + f"; {_LAYOUT}"
        )
    return tuple(found)


def read(root: Path, classes: Sequence[str]) -> tuple[list[str], list[int], int]:
    """The texts of each class's folder by file name, their labels, and how many files held nothing.

    Raises:
        UsageError: a file is no text; the line names it.
        EnvironmentFailure: one cannot be read.
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
    if len(content) > _LARGEST:
        raise UsageError(f"{path}: {len(content):,} bytes; a text may have {_LARGEST:,}")
    if b"\0" in content:
        raise UsageError(f"{path}: a NUL character; is this a text file?")
    try:
        return content.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path}: not UTF-8 text (byte {content[error.start]:#04x}); save it as UTF-8"
        ) from error
