"""CSV files of texts: how their rows are read, and what is refused."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies
from text_files import written

from advlab.data.formats.csv import Layout, read
from advlab.data.split_words import PARTS, part_of
from advlab.errors import EnvironmentFailure, UsageError


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiter_and_columns_are_found(delimiter: str, tmp_path: Path) -> None:
    rows = [
        ["id", "mood", "what was said"],
        ["1", "good", f"a long{delimiter} quoted sentence"],
        ["2", "bad", "another sentence"],
    ]
    lines = [delimiter.join(f'"{cell}"' for cell in row) for row in rows]
    table = read(written(tmp_path, "\n".join(lines)), Layout(label_column="mood"))
    assert table.texts == [f"a long{delimiter} quoted sentence", "another sentence"]
    assert table.labels == ["good", "bad"]


def test_columns_by_their_usual_names_or_as_named(tmp_path: Path) -> None:
    file = written(tmp_path, "\ufeffSentiment,id,Text,other\n1,7,fine,x\n0,8,poor,y\n")
    assert read(file).texts == ["fine", "poor"]
    assert read(file).labels == ["1", "0"]
    assert read(file, Layout("other", "id")).texts == ["x", "y"]
    odd = written(
        tmp_path,
        "a,b,c\n1,0,a rather long sentence\n2,1,yet another long sentence\n3,0,and one more of "
        "them\n",
    )
    assert read(odd).labels == ["0", "1", "0"]


def test_rows_without_text_are_counted_and_those_without_label_refused(tmp_path: Path) -> None:
    table = read(written(tmp_path, "text,label\ngood,1\n,0\n  ,1\nbad,0\n,\n\n"))
    assert table.texts == ["good", "bad"]
    assert table.empty == 3
    file = written(tmp_path, "text,label\ngood,1\nbad,0\n\nodd,\n")
    with pytest.raises(UsageError, match=r"some.csv:5: no label in column 'label'"):
        read(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"  \n\n", "is empty"),
        (b"text,label\n", "no rows below the header"),
        (b"text,label\na,1\nb,1\n", "holds only '1'; at least two classes are"),
        (b"text,label\na\nb,1\n", r":2: 1 cell, but there are 2 columns"),
        (b"id,text,label,by\n1,a,1,x\nb,0,y\n", r":3: 3 cells, but there are 4 columns"),
        (b'text\tlabel\na\t1\n"b" c\t0\n', ":3: text after a closing quote; a quote within"),
        (b"text,text,label\na,b,1\nc,d,0\n", "2 columns are named 'text'; rename the others"),
        (b"text,label\na,1\nb\0c,0\n", r":3: a NUL character"),
        (b'text,label\na,1\n"b,0\nc,1\n', ":3: a closing quote is missing"),
        (
            b'text,label\na,1\n"b,0\nc,1\nand "d",1\n',
            ":3: a closing quote is missing, or comes with text after it in line 5; a quote within",
        ),
        (b'text,by,label\r\n"a\r\n""b""","c\r\nd,0\r\n', ":3: a closing quote is missing"),
        (b'text, label\r"a", "x"\r"b\rc, "d"\r', ":3: a closing quote is missing, or .* line 4"),
        (b"text, of the review, long;label\na, b;1\nc;0\n", "with --delimiter ';' the first rows"),
        (b"text, it is|label,x\na|1\nc|0\n", r"2 cells each"),
        (b"text,label\n" + b'"' + b"x" * 1_100_000 + b'",1\n', ":2: a cell of more than 1,000,000"),
        (
            b'text,label\n"a,1\n' + (b"b" * 999 + b",1\n") * 1_000,
            ":2: a cell of more than 1,000,000 char",
        ),
        (b"text,label\ncaf\xe9,1\nb,0\n", "not UTF-8"),
        ("text,label\na,1\n".encode("utf-16") + b"\xff", "not valid UTF-16 text"),
        (b"text,label\na,1,\nb,0,c\n", r":3: 3 cells, but there are 2 columns; a text with"),
        (
            b"text,label\n" + b"".join(b"a%d,%d\n" % (n, n) for n in range(200)),
            "more than 100 different labels in column 'label'",
        ),
        (b"text\na\nb\n", "there is one column, 'text'; --delimiter names the character"),
        (b"text,label\na,0\n,1\n", "holds only '0'; .*; rows without a text: 1"),
        ("text,label\na,0\nb,\u200b\n".encode(), ":3: no label in column 'label'"),
        (b"text,label\na,0\nb,NaN\n", ":3: no label in column 'label', but NaN; give the row"),
        (b'{"text": "a", "label": 1}\n{"text": "b", "label": 0}\n', "JSON Lines .* and not CSV"),
        (b'[\n  {"text": "a", "label": 1}\n]\n', "holds JSON, and not CSV"),
        (b"<!DOCTYPE html>\n<p>a</p>", "is an HTML page"),
        (lzma.compress(b"text,label"), "is compressed with xz"),
        (b"\x28\xb5\x2f\xfdrest", "is compressed with zstd"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a pointer of Git LFS"),
        (b"PK\x03\x04rest", "is a zip archive or a spreadsheet"),
        (bz2.compress(b"text,label"), "is compressed with bzip2"),
        (b"PAR1\x15rest", "is a Parquet file; --dataset parquet:PATH reads it"),
        ("text,label\na,1\nb,0\n".encode("utf-16-le"), "UTF-16 or UTF-32 without a byte order"),
        ("text,label\na,1\nb,0\n".encode("utf-16-be"), "UTF-16 or UTF-32 without a byte order"),
        ("text,label\na,1\nb,0\n".encode("utf-32-be"), "UTF-16 or UTF-32 without a byte order"),
    ],
)
def test_damaged_files_are_one_line(content: bytes, message: str, tmp_path: Path) -> None:
    file = written(tmp_path, content)
    with pytest.raises(UsageError, match=message) as caught:
        read(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    file = written(tmp_path, "text,label\na,1\nb,0\n")
    with pytest.raises(
        UsageError,
        match=r"--text-column txt: .* \(did you mean 'text'\?\); it has text, label",
    ):
        read(file, Layout("txt"))
    with pytest.raises(UsageError, match="--label-column stars"):
        read(file, Layout(label_column="stars"))


def test_a_row_in_another_encoding_is_named(tmp_path: Path) -> None:
    rows = [f"text number {number},{'ab'[number % 2]}\n".encode() for number in range(3000)]
    rows[2345] = "caf\u00e9,a\n".encode("latin-1")
    file = written(tmp_path, b"text,label\n" + b"".join(rows))
    with pytest.raises(
        UsageError, match=r"some\.csv:2347: not UTF-8 text .byte 0xe9.; save it as UTF-8"
    ):
        read(file)


CELL = strategies.text(
    strategies.characters(codec="utf-8", exclude_characters="\0"),
    max_size=12,
)


@settings(derandomize=True, max_examples=150, deadline=None)
@given(
    rows=strategies.lists(
        strategies.tuples(
            CELL,
            strategies.sampled_from(["good", "bad", "so, so"]),
            strategies.sampled_from(["train", " TEST", "dev", "unlabeled", ""]) | CELL,
        ),
        min_size=2,
        max_size=12,
    ),
    third=strategies.sampled_from(["other", "split"]),
    ends=strategies.sampled_from([("x", "y"), ("train", "test")]),
    delimiter=strategies.sampled_from(",;\t|"),
    end=strategies.sampled_from(["\n", "\r\n", "\r"]),
    encoding=strategies.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    header=strategies.booleans(),
    named=strategies.booleans(),
    blank=strategies.booleans(),
    trailing=strategies.booleans(),
)
def test_every_row_of_a_written_file_is_used_or_counted(
    rows: list[tuple[str, str, str]],
    third: str,
    ends: tuple[str, str],
    delimiter: str,
    end: str,
    encoding: str,
    header: bool,
    named: bool,
    blank: bool,
    trailing: bool,
) -> None:
    """Files as Python's own writer makes them, in all dialects: rows read and rows counted are the
    rows of the file."""
    rows = [*rows, ("the first", "good", ends[0]), ("the second", "bad", ends[1])]
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
    if blank:
        buffer.write(end)
    if named:
        buffer.write(f"sep={delimiter}{end}")
    if header:
        writer.writerow(["text", "label", third])
    for number, row in enumerate(rows):
        writer.writerow([*row, ""] if trailing and number else row)
    layout = Layout(
        *(("text", "label") if header else ("1", "2")),
        delimiter=None if named else delimiter,
        header=header,
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "some.csv"
        file.write_bytes(buffer.getvalue().encode(encoding))
        table = read(file, layout, min_classes=0)
    parts = [part_of(part.strip()) for _, _, part in rows]
    is_split = header and third == "split" and {"train", "test"} <= set(parts)
    used = [
        (text.strip(), label)
        for (text, label, _), part in zip(rows, parts, strict=True)
        if text.strip() and (part is not None or not is_split)
    ]
    assert list(zip(table.texts, table.labels, strict=True)) == used
    assert table.outside == (parts.count(None) if is_split else 0)
    assert table.empty + table.outside + len(table.texts) == table.rows == len(rows)
    if is_split:
        by_part = [table.of_part(part) for part in PARTS]
        assert sum(part.rows for part in by_part) == len(rows)
        assert Counter(text for part in by_part for text in part.texts) == Counter(table.texts)


PLAIN_CELL = strategies.text(strategies.sampled_from("ab ,;é'"), max_size=8)


@settings(derandomize=True, max_examples=300, deadline=None)
@given(
    rows=strategies.lists(
        strategies.lists(PLAIN_CELL, min_size=0, max_size=4), min_size=0, max_size=8
    ),
    delimiter=strategies.sampled_from(",;"),
)
def test_a_file_without_quotes_is_read_whole_or_refused_by_a_row(
    rows: list[list[str]], delimiter: str
) -> None:
    """Lines as careless programs write them: every cell stands under its column, or the message
    names a row that has too few cells, too many, or no label."""
    good = [["first", "a", "x"], ["second", "b", "y"]]
    lines = [delimiter.join(row) for row in [["text", "label", "by"], *good, *rows]]
    cells = [line.split(delimiter) for line in lines]
    wrong = [
        number
        for number, row in enumerate(cells, start=1)
        if lines[number - 1].strip()
        and (
            len(row) < 3
            or any(cell.strip() for cell in row[3:])
            or (row[0].strip() and not row[1].strip())
        )
    ]
    with tempfile.TemporaryDirectory() as folder:
        file = written(Path(folder), "\n".join(lines))
        if wrong:
            with pytest.raises(UsageError, match=rf"some\.csv:{wrong[0]}: "):
                read(file)
            return
        table = read(file)
    there = [row for line, row in zip(lines[1:], cells[1:], strict=True) if line.strip()]
    used = [(row[0].strip(), row[1].strip()) for row in there if row[0].strip()]
    assert list(zip(table.texts, table.labels, strict=True)) == used
    assert table.rows == len(there) == len(table.texts) + table.empty


def test_rows_within_one_pair_of_quotes_are_pointed_out(tmp_path: Path) -> None:
    lines = [f"text number {number}\t{'ab'[number % 2]}" for number in range(9)]
    lines[2], lines[5] = '"' + lines[2], 'text number 5"\tb'
    table = read(written(tmp_path, "text\tlabel\n" + "\n".join(lines)))
    assert table.rows == 6
    (remark,) = table.remarks
    assert "lines within quoted texts that look like rows: 3, such as 'text number 2\\ta'" in remark
    verse = 'text,label\n"roses, red\nviolets, blue",a\nprose,b\n'
    assert read(written(tmp_path, verse)).remarks == ()


@pytest.mark.parametrize(
    ("content", "texts", "labels"),
    [
        ("sep=;\ntext;label\na, b;1\nc;0\n", ["a, b", "c"], ["1", "0"]),
        ('"sep=|"\ntext|label\na|1\nb|0\n', ["a", "b"], ["1", "0"]),
        ("\n\n\ntext,label\na,1\n\nb,0\n", ["a", "b"], ["1", "0"]),
        ('text,label\n"a\nb",1\nc,0\n', ["a\nb", "c"], ["1", "0"]),
        ('"text, in words";label\na;1\nb;0\n', ["a", "b"], ["1", "0"]),
        ("text,label,\na,1,\nb,0,,\n", ["a", "b"], ["1", "0"]),
        ("text,label,\na,1\nb,0\n", ["a", "b"], ["1", "0"]),
        ("\n  \nsep=;\ntext;label\na;1\n  \nb;0\n", ["a", "b"], ["1", "0"]),
        ('"the\ntext, in words";label\na;1\nb;0\n', ["a", "b"], ["1", "0"]),
        ("sep=\\t\ntext\tlabel\na\t1\nb\t0\n", ["a", "b"], ["1", "0"]),
        ('text, label\n"a, b", "1"\n"c", "0"\n', ["a, b", "c"], ["1", "0"]),
        ('label, text\n1, "a, b"\n0, "c ""d"""\n', ["a, b", 'c "d"'], ["1", "0"]),
        ('text,label\n"a", "b"\nc,0\n', ["a", "c"], ['"b"', "0"]),  # not throughout
        ("text,label\n[a],1\nb,0\n", ["[a]", "b"], ["1", "0"]),
        ("PAR1,label\na,1\nb,0\n", ["a", "b"], ["1", "0"]),
        ("[text],label\na,1\n{b},0\n", ["a", "{b}"], ["1", "0"]),
    ],
)
def test_odd_files_are_read_whole(
    content: str, texts: list[str], labels: list[str], tmp_path: Path
) -> None:
    table = read(written(tmp_path, content))
    assert (table.texts, table.labels, table.remarks) == (texts, labels, ())


def test_a_compressed_file_is_read_whatever_its_name(tmp_path: Path) -> None:
    content = b"text,label\na,1\nb,0\n"
    for name in ("some.csv", "some.csv.gz", "some.TSV.GZ"):
        table = read(written(tmp_path, gzip.compress(content), name))
        assert (table.texts, table.labels) == (["a", "b"], ["1", "0"])
    for damaged in (gzip.compress(content)[:-9], b"\x1f\x8bno gzip at all"):
        with pytest.raises(EnvironmentFailure, match="damaged or cut off"):
            read(written(tmp_path, damaged))
    with pytest.raises(UsageError, match="holds JSON"):
        read(written(tmp_path, gzip.compress(b'{"text": 1}\n')))
    with pytest.raises(UsageError, match=r":2: not UTF-8 text \(byte 0xe9\)"):
        read(written(tmp_path, gzip.compress(b"text,label\ncaf\xe9,1\n")))
    assert read(written(tmp_path, content.decode().encode("utf-32"))).texts == ["a", "b"]


def test_a_tab_is_meant_where_the_name_says_so(tmp_path: Path) -> None:
    content = "text, the words, all of them\tlabel\na\t1\nb\t0\n"
    assert read(written(tmp_path, content, "some.tsv")).labels == ["1", "0"]
    assert read(written(tmp_path, "text,label\na,1\nb,0\n", "some.tsv")).labels == ["1", "0"]
