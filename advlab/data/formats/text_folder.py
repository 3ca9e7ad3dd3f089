"""Reader of text data sets in folders: one sub-folder per class and one text per file.

The sub-folders are in the folder itself, or in ``train/`` and ``test/``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from advlab.data.formats.listing import FilesOfClasses, files_of_classes
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
        remarks: what a reader of the figures should know of the folder, a sentence each.
    """

    classes: tuple[str, ...]
    texts: list[str]
    labels: list[int]
    empty: int
    remarks: tuple[str, ...]


def has_train_and_test(root: Path) -> bool:
    """Return whether the folder holds ``train/`` and ``test/``.

    Raises:
        UsageError: the folder does not exist.
    """
    if not root.is_dir():
        raise UsageError(f"folder: {root} " + ("is a file" if root.exists() else "does not exist"))
    return (root / "train").is_dir() and (root / "test").is_dir()


def read(
    root: Path, classes: Sequence[str] | None = None, ignore_others: bool = False
) -> TextFiles:
    """Read the texts in the sub-folders of a folder, each of which is a class.

    Files count as texts if their names end in ``.txt``, in any case. Sub-folders of a class belong
    to it. Hidden files are skipped, and other files are skipped with a remark.

    Args:
        classes: the classes that there may be, for a test set; those of the folder if not given.
        ignore_others: whether folders of other classes are ignored instead of refused.

    Raises:
        UsageError: there are fewer than two classes, a class that is not among ``classes``, or a
            file that is not text. The message names it.
        EnvironmentFailure: a file cannot be read.
    """
    found = files_of_classes(root, _looks_like_text, "texts")
    named = {
        name: files
        for name, files in found.files.items()
        if files and not (ignore_others and name not in (classes or ()))
    }
    if classes is None:
        _check_classes(root, named)
        classes = tuple(named)
    elif unknown := sorted(set(named) - set(classes)):
        raise UsageError(f"{root}: the class {unknown[0]!r} is not in train/")
    paths = [(path, classes.index(name)) for name, files in named.items() for path in files]
    texts: list[str] = []
    labels: list[int] = []
    for path, label in with_progress(paths, root.name, "texts"):
        text = _text(path)
        if text:
            texts.append(text)
            labels.append(label)
    return TextFiles(tuple(classes), texts, labels, len(paths) - len(texts), _remarks(found))


def _check_classes(root: Path, files: dict[str, list[Path]]) -> None:
    if len(files) < 2:
        problem = f"{next(iter(files))!r} is the only class" if files else "no texts"
        raise UsageError(f"{root}: {problem}; {_LAYOUT}")


def _remarks(found: FilesOfClasses) -> tuple[str, ...]:
    without = [name for name, files in found.files.items() if not files]
    remarks = [f"{', '.join(map(repr, without))}: no texts, and no class"] * bool(without)
    return (*found.remarks(), *remarks)


def _looks_like_text(path: Path) -> bool:
    return path.suffix.lower() == ".txt"


def _text(path: Path) -> str:
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
