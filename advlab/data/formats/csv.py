"""Reader of CSV files with texts and labels.

The delimiter and the columns are given or detected. Error messages name the line of a damaged row.
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
_MAX_CLASSES = 100
_LARGEST_CELL = 1_000_000  # characters; a longer cell indicates a missing closing quote
_SAMPLE = 200  # rows from which the columns are detected


@dataclass(frozen=True)
class Table:
    """Texts and labels of a file.

    Attributes:
        texts: the texts, stripped of surrounding white space.
        labels: the label of each text, as written in the file.
        skipped: number of rows without a text or a label.
        label_column: name of the column of labels.
    """

    texts: list[str]
    labels: list[str]
    skipped: int
    label_column: str


def read(
    path: Path,
    text_column: str | None,
    label_column: str | None,
    delimiter: str | None,
    min_classes: int = 2,
) -> Table:
    """Read the texts and labels of a CSV file with a header row.

    Args:
        text_column: name of the column of texts; None to detect it.
        label_column: name of the column of labels; None to detect it.
        delimiter: delimiter of the cells; None to detect it.
        min_classes: number of different labels that are required.

    Raises:
        UsageError: the file is missing, is not a CSV file, or lacks the columns. The message names
            the file and, if applicable, the line.
        EnvironmentFailure: the file cannot be read.
    """
    if not is_plain(path):
        raise UsageError(f"csv: no file at {path}" + (" (a folder)" if path.is_dir() else ""))
    try:
        with path.open("rb") as raw:
            _check_encoding(raw.read(1 << 16), path)
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = _table(file, path, text_column, label_column, delimiter)
            _check_classes(table, path, min_classes)
            return table
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path}:{_first_undecodable_line(path)}: not UTF-8 text (byte "
            f"{error.object[error.start]:#04x}); save it as UTF-8"
        ) from error
    except OSError as error:
        raise EnvironmentFailure(f"{path}: {error.strerror}") from error


def _first_undecodable_line(path: Path) -> int:
    """Return the number of the first line that is not UTF-8.

    The file is read again, since text is decoded in blocks that span several lines.
    """
    with path.open("rb") as raw:
        return next((number for number, line in enumerate(raw, start=1) if not _decodes(line)), 1)


def _decodes(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _check_classes(table: Table, path: Path, min_classes: int) -> None:
    classes = sorted(set(table.labels))
    if len(classes) < min_classes:
        content = f"only {classes[0]!r}" if classes else "no labels"
        raise UsageError(
            f"{path}: column {table.label_column!r} holds {content}; at least two classes are "
            "needed"
        )


def _check_encoding(head: bytes, path: Path) -> None:
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise UsageError(f"{path}: UTF-16 text; save it as UTF-8")
    if not head.strip():
        raise UsageError(f"{path} is empty; the first line must name the columns")


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
        raise UsageError(f"{path}: no rows below the header")
    text = _longest_column(names, sample, label) if text is None else text
    label = _least_varied_column(names, sample, text) if label is None else label
    if text is None or label is None or text == label:
        raise UsageError(
            f"{path}: cannot detect the columns; --text-column and --label-column must name two "
            f"of {', '.join(names)}"
        )
    return _read_rows(path, names, text, label, file, delimiter or _delimiter(head, None))


def _read_rows(
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
                f"{path}:{number}: {len(row)} cells, but the header has {len(names)} columns"
            )
        body, name = row[text].strip(), row[label].strip()
        if not body or not name:
            skipped += 1
            continue
        texts.append(body)
        labels.append(name)
        classes[name] += 1
        if len(classes) > _MAX_CLASSES:
            raise UsageError(
                f"{path}:{number}: more than {_MAX_CLASSES} different labels in column "
                f"{names[label]!r}; --label-column selects another"
            )
    return Table(texts, labels, skipped, names[label])


def _rows(file: io.TextIOBase, path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and cells of each non-empty row.

    Raises:
        UsageError: a row is malformed.
    """
    csv.field_size_limit(_LARGEST_CELL)
    reader = csv.reader(_lines(file, path), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error as error:
        reason = str(error)
        if "field larger" in reason:
            reason = (
                f"a cell of more than {_LARGEST_CELL:,} characters; a closing quote may be missing"
            )
        elif "unexpected end" in reason:
            reason = "a closing quote is missing"
        raise UsageError(f"{path}:{reader.line_num}: {reason}") from error


def _lines(file: io.TextIOBase, path: Path) -> Iterator[str]:
    """Yield the lines of the file.

    Raises:
        UsageError: a line contains a NUL character, as binary files do.
    """
    for number, line in enumerate(file, start=1):
        if "\0" in line:
            raise UsageError(f"{path}:{number}: a NUL character; the file is not text")
        yield line


def _delimiter(head: str, given: str | None) -> str:
    if given is not None:
        return "\t" if given == "\\t" else given[0]
    first = head.split("\n", 1)[0]
    return max(",;\t|", key=first.count)


def _column(
    path: Path, names: list[str], requested: str | None, flag: str, usual: tuple[str, ...]
) -> int | None:
    """Return the index of the requested column, or else of the first one with a usual name."""
    if requested is not None:
        if requested not in names:
            raise UsageError(
                f"{flag} {requested}: {path} has no such column{suggestion(requested, names)}; "
                f"it has {', '.join(names)[:200]}"
            )
        return names.index(requested)
    lower = [name.lower() for name in names]
    return next((lower.index(name) for name in usual if name in lower), None)


def _longest_column(names: list[str], sample: list[list[str]], excluded: int | None) -> int | None:
    """Return the index of the column with the longest cells on average."""
    columns = [column for column in range(len(names)) if column != excluded]
    return max(
        columns,
        key=lambda column: sum(len(row[column]) for row in sample if column < len(row)),
        default=None,
    )


def _least_varied_column(
    names: list[str], sample: list[list[str]], excluded: int | None
) -> int | None:
    """Return the index of the column with the fewest distinct cells, but at least two."""
    distinct = {
        column: len({row[column] for row in sample if column < len(row)})
        for column in range(len(names))
        if column != excluded
    }
    return min(
        (column for column, count in distinct.items() if count >= 2),
        key=lambda column: distinct[column],
        default=None,
    )
