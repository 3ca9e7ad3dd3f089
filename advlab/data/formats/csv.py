"""Reader of CSV files with texts and labels.

The delimiter and the columns are given or detected. Every row is used, refused with its line, or
counted.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from advlab.components import suggestion
from advlab.data import label_names, split_words
from advlab.data.formats import text_file
from advlab.data.formats.columns import other_columns
from advlab.errors import UsageError
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
_HEAD = 1 << 14  # characters from which the delimiter is detected


@dataclass(frozen=True)
class Layout:
    """How a file is to be read; None stands for what is detected.

    Attributes:
        text_column: name of the column of texts, or its number from 1 where there is no header.
        label_column: that of the column of labels.
        delimiter: delimiter of the cells.
        header: whether the first row names the columns.
    """

    text_column: str | None = None
    label_column: str | None = None
    delimiter: str | None = None
    header: bool = True


@dataclass(frozen=True)
class Table:
    """Texts and labels of a file. Every row is among ``texts`` or counted in ``empty``.

    Attributes:
        rows: number of rows below the header.
        texts: the texts, stripped of surrounding white space.
        labels: the label of each text, as written in the file but for surrounding white space.
        empty: number of rows without a text, which are left out.
        label_column: name of the column of labels.
        remarks: what a reader of the figures should know of the file, a sentence each.
        parts: the part of each text, ``train``, ``val`` or ``test``, where a column tells it.
    """

    rows: int
    texts: list[str]
    labels: list[str]
    empty: int
    label_column: str
    remarks: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()

    def of_part(self, part: str) -> Table:
        """Return the texts of a part. The rows without a text are counted with the training texts,
        since their part makes no difference."""
        index = [number for number, other in enumerate(self.parts) if other == part]
        empty = self.empty if part == "train" else 0
        texts, labels = ([column[i] for i in index] for column in (self.texts, self.labels))
        return Table(len(index) + empty, texts, labels, empty, self.label_column)


@dataclass(frozen=True)
class _Dialect:
    """How rows are parted into cells.

    Attributes:
        delimiter: the delimiter of the cells.
        skips_space: whether a space after it does not count, so that quotes may follow.
    """

    delimiter: str
    skips_space: bool = False


@dataclass(frozen=True)
class _Columns:
    """The names of the columns, and the indices of those that are read."""

    names: list[str]
    text: int
    label: int
    split: int | None


def read(path: Path, layout: Layout | None = None, min_classes: int = 2) -> Table:
    """Read the texts and labels of a CSV file.

    The file may be compressed with gzip. Blank lines are no rows. A first line ``sep=;``, as Excel
    writes it, names the delimiter. A space after every delimiter does not count. A row
    with fewer cells than there are columns is refused, since its cells may stand under the wrong
    names. One with more cells is refused too, since a delimiter in a text without quotes would cut
    the text; empty cells at the end are allowed. A row with a text and no label, or ``NaN`` for
    one, is refused. A column such as ``split``, with the words ``train`` and ``test``, tells the
    part of each row.

    Args:
        min_classes: number of different labels that are required.

    Raises:
        UsageError: the file is missing, is not a CSV file, lacks the columns, or has a row that
            cannot be used. The message names the file and, if applicable, the line.
        EnvironmentFailure: the file cannot be read.
    """
    layout = layout or Layout()
    if not is_plain(path):
        raise UsageError(f"csv: no file at {path}" + (" (a folder)" if path.is_dir() else ""))
    with text_file.opened(path) as file:
        table = _table(file, path, layout)
    _check_classes(table, path, min_classes)
    return table


def _check_classes(table: Table, path: Path, min_classes: int) -> None:
    classes = sorted(set(table.labels))
    if len(classes) < min_classes:
        content = f"only {classes[0]!r}" if classes else "no labels"
        where = " of the rows with a text" if table.empty else ""
        without = f"; rows without a text: {table.empty:,}" if table.empty else ""
        raise UsageError(
            f"{path}: column {table.label_column!r}{where} holds {content}; at least two classes "
            f"are needed{without}"
        )


def _table(file: io.TextIOBase, path: Path, layout: Layout) -> Table:
    delimiter = _delimiter(file, path, layout.delimiter)
    dialect = _Dialect(delimiter, _has_spaces_before_quotes(file, path, delimiter))
    numbered = _data_rows(file, path, dialect)
    sample = list(itertools.islice(numbered, _SAMPLE + 1))
    if not sample:
        raise UsageError(f"{path} is empty; the first line must name the columns")
    names = _without_empty_end([name.strip() for name in sample[0][1]])
    if not layout.header:
        names = [str(number) for number in range(1, len(sample[0][1]) + 1)]
    elif len(sample) == 1:
        raise UsageError(f"{path}: no rows below the header")
    cells = [row for _, row in (sample[1:] if layout.header else sample)]
    columns = _columns(path, names, cells, layout)
    text, label = columns.text, columns.label
    remarks = _other_columns(path, columns, layout)
    first = sample[0][1]
    if layout.header and _looks_like_data(names, first, cells, text, label):
        remarks.append(
            f"{path}: the first row was taken for the names of the columns, and looks like data; "
            "--no-header reads it as data"
        )
    table = _read_rows(path, columns, _data_rows(file, path, dialect), layout.header)
    remarks += _swallowed_rows(path, table, len(names), label, delimiter)
    if columns.split is not None:
        table, remark = _with_parts(path, table, names[columns.split])
        remarks.append(remark)
    return replace(table, remarks=tuple(remarks))


def _with_parts(path: Path, table: Table, column: str) -> tuple[Table, str]:
    """The table with the parts that a column tells if they suffice, and a sentence about it."""
    present = [part for part in split_words.PARTS if part in table.parts]
    if {"train", "test"} <= set(present):
        return table, f"{path}: column {column!r} tells the parts: {', '.join(present)}"
    reason = "it must name train and test, and nothing but parts"
    return replace(table, parts=()), f"{path}: column {column!r} is not used as the split; {reason}"


def _other_columns(path: Path, columns: _Columns, layout: Layout) -> list[str]:
    """Return sentences about columns with a usual name beside those that were found."""
    used = (columns.text, columns.label)
    remarks = []
    for chosen, requested, usual, flag in (
        (columns.text, layout.text_column, _TEXT_NAMES, "--text-column"),
        (columns.label, layout.label_column, _LABEL_NAMES, "--label-column"),
    ):
        others = [
            name
            for number, name in enumerate(columns.names)
            if number not in used and name.lower() in usual
        ]
        if requested is None:
            remarks += other_columns(str(path), columns.names[chosen], others, flag)
    return remarks


def _without_empty_end(names: list[str]) -> list[str]:
    """The names up to the last one that is not empty: a delimiter may end every line."""
    count = max((number for number, name in enumerate(names, start=1) if name), default=0)
    return names[:count]


def _swallowed_rows(
    path: Path, table: Table, columns: int, label: int, delimiter: str
) -> list[str]:
    """Return a sentence about lines in texts that look like rows, if there are any.

    A quote that is closed only in a later row makes one text of all rows between.
    """
    classes = set(table.labels)
    suspects = [
        line
        for text in table.texts
        if delimiter in text and ("\n" in text or "\r" in text)
        for line in text.splitlines()
        if len(cells := line.split(delimiter)) == columns and cells[label].strip(' "') in classes
    ]
    if not suspects:
        return []
    return [
        f"{path}: lines within quoted texts that look like rows: {len(suspects):,}, such as "
        f"{suspects[0][:60]!r}; a closing quote may be missing"
    ]


def _columns(path: Path, names: list[str], sample: list[list[str]], layout: Layout) -> _Columns:
    """The columns of texts, labels and, if there is one, of words such as ``train``."""
    split = _split_column(names, sample)
    text = _column(path, names, layout.text_column, "--text-column", _TEXT_NAMES)
    label = _column(path, names, layout.label_column, "--label-column", _LABEL_NAMES)
    text = _longest_column(names, sample, {label, split}) if text is None else text
    label = _least_varied_column(names, sample, {text, split}) if label is None else label
    for column in (text, label):
        if column is not None and names.count(names[column]) > 1:
            raise UsageError(
                f"{path}: {names.count(names[column])} columns are named {names[column]!r}; rename "
                "the others"
            )
    if text is None or label is None or text == label:
        if len(names) == 1:
            raise UsageError(
                f"{path}: there is one column, {names[0][:200]!r}; --delimiter names the character "
                "between the cells"
            )
        raise UsageError(
            f"{path}: cannot detect the columns; --text-column and --label-column must name two "
            f"of {', '.join(names)[:200]}"
        )
    return _Columns(names, text, label, None if split in (text, label) else split)


def _split_column(names: list[str], sample: list[list[str]]) -> int | None:
    """The index of a column whose name and first cells tell the part of each row."""
    for number, name in enumerate(names):
        cells = [row[number].strip() for row in sample if number < len(row)]
        if name.lower() in split_words.COLUMNS and cells and all(map(split_words.part_of, cells)):
            return number
    return None


def _looks_like_data(
    names: list[str], first: list[str], sample: list[list[str]], text: int, label: int
) -> bool:
    """Whether the first row is hardly a header: its label occurs below, or it holds a number, or a
    text as long as the others."""
    if max(text, label) >= len(first):
        return False
    lower = [name.lower() for name in names]
    if lower[text] in _TEXT_NAMES or lower[label] in _LABEL_NAMES:
        return False
    below = [row for row in sample if len(row) > max(text, label)]
    if any(row[label].strip() == names[label] for row in below):
        return True
    lengths = sorted(len(row[text]) for row in below)
    typical = lengths[len(lengths) // 2] if lengths else 0
    return names[label].replace(".", "", 1).isdigit() or len(names[text]) >= max(20, typical / 2)


def _read_rows(
    path: Path, columns: _Columns, rows: Iterator[tuple[int, list[str]]], header: bool
) -> Table:
    if header:
        next(rows)
    names, text, label = columns.names, columns.text, columns.label
    texts: list[str] = []
    labels: list[str] = []
    parts: list[str] = []
    classes: Counter[str] = Counter()
    empty = count = 0
    for number, row in with_progress(rows, path.name, "rows"):
        count += 1
        _check_cells(path, number, row, names)
        body, name = row[text].strip(), row[label].strip()
        if not body:
            empty += 1
            continue
        if label_names.is_missing(name):
            content = f", but {name}" if name else ""
            raise UsageError(
                f"{path}:{number}: no label in column {names[label]!r}{content}; give the row one, "
                "or remove it"
            )
        texts.append(body)
        labels.append(name)
        if columns.split is not None:
            parts.append(split_words.part_of(row[columns.split].strip()) or "")
        classes[name] += 1
        if len(classes) > _MAX_CLASSES:
            raise UsageError(
                f"{path}:{number}: more than {_MAX_CLASSES} different labels in column "
                f"{names[label]!r}; --label-column selects another"
            )
    # A word that names no part leaves all of them in doubt.
    told = () if "" in parts else tuple(parts)
    return Table(count, texts, labels, empty, names[label], parts=told)


def _check_cells(path: Path, number: int, row: list[str], names: list[str]) -> None:
    """Refuse a row that has too few cells, or too many that hold something."""
    if len(row) < len(names):
        cells = f"{len(row)} cell" + "s" * (len(row) != 1)
        raise UsageError(
            f"{path}:{number}: {cells}, but there are {len(names)} columns; a cell without content "
            "needs its delimiter"
        )
    if any(cell.strip() for cell in row[len(names) :]):
        raise UsageError(
            f"{path}:{number}: {len(row)} cells, but there are {len(names)} columns; a text with "
            "the delimiter in it must stand in quotes"
        )


def _data_rows(
    file: io.TextIOBase, path: Path, dialect: _Dialect
) -> Iterator[tuple[int, list[str]]]:
    """The rows from the beginning of the file, without the line that names the delimiter."""
    file.seek(0)
    for index, (number, row) in enumerate(_rows(file, path, dialect)):
        if index > 0 or _separator_line(dialect.delimiter.join(row)) is None:
            yield number, row


def _rows(file: io.TextIOBase, path: Path, dialect: _Dialect) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and cells of each row. A line of nothing but white space is no row.

    Raises:
        UsageError: a row is malformed.
    """
    csv.field_size_limit(_LARGEST_CELL)
    reader = csv.reader(
        _lines(file, path),
        delimiter=dialect.delimiter,
        skipinitialspace=dialect.skips_space,
        strict=True,
    )
    try:
        for row in reader:
            if len(row) > 1 or any(cell.strip() for cell in row):
                yield reader.line_num, row
    except csv.Error as error:
        reason = str(error)
        if "field larger" in reason:
            reason = (
                f"a cell of more than {_LARGEST_CELL:,} characters; a closing quote may be missing"
            )
        elif "unexpected end" in reason:
            reason = "a closing quote is missing"
        elif "expected after" in reason:
            reason = (
                "text after a closing quote; a quote within a cell must be doubled, and the cell "
                "stand in quotes"
            )
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


def _has_spaces_before_quotes(file: io.TextIOBase, path: Path, delimiter: str) -> bool:
    """Whether a space follows every delimiter in the first rows, and quotes follow some of these.

    The quotes would belong to the cell otherwise.
    """
    file.seek(0)
    if f'{delimiter} "' not in file.read(_HEAD):
        return False
    try:
        plain, skipping = (
            [row for _, row in itertools.islice(_data_rows(file, path, dialect), 1, _SAMPLE)]
            for dialect in (_Dialect(delimiter), _Dialect(delimiter, skips_space=True))
        )
    except UsageError:  # a malformed row is refused where all rows are read
        return False
    widths = {len(row) for row in skipping}
    return len(widths) == 1 and all(len(row) > 1 and row[1][:1] == " " for row in plain)


def _delimiter(file: io.TextIOBase, path: Path, delimiter: str | None) -> str:
    """The delimiter that was given, that the first line or the name of the file tells, or that the
    first row has most of outside quotes."""
    if delimiter is not None:
        return "\t" if delimiter == "\\t" else delimiter[0]
    file.seek(0)
    head = file.read(_HEAD)
    if (named := _separator_line(_first_line(head))) is not None:
        return named
    # Quotes are taken out first, since a name may hold line breaks and delimiters.
    first = _first_line(re.sub(r'"[^"]*"', "x", head))
    if "\t" in first and text_file.suffix(path) in (".tsv", ".tab"):
        return "\t"
    return max(",;\t|", key=first.count)


def _first_line(text: str) -> str:
    """The first line that is not blank."""
    return next((line for line in re.split(r"[\r\n]+", text) if line.strip()), "")


def _separator_line(line: str) -> str | None:
    """The delimiter that a line ``sep=;`` names, a tab also as ``\\t``; None for any other line."""
    match = re.fullmatch(r"\s*\"?sep=(\\t|.)\"?\s*", line, flags=re.IGNORECASE)
    return None if match is None else match[1].replace("\\t", "\t")


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


def _longest_column(
    names: list[str], sample: list[list[str]], excluded: set[int | None]
) -> int | None:
    """Return the index of the column with the longest cells on average."""
    columns = [column for column in range(len(names)) if column not in excluded]
    return max(
        columns,
        key=lambda column: sum(len(row[column]) for row in sample if column < len(row)),
        default=None,
    )


def _least_varied_column(
    names: list[str], sample: list[list[str]], excluded: set[int | None]
) -> int | None:
    """Return the index of the column with the fewest distinct cells, but at least two."""
    distinct = {
        column: len({row[column] for row in sample if column < len(row)})
        for column in range(len(names))
        if column not in excluded
    }
    return min(
        (column for column, count in distinct.items() if count >= 2),
        key=lambda column: distinct[column],
        default=None,
    )
