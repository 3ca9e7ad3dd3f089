"""Reader of CSV files with texts and labels.

The delimiter and the columns are given or detected. Every row is used, refused with its line, or
counted.
"""

from __future__ import annotations

import csv
import functools
import io
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from advlab.data import label_names, split_words
from advlab.data.formats import csv_columns, text_file
from advlab.data.formats.csv_columns import MAX_CLASSES, Columns
from advlab.errors import UsageError
from advlab.input_files import is_plain
from advlab.progress import with_progress

_LARGEST_CELL = 1_000_000  # characters; a longer cell indicates a missing closing quote
_SAMPLE = 200  # rows that tell the dialect, and whether the first one names the columns
_HEAD = 1 << 14  # characters from which the delimiter is detected


@dataclass(frozen=True)
class Layout:
    """How a file is to be read; None stands for what is detected.

    Attributes:
        text_column: name of the column of texts, or its number from 1 where there is no header.
        label_column: that of the column of labels.
        delimiter: delimiter of the cells.
        header: whether the first row names the columns.
        is_part: whether the file is one part of a data set, so that no column tells the parts.
    """

    text_column: str | None = None
    label_column: str | None = None
    delimiter: str | None = None
    header: bool = True
    is_part: bool = False


@dataclass(frozen=True)
class Table:
    """Texts and labels of a file. Every row is among ``texts`` or counted in ``empty`` or
    ``outside``.

    Attributes:
        rows: number of rows below the header.
        texts: the texts, stripped of surrounding white space.
        labels: the label of each text, as written in the file but for surrounding white space.
        empty: number of rows without a text, which are left out.
        text_column, label_column: names of the columns of texts and labels.
        remarks: what a reader of the figures should know of the file, a sentence each.
        parts: the part of each text, ``train``, ``val`` or ``test``, where a column tells it.
        outside: number of rows of other parts, which are left out.
        lines: for each label the first line of the file that holds it.
    """

    rows: int
    texts: list[str]
    labels: list[str]
    empty: int
    text_column: str
    label_column: str
    remarks: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    outside: int = 0
    lines: Mapping[str, int] = field(default_factory=dict)

    def of_part(self, part: str) -> Table:
        """Return the texts of a part. The rows that are left out are counted with the training
        texts, since their part makes no difference."""
        index = [number for number, other in enumerate(self.parts) if other == part]
        empty, outside = (self.empty, self.outside) if part == "train" else (0, 0)
        texts, labels = ([column[i] for i in index] for column in (self.texts, self.labels))
        return replace(
            self,
            rows=len(index) + empty + outside,
            texts=texts,
            labels=labels,
            empty=empty,
            remarks=(),
            parts=(),
            outside=outside,
        )


@dataclass(frozen=True)
class _Dialect:
    """How rows are parted into cells.

    Attributes:
        delimiter: the delimiter of the cells.
        skips_space: whether a space after it does not count, so that quotes may follow.
    """

    delimiter: str
    skips_space: bool = False


def read(
    path: Path,
    layout: Layout | None = None,
    min_classes: int = 2,
    like: Table | None = None,
) -> Table:
    """Read the texts and labels of a CSV file.

    The file may be compressed with gzip. Blank lines are no rows. A first line ``sep=;``, as Excel
    writes it, names the delimiter. A space after every delimiter does not count. A row
    with fewer cells than there are columns is refused, since its cells may stand under the wrong
    names. One with more cells is refused too, since a delimiter in a text without quotes would cut
    the text; empty cells at the end are allowed. A row with a text and no label, or ``NaN`` for
    one, is refused. A column such as ``split``, with the words ``train`` and ``test``, tells the
    part of each row; rows of other parts are left out and counted.

    Args:
        min_classes: number of different labels that are required.
        like: the training part of the same data set, whose columns are taken where they are not
            given. A column of another name is not looked for: it may hold other labels.

    Raises:
        UsageError: the file is missing, is not a CSV file, lacks the columns, or has a row that
            cannot be used. The message names the file and, if applicable, the line.
        EnvironmentFailure: the file cannot be read.
    """
    layout = layout or Layout()
    if not is_plain(path):
        raise UsageError(f"csv: no file at {path}" + (" (a folder)" if path.is_dir() else ""))
    with text_file.opened(path) as file:
        table = _table(file, path, layout, like)
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


def _table(file: io.TextIOBase, path: Path, layout: Layout, like: Table | None) -> Table:
    delimiter = _delimiter(file, path, layout.delimiter)
    dialect = _Dialect(delimiter, _has_spaces_before_quotes(file, path, delimiter))
    try:
        return _table_of_dialect(file, path, layout, dialect, like)
    except UsageError as error:
        raise UsageError(f"{error}{_other_delimiter(file, path, dialect)}") from error


def _table_of_dialect(
    file: io.TextIOBase, path: Path, layout: Layout, dialect: _Dialect, like: Table | None
) -> Table:
    numbered = _data_rows(file, path, dialect)
    sample = list(itertools.islice(numbered, _SAMPLE + 1))
    if not sample:
        raise UsageError(f"{path} is empty; the first line must name the columns")
    names = _without_empty_end([name.strip() for name in sample[0][1]])
    if not layout.header:
        names = [str(number) for number in range(1, len(sample[0][1]) + 1)]
    elif len(sample) == 1:
        raise UsageError(f"{path}: no rows below the header")

    def contents() -> list[csv_columns.Content]:
        rows = itertools.islice(_data_rows(file, path, dialect), int(layout.header), None)
        return csv_columns.contents_of((row for _, row in rows), len(names))

    text_column, label_column = layout.text_column, layout.label_column
    remarks: list[str] = []
    if like is not None:
        same = functools.partial(csv_columns.same_column, path, names, remarks)
        text_column = text_column or same(like.text_column, "texts", "--text-column")
        label_column = label_column or same(like.label_column, "labels", "--label-column")
    columns = csv_columns.find(path, names, text_column, label_column, contents, layout.is_part)
    remarks += columns.remarks
    first, cells = sample[0][1], [row for _, row in (sample[1:] if layout.header else sample)]
    if layout.header and _looks_like_data(columns, first, cells):
        remarks.append(
            f"{path}: the first row was taken for the names of the columns, and looks like data; "
            "--no-header reads it as data"
        )
    table = _read_rows(path, columns, _data_rows(file, path, dialect), layout.header)
    remarks += _swallowed_rows(path, table, len(names), columns.label, dialect.delimiter)
    return replace(table, remarks=(*remarks, *table.remarks))


def _other_delimiter(file: io.TextIOBase, path: Path, dialect: _Dialect) -> str:
    """Return a hint at a delimiter with which the first rows have the same number of cells, where
    they do not with the one that was used."""
    widths = _widths(file, path, dialect)
    if len(widths) == 1 and max(widths) > 1:
        return ""
    for other in ",;\t|":
        widths = _widths(file, path, _Dialect(other))
        if other != dialect.delimiter and len(widths) == 1 and max(widths) > 1:
            name = "\\t" if other == "\t" else other
            return f"; with --delimiter '{name}' the first rows have {max(widths)} cells each"
    return ""


def _widths(file: io.TextIOBase, path: Path, dialect: _Dialect) -> set[int]:
    """The numbers of cells of the first rows; none if they cannot be read."""
    try:
        rows = itertools.islice(_data_rows(file, path, dialect), _SAMPLE)
        return {len(row) for _, row in rows}
    except (UsageError, UnicodeDecodeError):
        return set()


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


def _looks_like_data(columns: Columns, first: list[str], sample: list[list[str]]) -> bool:
    """Whether the first row is hardly a header: its label occurs below, or it holds a number, or a
    text as long as the others."""
    names, text, label = columns.names, columns.text, columns.label
    if max(text, label) >= len(first) or csv_columns.is_usual(names[text], names[label]):
        return False
    below = [row for row in sample if len(row) > max(text, label)]
    if any(row[label].strip() == names[label] for row in below):
        return True
    lengths = sorted(len(row[text]) for row in below)
    typical = lengths[len(lengths) // 2] if lengths else 0
    return names[label].replace(".", "", 1).isdigit() or len(names[text]) >= max(20, typical / 2)


def _read_rows(
    path: Path, columns: Columns, rows: Iterator[tuple[int, list[str]]], header: bool
) -> Table:
    if header:
        next(rows)
    names, text, label = columns.names, columns.text, columns.label
    texts: list[str] = []
    labels: list[str] = []
    parts: list[str] = []
    lines: dict[str, int] = {}
    others: Counter[str] = Counter()
    empty = count = 0
    for number, row in with_progress(rows, path.name, "rows"):
        count += 1
        _check_cells(path, number, row, names)
        body, name = row[text].strip(), row[label].strip()
        word = "train" if columns.split is None else row[columns.split].strip()
        part = split_words.part_of(word)
        if part is None:
            others[word] += 1
            continue
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
            parts.append(part)
        lines.setdefault(name, number)
        if len(lines) > MAX_CLASSES:
            raise UsageError(
                f"{path}:{number}: more than {MAX_CLASSES} different labels in column "
                f"{names[label]!r}; --label-column selects another"
            )
    return Table(
        count,
        texts,
        labels,
        empty,
        names[text],
        names[label],
        _split_remark(path, columns, parts, others),
        tuple(parts),
        others.total(),
        lines,
    )


def _split_remark(
    path: Path, columns: Columns, parts: list[str], others: Counter[str]
) -> tuple[str, ...]:
    """Return a sentence about a column that tells the parts, and the rows of none of them."""
    if columns.split is None:
        return ()
    present = ", ".join(part for part in split_words.PARTS if part in parts)
    sentence = f"{path}: column {columns.names[columns.split]!r} tells the parts: {present}"
    if others:
        listed = ", ".join(f"{word!r} {count:,}" for word, count in others.most_common(3))
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        sentence += f"; rows of other parts, which are left out: {listed}{more}"
    return (sentence,)


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
    lines: list[str] = []  # those of the row that is being read
    reader = csv.reader(
        _lines(file, path, lines),
        delimiter=dialect.delimiter,
        skipinitialspace=dialect.skips_space,
        strict=True,
    )
    try:
        for row in reader:
            lines.clear()
            if len(row) > 1 or any(cell.strip() for cell in row):
                yield reader.line_num, row
    except csv.Error as error:
        reason, number = str(error), reader.line_num
        opened = number - len(lines) + _line_of_last_quoted_cell(lines, dialect)
        if "field larger" in reason:
            number = opened
            reason = (
                f"a cell of more than {_LARGEST_CELL:,} characters; a closing quote may be missing"
            )
        elif "unexpected end" in reason:
            number, reason = opened, "a closing quote is missing"
        elif "expected after" in reason and opened < number:
            reason = (
                f"a closing quote is missing, or comes with text after it in line {number:,}; a "
                "quote within a cell must be doubled"
            )
            number = opened
        elif "expected after" in reason:
            reason = (
                "text after a closing quote; a quote within a cell must be doubled, and the cell "
                "stand in quotes"
            )
        raise UsageError(f"{path}:{number}: {reason}") from error


def _line_of_last_quoted_cell(lines: list[str], dialect: _Dialect) -> int:
    """The number, from 1, of the line in which the last quoted cell of a malformed row begins."""
    space = " *" if dialect.skips_space else ""
    delimiter = re.escape(dialect.delimiter)
    cell = re.compile(
        rf'{space}(?:"[^"]*(?:""[^"]*)*"(?={delimiter}|[\r\n])|(?!{space}")[^{delimiter}]*)'
        rf"{delimiter}?"
    )
    row, start, quoted = "".join(lines), 0, 0
    while start < len(row):
        quoted = start if row[start : start + 9].lstrip(" ")[:1] == '"' else quoted
        match = cell.match(row, start)
        if match is None or match.end() == start:
            break
        start = match.end()
    return row.count("\n", 0, quoted) + row.count("\r", 0, quoted) * ("\n" not in row) + 1


def _lines(file: io.TextIOBase, path: Path, current: list[str]) -> Iterator[str]:
    """Yield the lines of the file, and add them to the current ones.

    Raises:
        UsageError: a line contains a NUL character, as binary files do.
    """
    for number, line in enumerate(file, start=1):
        if "\0" in line:
            raise UsageError(f"{path}:{number}: a NUL character; the file is not text")
        current.append(line)
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
