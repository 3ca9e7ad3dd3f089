"""CSV files of texts and labels: any delimiter, columns by name or detected.

Rows are read one by one, and a row that is refused is named.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from advlab.components import suggestion
from advlab.errors import EnvironmentFailure, UsageError
from advlab.input_files import is_plain
from advlab.progress import with_progress

_TEXT_NAMES = (
    "text",
    "content",
    "review",
    "sentence",
    "tweet",
    "comment",
    "message",
    "body",
    "document",
)
_LABEL_NAMES = (
    "label",
    "sentiment",
    "emotion",
    "class",
    "target",
    "category",
    "polarity",
    "stars",
    "y",
)
_MOST_CLASSES = 100
_LARGEST_CELL = 1_000_000  # characters; a text of this length is an open quote
_SAMPLE = 200  # rows that columns are found by


@dataclass(frozen=True)
class Table:
    """Texts of a file, and the label of each as it stands there."""

    texts: list[str]
    labels: list[str]
    skipped: int
    label_column: str


def read(
    path: Path,
    text_column: str | None,
    label_column: str | None,
    delimiter: str | None,
    least_classes: int = 2,
) -> Table:
    """The texts and labels of a CSV file with a header. Rows without a text or a label are left
    out, and counted.

    Raises:
        UsageError: the file is missing, no CSV, or has no such columns; the line names the file,
            and the row where there is one.
        EnvironmentFailure: it cannot be read.
    """
    if not is_plain(path):
        raise UsageError(f"csv: no file at {path}" + (" (a folder)" if path.is_dir() else ""))
    try:
        with path.open("rb") as raw:
            _check_encoding(raw.read(1 << 16), path)
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = _table(file, path, text_column, label_column, delimiter)
            _check_classes(table, path, least_classes)
            return table
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path}:{_undecodable(path)}: not UTF-8 text (byte "
            f"{error.object[error.start]:#04x}); save it as UTF-8"
        ) from error
    except OSError as error:
        raise EnvironmentFailure(f"{path}: {error.strerror}") from error


def _undecodable(path: Path) -> int:
    """Number of the first line that is no UTF-8; found only now, since text is decoded in pieces
    larger than a line."""
    with path.open("rb") as raw:
        return next((number for number, line in enumerate(raw, start=1) if not _decodes(line)), 1)


def _decodes(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _check_classes(table: Table, path: Path, least: int) -> None:
    classes = sorted(set(table.labels))
    if len(classes) < least:
        found = f"only {classes[0]!r}" if classes else "nothing"
        raise UsageError(
            f"{path}: column {table.label_column!r} holds {found}; two classes are needed to "
            "tell apart"
        )


def _check_encoding(head: bytes, path: Path) -> None:
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise UsageError(f"{path}: UTF-16 text; save it as UTF-8")
    if not head.strip():
        raise UsageError(f"{path} is empty; a CSV file starts with the names of its columns")


def _table(
    file: io.TextIOBase,
    path: Path,
    text_column: str | None,
    label_column: str | None,
    delimiter: str | None,
) -> Table:
    head = file.read(1 << 14)
    file.seek(0)
    rows = _rows(file, path, _delimiter(head, delimiter))
    _, header = next(rows)
    names = [name.strip() for name in header]
    sample = [row for _, (_, row) in zip(range(_SAMPLE), rows, strict=False)]
    text = _column(path, names, text_column, "--text-column", _TEXT_NAMES)
    label = _column(path, names, label_column, "--label-column", _LABEL_NAMES)
    if not sample:
        raise UsageError(f"{path}: no rows under its header")
    text = _longest(names, sample, label) if text is None else text
    label = _fewest(names, sample, text) if label is None else label
    if text is None or label is None or text == label:
        raise UsageError(
            f"{path}: which columns? --text-column and --label-column name two of "
            f"{', '.join(names)}"
        )
    return _filled(path, names, text, label, file, delimiter or _delimiter(head, None))


def _filled(
    path: Path, names: list[str], text: int, label: int, file: io.TextIOBase, delimiter: str
) -> Table:
    file.seek(0)
    rows = _rows(file, path, delimiter)
    next(rows)
    texts: list[str] = []
    labels: list[str] = []
    classes: Counter[str] = Counter()
    skipped = 0
    for number, row in with_progress(rows, path.name, "rows"):
        if len(row) <= max(text, label):
            raise UsageError(
                f"{path}:{number}: {len(row)} cells, and the header names {len(names)} columns"
            )
        body, name = row[text].strip(), row[label].strip()
        if not body or not name:
            skipped += 1
            continue
        texts.append(body)
        labels.append(name)
        classes[name] += 1
        if len(classes) > _MOST_CLASSES:
            raise UsageError(
                f"{path}:{number}: more than {_MOST_CLASSES} different labels in column "
                f"{names[label]!r}; is it the right one?"
            )
    return Table(texts, labels, skipped, names[label])


def _rows(file: io.TextIOBase, path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each row that is not empty.

    Raises:
        UsageError: a row is damaged.
    """
    csv.field_size_limit(_LARGEST_CELL)
    reader = csv.reader(_clean(file, path), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error as error:
        reason = str(error)
        if "field larger" in reason:
            reason = (
                f"a cell of more than {_LARGEST_CELL:,} characters; is a quote left open above it?"
            )
        elif "unexpected end" in reason:
            reason = "a quote is left open"
        raise UsageError(f"{path}:{reader.line_num}: {reason}") from error


def _clean(file: io.TextIOBase, path: Path) -> Iterator[str]:
    """The file's lines.

    Raises:
        UsageError: one holds a NUL, which no text does.
    """
    for number, line in enumerate(file, start=1):
        if "\0" in line:
            raise UsageError(f"{path}:{number}: a NUL character; is this a text file?")
        yield line


def _delimiter(head: str, given: str | None) -> str:
    if given is not None:
        return "\t" if given == "\\t" else given[0]
    first = head.split("\n", 1)[0]
    return max(",;\t|", key=first.count)


def _column(
    path: Path, names: list[str], wanted: str | None, flag: str, usual: tuple[str, ...]
) -> int | None:
    if wanted is not None:
        if wanted not in names:
            raise UsageError(
                f"{flag} {wanted}: {path} has no such column{suggestion(wanted, names)}; it has "
                f"{', '.join(names)[:200]}"
            )
        return names.index(wanted)
    lower = [name.lower() for name in names]
    return next((lower.index(name) for name in usual if name in lower), None)


def _longest(names: list[str], sample: list[list[str]], other: int | None) -> int | None:
    """The column with the longest cells on average."""
    places = [place for place in range(len(names)) if place != other]
    return max(
        places,
        key=lambda place: sum(len(row[place]) for row in sample if place < len(row)),
        default=None,
    )


def _fewest(names: list[str], sample: list[list[str]], other: int | None) -> int | None:
    """The column with the fewest different cells, two at least."""
    different = {
        place: len({row[place] for row in sample if place < len(row)})
        for place in range(len(names))
        if place != other
    }
    return min(
        (place for place, count in different.items() if count >= 2),
        key=lambda place: different[place],
        default=None,
    )
