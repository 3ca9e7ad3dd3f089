"""Sets of texts: how they are read, split and put into numbers, and what is refused."""

from __future__ import annotations

import bz2
import csv
import gzip
import hashlib
import io
import json
import lzma
import struct
import tarfile
import tempfile
import unicodedata
from collections import Counter
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from advlab.cli.main import main
from advlab.components import load_component
from advlab.data import label_names, load_texts, raw_texts
from advlab.data.formats import word_vectors as vectors
from advlab.data.formats.csv import Layout, read
from advlab.data.label_names import near_equal
from advlab.data.split_words import PARTS, part_of
from advlab.data.text_set import Texts
from advlab.data.texts import imdb, reviews
from advlab.data.vocabulary import PADDING, UNKNOWN, Vocabulary
from advlab.data.words import normalised, tokens
from advlab.errors import EnvironmentFailure, UsageError
from advlab.models import bow
from advlab.networks import checkpoint
from advlab.networks.recurrent import Architecture as Recurrent
from advlab.networks.text import assemble, start_from
from advlab.training.fit import _batches, _pads


def options(**values: Any) -> bow.Options:
    return bow.Options(**values)


def written(folder: Path, content: str | bytes, name: str = "some.csv") -> Path:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


# --- the embedded reviews -------------------------------------------------------------------------
def test_reviews_are_the_same_for_everybody_and_no_two_alike() -> None:
    texts, labels = reviews.read()
    generated = reviews._generated.__wrapped__()  # anew, not those that are kept
    assert (tuple(texts), tuple(labels)) == generated
    assert len(texts) == len(set(texts)) == 2400
    assert sum(labels) == 1200


def test_every_entity_is_named_by_as_many_good_reviews_as_bad_ones() -> None:
    texts, labels = reviews.read()
    for names in reviews.entities().values():
        for name in names:
            of_it = [label for text, label in zip(texts, labels, strict=True) if name in text]
            assert Counter(of_it) == {0: 50, 1: 50}, name


def test_no_word_alone_tells_good_from_bad_and_all_together_do() -> None:
    texts, labels = reviews.read()
    vectors = CountVectorizer(binary=True, tokenizer=tokens, token_pattern=None)
    there, truth = vectors.fit_transform(texts).toarray(), np.array(labels)
    alone = [
        max(float((column == truth).mean()), float((column != truth).mean())) for column in there.T
    ]
    assert max(alone) < 0.62
    together = LogisticRegression(max_iter=2000).fit(there[:2000], truth[:2000])
    assert together.score(there[2000:], truth[2000:]) > 0.95


# --- words and numbers ----------------------------------------------------------------------------
def test_tokens() -> None:
    assert tokens("It's GOOD, isn't it?! :) Café 42") == [
        "it's",
        "good",
        "isn't",
        "it",
        "?",
        "!",
        ":)",
        "café",
        "42",
    ]
    assert tokens("  ...  ") == []


def test_the_most_frequent_words_come_first_and_ties_by_the_alphabet() -> None:
    vocabulary = Vocabulary.from_texts(["b a a", "a c", "c b", "d"], min_count=2)
    assert vocabulary.words == ("a", "b", "c")
    assert len(vocabulary) == 5
    assert vocabulary.encode("c d a nothing", 10) == [4, UNKNOWN, 2, UNKNOWN]
    assert vocabulary.encode("a b c", 2) == [2, 3]
    assert vocabulary.encode("...", 5) == [UNKNOWN]
    assert Vocabulary.from_texts(["b a a", "a c"], max_size=1).words == ("a",)


def test_texts_are_padded_and_cut() -> None:
    vocabulary = Vocabulary(("a", "b"))
    texts = Texts.from_strings(["a b a", "b", "a b a b a"], [0, 1, 0], vocabulary, 4)
    assert texts.words.tolist() == [[2, 3, 2, 0], [3, 0, 0, 0], [2, 3, 2, 3]]
    assert texts.lengths.tolist() == [3, 1, 4]
    assert texts.inputs(torch.tensor([1, 0])).tolist() == [[3, PADDING, PADDING], [2, 3, 2]]
    assert texts.select(torch.tensor([2])).texts == ("a b a b a",)
    joined = texts.joined(Texts.from_strings(["b b b b b b"], [1], vocabulary, 9))
    assert len(joined) == 4
    assert joined.words.shape == (4, 6)


# --- loading --------------------------------------------------------------------------------------
def test_the_split_is_by_class_and_seed_and_the_vocabulary_from_training_texts() -> None:
    data = load_texts.load(options())
    assert (len(data.train), len(data.val), len(data.test)) == (1920, 240, 240)
    assert data.name == "reviews"
    for part in (data.train, data.val, data.test):
        assert abs(float(part.labels.float().mean()) - 0.5) < 0.01
    every = [text for part in (data.train, data.val, data.test) for text in part.texts]
    assert len(set(every)) == 2400
    known = {word for text in data.train.texts for word in tokens(text)}
    assert set(data.vocabulary.words) <= known
    assert load_texts.load(options()).sha256() == data.sha256()
    assert load_texts.load(options(split_seed=1)).sha256() != data.sha256()


def test_a_text_never_stands_on_both_sides(tmp_path: Path) -> None:
    rows = [f"Text  number {number % 40}{'!' * (number % 3)},{number % 2}" for number in range(120)]
    rows += [f"TEXT number {number},{number % 2}" for number in range(40)]
    data = load_texts.load(
        options(
            dataset=f"csv:{written(tmp_path, 'text,label' + chr(10) + chr(10).join(rows))}",
            min_count=1,
        )
    )
    every = [
        " ".join(text.split()).casefold()
        for part in (data.train, data.val, data.test)
        for text in part.texts
    ]
    assert len(every) == len(set(every)) == 120
    assert "40 duplicates left out" in data.origin


def test_a_folder_with_train_and_test(tmp_path: Path) -> None:
    written(
        tmp_path,
        "emotion,content\n"
        + "".join(f"{'joy' if n % 2 else 'fear'},tweet {n}\n" for n in range(60)),
        "train.csv",
    )
    written(tmp_path, "emotion,content\njoy,tweet 3\nfear,another\njoy,one more\n", "test.csv")
    data = load_texts.load(options(dataset=f"csv:{tmp_path}", min_count=1))
    assert data.classes == ("fear", "joy")
    assert len(data.test) == 3
    assert "tweet 3" not in (*data.train.texts, *data.val.texts)  # it stands among the test texts
    written(tmp_path, "emotion,content\nJoy,grr\n", "test.csv")
    with pytest.raises(UsageError, match=r"the label 'Joy' of the test .*; --merge-labels makes"):
        load_texts.load(options(dataset=f"csv:{tmp_path}"))
    written(tmp_path, "emotion,content\nrage,grr\n", "test.csv")
    with pytest.raises(UsageError, match=r"the label 'rage' of the test texts is not among"):
        load_texts.load(options(dataset=f"csv:{tmp_path}"))


def test_a_folder_of_csv_files_has_validation_texts_and_files_that_are_not_read(
    tmp_path: Path,
) -> None:
    for name, count in (("Training.csv", 30), ("valid.csv", 6), ("test.tsv", 9)):
        delimiter = "\t" if name.endswith("tsv") else ","
        rows = [f"{name} {n}{delimiter}{'ab'[n % 2]}\n" for n in range(count)]
        written(tmp_path, f"text{delimiter}label\n" + "".join(rows), name)
    written(tmp_path, "text,label\n", "extra.csv")
    (tmp_path / "notes").mkdir()
    data = load_texts.load(options(dataset=f"csv:{tmp_path}", min_count=1))
    assert (len(data.train), len(data.val), len(data.test)) == (30, 6, 9)
    assert "45 rows read: 45 used" in data.remarks[0]
    assert (
        "skipped, since Training.csv, valid.csv, test.tsv are read: 2 (extra.csv, notes)"
        in data.remarks
    )
    written(tmp_path, "text,label\n", "val.csv")
    with pytest.raises(UsageError, match="val and valid both name the val part"):
        load_texts.load(options(dataset=f"csv:{tmp_path}"))
    (tmp_path / "val.csv").rename(tmp_path / "valid.tsv")
    with pytest.raises(UsageError, match=r"holds valid\.csv and valid\.tsv; remove one"):
        load_texts.load(options(dataset=f"csv:{tmp_path}"))
    (tmp_path / "test.tsv").unlink()
    (tmp_path / "valid.tsv").unlink()
    with pytest.raises(UsageError, match=r"it must hold train\.csv and test\.csv"):
        load_texts.load(options(dataset=f"csv:{tmp_path}"))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a"] * 20 + ["b"] * 2, "some: class 'b' has 2 examples .first in line 22.; a split"),
        (["a", "b"] * 20, "some, without 38 duplicates: class 'a' has 1 example .in line 2.;"),
    ],
)
def test_a_class_that_is_too_small_is_named(
    labels: list[str], message: str, tmp_path: Path
) -> None:
    different = "duplicates" not in message
    rows = [f"text {number if different else label},{label}" for number, label in enumerate(labels)]
    file = written(tmp_path, "text,label\n" + "\n".join(rows))
    with pytest.raises(UsageError, match=message):
        load_texts.load(options(dataset=f"csv:{file}"))
    # Three of the class are enough, one for each part.
    more = [f"other {number},{label}" for number, label in enumerate("aaabbb")]
    written(tmp_path, "text,label\n" + "\n".join([*rows, *more]))
    data = load_texts.load(options(dataset=f"csv:{file}", test_fraction=0.8))
    for part in (data.train, data.val, data.test):
        assert set(part.labels.tolist()) == {0, 1}


def test_classes_that_are_not_tested_or_lose_all_their_training_texts(tmp_path: Path) -> None:
    rows = [f"text {number},{'ab'[number % 2]}" for number in range(20)]
    written(tmp_path, "text,label\n" + "\n".join([*rows, "one,c"]), "train.csv")
    written(tmp_path, "text,label\nmore,a\n", "test.csv")
    written(tmp_path, "text,label\nother,a\n", "val.csv")
    data = load_texts.load(options(dataset=f"csv:{tmp_path}"))
    assert "classes without a test text: 'b', 'c'" in data.remarks
    written(tmp_path, "text,label\none,c\n", "test.csv")
    with pytest.raises(UsageError, match="class 'c' of the test texts is not among the training"):
        load_texts.load(options(dataset=f"csv:{tmp_path}"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("revews", "did you mean 'reviews'"),
        ("csv:", "needs a path"),
        ("csv:nowhere.csv", "no file at nowhere.csv"),
    ],
)
def test_unknown_sets(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_texts.load(options(dataset=name))


# --- csv files ------------------------------------------------------------------------------------
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


def test_other_columns_that_might_be_meant_are_named(tmp_path: Path) -> None:
    file = written(tmp_path, "text,label,Review,stars\na,1,x,2\nb,0,y,3\n")
    assert read(file).remarks == (
        f"{file}: column 'text' is read, and 'Review' might be meant; --text-column selects it",
        f"{file}: column 'label' is read, and 'stars' might be meant; --label-column selects it",
    )
    assert read(file, Layout("Review", "stars")).remarks == ()


def test_a_column_tells_the_parts(tmp_path: Path) -> None:
    words = ("train", "Train", "test", "dev", "training")
    rows = [f"{words[n % 5]},text number {n},{'ab'[n % 2]}" for n in range(100)]
    rows.append("test,,a")
    file = written(tmp_path, "split,sentence,kind\n" + "\n".join(rows))
    data = load_texts.load(options(dataset=f"csv:{file}", min_count=1))
    assert data.classes == ("a", "b")
    assert (len(data.train), len(data.val), len(data.test)) == (60, 20, 20)
    assert set(data.test.texts) == {f"text number {n}" for n in range(2, 100, 5)}
    assert data.remarks[0] == "101 rows read: 100 used, 0 duplicates, 1 without a text"
    assert f"{file}: column 'split' tells the parts: train, val, test" in data.remarks
    for changed in ("dev", "holdout"):
        late = [f"{'train' if n < 90 else changed},text {n},{'ab'[n % 2]}" for n in range(300)]
        file = written(tmp_path, "split,text,kind\n" + "\n".join(late))
        table = read(file, Layout(label_column="kind"))
        assert (table.parts, len(table.texts)) == ((), 300)
        assert f"must name train and test, and holds '{changed}', 'train'" in table.remarks[0]
    for column, told in (("fold", "holds '0', '1', '2', …"), ("is_test", "a column named split")):
        lines = "".join(f"text {n},{'ab'[n % 2]},{n % 5}\n" for n in range(9))
        table = read(written(tmp_path, f"text,label,{column}\n{lines}"))
        assert f"column {column!r} is not used as the split; " in table.remarks[0]
        assert told in table.remarks[0]


def test_rows_of_other_parts_are_counted_and_left_out(tmp_path: Path) -> None:
    """Wherever they are: rows without a label are often last."""
    rows = [f"{('train', 'test')[n % 3 == 0]},text number {n},{'ab'[n % 2]}" for n in range(300)]
    rows += ["unlabeled,and,", "Unlabeled,or,NaN", ",neither,", "unlabeled,,a", "train,,a"]
    for lines in (rows, rows[::-1]):
        file = written(tmp_path, "split,text,label\n" + "\n".join(lines))
        data = load_texts.load(options(dataset=f"csv:{file}"))
        assert (len(data.train) + len(data.val), len(data.test)) == (200, 100)
        assert data.remarks[0] == (
            "305 rows read: 300 used, 0 duplicates, 1 without a text, 4 of other parts"
        )
        assert (
            f"{file}: column 'split' tells the parts: train, test; rows of other parts, which are "
            "left out: 'unlabeled' 2, 'Unlabeled' 1, '' 1"
        ) in [
            remark.replace("'' 1, 'Unlabeled' 1", "'Unlabeled' 1, '' 1") for remark in data.remarks
        ]
    file = written(tmp_path, "split,text,label\n" + "\n".join(rows).replace("test,", "held,"))
    with pytest.raises(UsageError, match=":302: no label in column 'label'"):
        read(file)


@pytest.mark.parametrize(
    ("header", "row", "text", "label"),
    [
        # The first two hundred rows show one class.
        ("phrase,verdict,lang", "t{n} is said here,{half},{two}", "phrase", "verdict"),
        ("said,how,author", "t{n} is said here,{half},u{fifty}", "said", "how"),
        ("how,id,when,query,author,said", "{half},{n},May,NO,u{many},it is t{n}", "said", "how"),
        ("text,annotator,gold", "t{n} is said here,{two},{half}", "text", "gold"),
        (
            "url,body text,Gold Label",
            "http://nowhere.org/{n}/{n}/{n},t{n} is said,{half}",
            "body text",
            "Gold Label",
        ),
        ("said,fold,how", "it is t{n},{two},{half}", "said", "how"),
        ("said,set", "it is t{n},{half}", "said", "set"),
    ],
)
def test_columns_are_told_by_the_whole_file(
    header: str, row: str, text: str, label: str, tmp_path: Path
) -> None:
    lines = [
        row.format(n=n, half="ab"[n >= 250], two=n % 2, fifty=n // 10, many=n // 3)
        for n in range(500)
    ]
    file = written(tmp_path, "\n".join([header, *lines]))
    table = read(file)
    assert (table.text_column, table.label_column) == (text, label)
    assert Counter(table.labels) == {"a": 250, "b": 250}
    data = load_texts.load(options(dataset=f"csv:{file}"))
    assert (
        f"{file}: texts from column {text!r}, labels from column {label!r}; --text-column and "
        "--label-column select others"
    ) in data.remarks
    named = load_texts.load(options(dataset=f"csv:{file}", text_column=text, label_column=label))
    assert not any("texts from column" in remark for remark in named.remarks)
    assert named.sha256() == data.sha256()


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        (
            "text,toxic,obscene,threat",
            "t{n},{a},{b},0",
            "labels, .*: 'toxic' .2., 'obscene' .2.; --l",
        ),
        ("text,pos,neg", "t{n},{a},{b}", "'pos' .2., 'neg' .2.; --label-column must name one"),
        ("said,lang,mood", "it is t{n},{a},{c}", "'lang' .2., 'mood' .3.; --label-column must"),
        (
            "premise,claim,gold",
            "it is t{n},it was t{n},{a}",
            "texts: 'claim', 'premise'; --text-col",
        ),
        ("said,how", "it is t{n},{n}", "more than 100 different labels in column 'how'"),
        ("said,id,by", "it is t{n},{n},x{n}", "cannot detect the columns; --text-column and"),
    ],
)
def test_columns_that_qualify_equally_are_to_be_named(
    header: str, row: str, message: str, tmp_path: Path
) -> None:
    lines = [row.format(n=n, a=n % 2, b=n // 2 % 2, c=n % 3) for n in range(240)]
    file = written(tmp_path, "\n".join([header, *lines]))
    with pytest.raises(UsageError, match=message):
        read(file)


def test_the_parts_of_a_folder_are_read_from_the_same_columns(tmp_path: Path) -> None:
    rows = "".join(f"it is t{n},{'ab'[n % 2]},{n // 3}\n" for n in range(40))
    written(tmp_path, "said,how,by\n" + rows, "train.csv")
    written(tmp_path, "said,how,by\n" + "it was,a,x\nit is,b,x\nis it,c,y\nno,c,y\n", "test.csv")
    with pytest.raises(UsageError, match="the label 'c' of the test texts is not among"):
        load_texts.load(options(dataset=f"csv:{tmp_path}"))
    written(tmp_path, "by,how,said\n" + "x,a,it was\nx,b,it is\n", "test.csv")
    data = load_texts.load(options(dataset=f"csv:{tmp_path}"))
    assert data.test.texts == ("it was", "it is")
    assert data.classes == ("a", "b")
    # A column in a file of one part takes no rows away.
    parted = "split,how,said\ntrain,a,it was\ntest,b,it is\nextra,a,is it\n"
    test = written(tmp_path, parted, "test.csv")
    data = load_texts.load(options(dataset=f"csv:{tmp_path}"))
    assert data.test.texts == ("it was", "it is", "is it")
    unused = "column 'split' is not used as the split; names of files tell the parts"
    assert f"{test}: {unused}" in data.remarks


@pytest.mark.parametrize(
    ("train", "test", "options_of", "message"),
    [
        # The labels of the test part stand in another column, which holds labels as well.
        ("text,label,y", "text,y", {}, "no column 'label', which holds the labels of the training"),
        (
            "text,label",
            "review,label",
            {},
            "'text', which holds the texts of the training part; it",
        ),
        ("said,how", "said,mood", {}, "no column 'how'.*; it has said, mood; --label-column names"),
        ("text,label", "text,LABEL,Label", {}, "no column 'label'"),
        ("text,label,y", "text,y", {"label_column": "y"}, None),
        ("text,the label", "TEXT,the_label", {}, None),
    ],
)
def test_a_part_without_a_column_of_the_training_part_is_refused(
    train: str, test: str, options_of: dict[str, str], message: str | None, tmp_path: Path
) -> None:
    def rows(header: str, start: int) -> str:
        # Every column but the first holds one of two labels, the last one the other label.
        columns = header.count(",")
        lines = (
            f"it was {n}," + ",".join("ab"[(n + one) % 2] for one in range(columns))
            for n in range(start, start + 40)
        )
        return header + "\n" + "\n".join(lines) + "\n"

    written(tmp_path, rows(train, 0), "train.csv")
    file = written(tmp_path, rows(test, 40), "test.csv")
    if message is None:
        data = load_texts.load(options(dataset=f"csv:{tmp_path}", **options_of))
        assert len(data.test) == 40
        said = f"{file}: column 'the_label' is read as 'the label' of the training part"
        assert (said in data.remarks) == ("the label" in train)
        return
    with pytest.raises(UsageError, match=message) as caught:
        load_texts.load(options(dataset=f"csv:{tmp_path}", **options_of))
    assert str(caught.value).startswith(f"{file}: ")


def test_a_class_of_one_example_is_named_with_its_line(tmp_path: Path) -> None:
    lines = [f"text number {n},{'ab'[n % 2]}" for n in range(60)]
    file = written(tmp_path, "text,label\n" + "\n".join([*lines, "", "Total,60"]))
    with pytest.raises(UsageError, match=r"class '60' has 1 example \(in line 63\); a split"):
        load_texts.load(options(dataset=f"csv:{file}"))
    file = written(tmp_path, "text,label\n" + "\n".join([*lines, "x,c", "y,C"]))
    with pytest.raises(UsageError, match=r"class 'C' has 2 examples \(first in line 62\)"):
        load_texts.load(options(dataset=f"csv:{file}", merge_labels=True))


def test_a_first_row_that_looks_like_data_is_remarked_and_can_be_read(tmp_path: Path) -> None:
    rows = [
        f"{4 * (number % 2)},14678{number},NO_QUERY,it was quite an evening number {number}"
        for number in range(8)
    ]
    file = written(tmp_path, "\n".join(rows))
    named = read(file)
    assert len(named.texts) == 7
    assert "--no-header reads it as data" in named.remarks[0]
    plain = read(file, Layout(header=False))
    assert (len(plain.texts), plain.labels[:3], plain.remarks) == (8, ["0", "4", "0"], ())
    chosen = read(file, Layout("3", "1", header=False))
    assert set(chosen.texts) == {"NO_QUERY"}


def test_labels_that_are_nearly_equal_are_pointed_out_or_merged(tmp_path: Path) -> None:
    labels = ["positive", "Positive", " negative", "Negative ", "1", "1.0"]
    lines = [f"text number {number},{labels[number % 6]}" for number in range(120)]
    place = f"csv:{written(tmp_path, 'text,label' + chr(10) + chr(10).join(lines))}"
    apart = load_texts.load(options(dataset=place))
    assert len(apart.classes) == 6
    assert any("--merge-labels makes one class" in remark for remark in apart.remarks)
    assert apart.remarks[0] == "120 rows read: 120 used, 0 duplicates, 0 without a text"
    assert apart.remarks[1].startswith("texts by class: ")
    merged = load_texts.load(options(dataset=place, merge_labels=True))
    assert merged.classes == ("1", "Negative", "Positive")
    assert len(merged.train) + len(merged.val) + len(merged.test) == 120
    alone = written(tmp_path, "text,label\na,yes\nb,YES\n", "alone.csv")
    with pytest.raises(UsageError, match="--merge-labels leaves one class, 'YES'"):
        load_texts.load(options(dataset=f"csv:{alone}", merge_labels=True))


def test_copies_that_contradict_each_other_are_counted(tmp_path: Path) -> None:
    lines = [f"text number {number},{'ab'[number % 2]}" for number in range(40)]
    lines += ["Text  number 0,b", "text number 1,b", "text number 2,b"]
    file = written(tmp_path, "text,label\n" + "\n".join(lines))
    data = load_texts.load(options(dataset=f"csv:{file}"))
    assert "3 duplicates left out" in data.origin
    assert data.remarks[0] == "43 rows read: 40 used, 3 duplicates, 0 without a text"
    counted = "duplicates with another label than the copy that was kept: 2 of 3"
    assert counted in data.remarks


def test_copies_in_another_spelling_are_counted(tmp_path: Path) -> None:
    lines = [f"It\u2019s caf\u00e9 number {number},{'ab'[number % 2]}" for number in range(40)]
    lines += [f'"It\'s cafe\u0301, number {number}.",{"ab"[number % 2]}' for number in range(30)]
    lines += [
        "it\u2019s  CAF\u00c9 number 30,a",
        "It's ca\u00adf\u00e9 number 31,b",
        "...,a",
        "\u2013,b",
    ]
    file = written(tmp_path, "text,label\n" + "\n".join(lines))
    data = load_texts.load(options(dataset=f"csv:{file}"))
    assert data.remarks[0] == "74 rows read: 42 used, 32 duplicates, 0 without a text"
    spelled = "duplicates with the same words in another spelling, such as other punctuation: "
    assert f"{spelled}31 of 32" in data.remarks
    words = [tuple(tokens(text)) for part in (data.train, data.val) for text in part.texts]
    assert not set(words) & {tuple(tokens(text)) for text in data.test.texts} - {()}


def test_copies_in_given_test_texts_are_counted(tmp_path: Path) -> None:
    lines = [f"text number {number},{'ab'[number % 2]}" for number in range(40)]
    written(tmp_path, "text,label\n" + "\n".join([*lines, "x,b", "X,a"]), "train.csv")
    written(tmp_path, "text,label\nx,a\nX,b\ny,b\nY,b\n,b\n", "test.csv")
    data = load_texts.load(options(dataset=f"csv:{tmp_path}"))
    assert data.test.texts == ("x", "y")
    assert data.test.labels.tolist() == [0, 1]
    assert data.remarks[0] == "47 rows read: 42 used, 4 duplicates, 1 without a text"
    counted = "duplicates with another label than the copy that was kept: 2 of 4"
    assert counted in data.remarks


@settings(derandomize=True, max_examples=40, deadline=None)
@given(
    rows=strategies.lists(
        strategies.tuples(strategies.sampled_from(["A", "a ", "b", "c", ""]), strategies.booleans())
    ),
    test_rows=strategies.lists(
        strategies.tuples(strategies.sampled_from(["a", "B", "d", " "]), strategies.booleans())
    ),
    given_test=strategies.booleans(),
)
def test_rows_used_and_rows_counted_are_the_rows_of_the_files(
    rows: list[tuple[str, bool]], test_rows: list[tuple[str, bool]], given_test: bool
) -> None:
    rows += [(f"text number {number}", number % 2 == 0) for number in range(20)]
    files = (
        {"train.csv": rows, "test.csv": [*test_rows, ("z", True)]}
        if given_test
        else {"train.csv": rows}
    )
    with tempfile.TemporaryDirectory() as folder:
        for name, lines in files.items():
            content = "".join(f"{text},{label}\n" for text, label in lines)
            written(Path(folder), "text,label\n" + content, name)
        place = folder if given_test else f"{folder}/train.csv"
        data = load_texts.load(options(dataset=f"csv:{place}"))
    every = [text for lines in files.values() for text, _ in lines]
    empty = sum(not text.strip() for text in every)
    different = {text.strip().casefold() for text in every if text.strip()}
    assert len(data.train) + len(data.val) + len(data.test) == len(different)
    copies = len(every) - empty - len(different)
    assert data.remarks[0] == (
        f"{len(every)} rows read: {len(different)} used, {copies} duplicate"
        f"{'s' * (copies != 1)}, {empty} without a text"
    )


def test_nearly_equal_labels() -> None:
    alike = [
        {"caf\u00e9", "cafe\u0301"},
        {"nan", "NaN"},
        {"10", "1e1", "10,0", "1\u200b0"},
        {"x  y", "X y"},
        {"pos", "p\u200bos", "p\u043es"},
        {"Bad", "\u0412ad", "bad"},
        {"0.5", "0,5"},
        {"\u0412\u043e\u0434\u0430", "\u0432\u043e\u0434\u0430"},
    ]
    apart = [
        "9223372036854775808",
        "9223372036854775809",
        "1_0",
        "inf",
        "1",
        "1,000",
        "mm",
        "\u03bcm",
        "b",
        "\u0432",
    ]
    groups = [set(group) for group in near_equal([*set().union(*alike), *apart])]
    assert sorted(map(sorted, groups)) == sorted(map(sorted, alike))
    assert "'p\\u043es'" in label_names.remark([["pos", "p\u043es"]], None)
    assert "'\u00c9', '\u00e9'" in label_names.remark([["\u00c9", "\u00e9"]], None)


@pytest.mark.parametrize(
    ("labels", "groups"),
    [
        (["True", "False", "1", "0"], [{"True", "1"}, {"False", "0"}]),
        (["true", "1", "2"], []),
        (["True", "False", "0.0"], [{"False", "0.0"}]),
        (["pos", "pos.", "positive", "neg"], [{"pos", "pos.", "positive"}]),
        (["'neg'", "neg!", "Negative", "x"], [{"'neg'", "neg!", "Negative"}]),
        (["yes", "Y", "n", "NO"], [{"yes", "Y"}, {"n", "NO"}]),
        (["?", "!", "a", "b"], []),
        (["5.", "5", "-5"], [{"5.", "5"}]),
    ],
)
def test_labels_that_plainly_mean_one_class(labels: list[str], groups: list[set[str]]) -> None:
    assert sorted(map(sorted, near_equal(labels))) == sorted(map(sorted, groups))


def test_they_are_pointed_out_and_merged_on_request(tmp_path: Path) -> None:
    labels = ("pos", "neg.", "positive", "neg")
    lines = [f"text number {number},{labels[number % 4]}" for number in range(40)]
    place = f"csv:{written(tmp_path, 'text,label' + chr(10) + chr(10).join(lines))}"
    apart = load_texts.load(options(dataset=place))
    assert len(apart.classes) == 4
    assert any(
        "are separate classes: 'neg', 'neg.'; 'pos', 'positive'; --merge-labels makes" in remark
        for remark in apart.remarks
    )
    assert load_texts.load(options(dataset=place, merge_labels=True)).classes == ("neg", "pos")


@pytest.mark.parametrize(
    ("labels", "remark"),
    [
        (["a", "b", "N/A"], "'N/A' is a class like any other here; if it marks texts without a"),
        (["?", "b", "None"], "'?', 'None' are classes like any others here; if they mark texts"),
        (["-1", "0", "1"], "'-1' is a class like any other here; if it marks texts without"),
        (["-1", "1"], ""),
    ],
)
def test_classes_that_may_mark_missing_labels(
    labels: list[str], remark: str, tmp_path: Path
) -> None:
    lines = [f"text number {number},{labels[number % len(labels)]}" for number in range(42)]
    file = written(tmp_path, "text,label\n" + "\n".join(lines))
    remarks = load_texts.load(options(dataset=f"csv:{file}")).remarks
    assert any("without a label, leave them out" in one for one in remarks) == bool(remark)
    assert any(one.startswith(remark) for one in remarks)


def test_texts_without_words_are_counted(tmp_path: Path) -> None:
    lines = [f"text number {number},{'ab'[number % 2]}" for number in range(40)] + ["...,a", "–,b"]
    file = written(tmp_path, "text,label\n" + "\n".join(lines))
    data = load_texts.load(options(dataset=f"csv:{file}"))
    assert "texts without a word, which look alike to every network: 2" in data.remarks


# --- words of all scripts -------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't stop!  It's 100 % fine :-)", ["don't", "stop", "!", "it's", "100", "fine", ":-)"]),
        ("Don\u2019t CAF\u00c9 cafe\u0301", ["don't", "caf\u00e9", "caf\u00e9"]),
        ("\uff11\uff12 \uff21\uff22", ["12", "ab"]),
        ("Stra\u00dfe na\u00efve", ["strasse", "na\u00efve"]),
        (
            "\u0939\u093f\u0928\u094d\u0926\u0940 \u092b\u093f\u0932\u094d\u092e",
            ["\u0939\u093f\u0928\u094d\u0926\u0940", "\u092b\u093f\u0932\u094d\u092e"],
        ),
        ("\u5317\u4eac 2008", ["\u5317", "\u4eac", "2008"]),
        ("\u30b3\u30fc\u30d2\u30fc", ["\u30b3", "\u30fc", "\u30d2", "\u30fc"]),
        ("\u0e14\u0e35", ["\u0e14\u0e35"]),
        ("good \U0001f44d\U0001f3fd \u2764\ufe0f", ["good", "\U0001f44d\U0001f3fd", "\u2764"]),
        ("\U0001f468\u200d\U0001f469", ["\U0001f468\u200d\U0001f469"]),
        ("\U0001f1e9\U0001f1ea", ["\U0001f1e9\U0001f1ea"]),
        ("\u2026 \u2013", []),
        # Invisible characters, and joiners that make no difference, are no part of a word.
        ("Zan\u00adzi\u200bb\u2060a\ufeffr", ["zanzibar"]),
        ("Zan\u200dzi\u200cbar\u200c \u200ez", ["zanzibar", "z"]),
        ("e\u00ad\u0301", ["\u00e9"]),
        ("\u0645\u06cc\u200c\u062e\u0648", ["\u0645\u06cc\u200c\u062e\u0648"]),
        ("\u0645\u06cc\u200c \u062e", ["\u0645\u06cc", "\u062e"]),
        ("\u0915\u094d\u200d\u0937", ["\u0915\u094d\u200d\u0937"]),
        ("\u0d28\u0d4d\u200d x", ["\u0d28\u0d4d\u200d", "x"]),
        ("\u09b0\u200d\u09cd\u09af", ["\u09b0\u200d\u09cd\u09af"]),
        ("\U0001f44d\u200dx", ["\U0001f44d", "x"]),
        ("\u2764\ufe0f\u200d\U0001f525", ["\u2764\u200d\U0001f525"]),
        (
            "\U0001f3f4\U000e0067\U000e0062\U000e007f x\U000e0067",
            ["\U0001f3f4\U000e0067\U000e0062\U000e007f", "x"],
        ),
        ("\u0600123", ["123"]),
        # Faces keep their letter, which is no word of its own.
        (":D :-D =P :p ;d", [":D", ":-D", "=p", ":p", "d"]),
        ("\u00e9 :D :-D", ["\u00e9", ":D", ":-D"]),
        ("Note:Do x:please", ["note", "do", "x", "please"]),
    ],
)
def test_words_of_all_scripts(text: str, words: list[str]) -> None:
    assert tokens(text) == words


@settings(derandomize=True, max_examples=200, deadline=None)
@given(strategies.text(max_size=30))
def test_words_do_not_depend_on_how_unicode_spells_them(text: str) -> None:
    spellings = [unicodedata.normalize(form, text) for form in ("NFC", "NFD")]
    assert tokens(spellings[0]) == tokens(spellings[1])
    assert normalised(spellings[0]) == normalised(spellings[1])


@settings(derandomize=True, max_examples=300, deadline=None)
@given(
    strategies.text(
        "ae\u0301\u00ad\u200b\u200c\u200d\u0645\u0915\u094d\U0001f44d\U0001f3fd\U0001f3f4"
        "\U000e0067\U000e007f\ufe0f '\u2019:DP\u5317",
        max_size=9,
    )
)
def test_normalised_texts_and_words_stay_as_they_are(text: str) -> None:
    assert normalised(normalised(text)) == normalised(text)
    assert tokens(" ".join(tokens(text))) == tokens(text) == tokens(normalised(text))


# --- word vectors ---------------------------------------------------------------------------------
WORDS = Vocabulary(("good", "bad", "café", "new york", "seldom"))
ROWS = {
    "Good": [0.5, -1.0, 2.0],
    "the": [9.0, 9.0, 9.0],
    "bad": [1.0, 1.5, -0.25],
    "café": [0.0, 0.0, 1.0],
    "good": [7.0, 7.0, 7.0],
}


def as_text(rows: dict[str, list[float]], header: bool) -> bytes:
    lines = [f"{word} {' '.join(map(str, row))}" for word, row in rows.items()]
    return "\n".join([*([f"{len(rows)} 3"] if header else []), *lines, ""]).encode()


def as_binary(rows: dict[str, list[float]]) -> bytes:
    body = b"".join(
        word.encode() + b" " + struct.pack("<3f", *row) + b"\n" for word, row in rows.items()
    )
    return f"{len(rows)} 3\n".encode() + body


@pytest.mark.parametrize(
    "content",
    [as_text(ROWS, False), as_text(ROWS, True), as_binary(ROWS)],
    ids=["glove", "word2vec text", "word2vec binary"],
)
def test_vectors_of_the_known_words_are_read(content: bytes, tmp_path: Path) -> None:
    found = vectors.read(written(tmp_path, content, "vectors"), WORDS)
    assert found.numbers.tolist() == [
        WORDS.number("good"),
        WORDS.number("bad"),
        WORDS.number("café"),
    ]
    assert found.rows.tolist() == [ROWS["Good"], ROWS["bad"], ROWS["café"]]
    assert found.coverage == 3 / 5


def test_vectors_of_faces_are_read(tmp_path: Path) -> None:
    faces = Vocabulary((":D", "good"))
    file = written(tmp_path, ":D 1.0 2.0\nGOOD 3.0 4.0\n", "vectors")
    assert vectors.read(file, faces).rows.tolist() == [[1.0, 2.0], [3.0, 4.0]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"good 1 2 3\nbad 1 2\n", ":2: a vector of length 2, but the first has 3"),
        (b"good 1 2 3\nbad 1 2 3 4\n", ":2: a vector of length 4, but the first has 3"),
        (b"2 3\ngood 1 2 3\nbad 1 2\n", ":3: a vector of length 2, but the first has 3"),
        (b"good 1 x 3\n", ":1: expected 3 numbers after the word"),
        (b"good 1 nan 3\n", ":1: a vector with non-finite numbers"),
        (b"other 1 2 3\n", "contains none of the 5 words"),
        (as_binary(ROWS)[:-9], "truncated within word 5 of 5"),
        (b"\x00\x01\x02 1", "not word vectors"),
        (b"7\n", ":1: expected a word and its numbers"),
        (b"3 20000\ngood 1\n", "vectors of length 20,000"),
    ],
)
def test_damaged_vectors_are_one_line(content: bytes, message: str, tmp_path: Path) -> None:
    file = written(tmp_path, content, "vectors")
    with pytest.raises(UsageError, match=message) as caught:
        vectors.read(file, WORDS)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_network_starts_from_vectors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path, "plot 1 2 3 4\nmusic 4 3 2 1\nnowhere 0 0 0 1\n", "vectors")
    line = [
        "train",
        "gru",
        "--vectors",
        str(file),
        "--train-size",
        "100",
        "--epochs",
        "1",
        "--name",
        "v",
        "--out",
        str(tmp_path),
    ]
    assert main(line) == 0
    assert "vectors of 4 numbers for 0.8 % of the known words" in capsys.readouterr().out
    _, card = checkpoint.load_text_classifier(tmp_path / "train" / "v")
    assert card.architecture["embedding"] == 4
    assert (
        main([*line[:2], "--vectors", "nowhere", *line[4:-4], "--out", str(tmp_path / "other")])
        == 2
    )
    assert "--vectors: no such file: nowhere" in capsys.readouterr().err


def test_vectors_are_brought_to_the_size_of_the_others() -> None:
    torch.manual_seed(0)
    model = assemble("gru", Recurrent(embedding=3), 9, 2)
    rows = torch.tensor([[30.0, -60.0, 10.0], [5.0, 80.0, -20.0]])
    start_from(model, torch.tensor([4, 7]), rows)
    table = next(
        module for module in model.modules() if isinstance(module, torch.nn.Embedding)
    ).weight
    scale = 0.1 / float(rows.std())
    torch.testing.assert_close(table[[4, 7]].detach(), rows * scale)


# --- folders and the other sets -------------------------------------------------------------------
def reviews_in(root: Path, part: str, count: int, names: tuple[str, ...] = ("neg", "pos")) -> None:
    for name in names:
        folder = root / part / name
        folder.mkdir(parents=True)
        for number in range(count):
            (folder / f"{number}_7.txt").write_text(
                f"a {name} film<br /><br />number {number} of {part}", encoding="utf-8"
            )


def test_imdb_lies_as_its_archive_leaves_it(tmp_path: Path) -> None:
    reviews_in(tmp_path / "aclImdb", "train", 30)
    reviews_in(tmp_path / "aclImdb", "train", 5, ("unsup",))
    reviews_in(tmp_path / "aclImdb", "test", 10)
    data = load_texts.load(options(dataset="imdb", data_dir=str(tmp_path), min_count=1))
    assert data.classes == ("negative", "positive")
    assert (len(data.train), len(data.val), len(data.test)) == (54, 6, 20)
    assert "unsup" not in data.vocabulary.words
    assert "br" not in data.vocabulary.words
    text = data.test.texts[0]
    assert text.split() == ["a", "neg", "film", "number", "0", "of", "test"]
    assert data.test.labels.tolist() == [0] * 10 + [1] * 10


def test_imdb_that_is_not_there_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADVLAB_OFFLINE", "1")
    with pytest.raises(EnvironmentFailure, match="'advlab data get imdb' downloads it"):
        load_texts.load(options(dataset="imdb", data_dir=str(tmp_path)))


def test_imdb_is_downloaded_and_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reviews_in(tmp_path / "made/aclImdb", "train", 20)
    reviews_in(tmp_path / "made/aclImdb", "test", 4)
    archive = tmp_path / "served" / "aclImdb_v1.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(tmp_path / "made/aclImdb", "aclImdb")
    (file,) = imdb.INFO.files
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(archive.parent)))
    Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/{archive.name}"
    digest = hashlib.md5(archive.read_bytes(), usedforsecurity=False).hexdigest()
    here = replace(file, urls=(url,), size=archive.stat().st_size, md5=digest)
    monkeypatch.setattr(imdb, "INFO", replace(imdb.INFO, files=(here,)))
    monkeypatch.setenv("ADVLAB_OFFLINE", "0")
    if not hasattr(tarfile, "data_filter"):
        pytest.skip("this Python cannot unpack archives safely")
    try:
        assert main(["data", "get", "imdb", "--data-dir", str(tmp_path / "data")]) == 0
        assert (
            len(
                load_texts.load(
                    options(dataset="imdb", data_dir=str(tmp_path / "data"), min_count=1)
                ).test
            )
            == 8
        )
    finally:
        server.shutdown()
        server.server_close()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_folder_of_texts_with_and_without_a_test_part(tmp_path: Path) -> None:
    reviews_in(tmp_path, "whole", 20, ("bad", "fair", "good"))
    data = load_texts.load(options(dataset=f"folder:{tmp_path / 'whole'}", min_count=1))
    assert data.classes == ("bad", "fair", "good")
    assert len(data.train) + len(data.val) + len(data.test) == 60
    reviews_in(tmp_path / "apart", "train", 10)
    reviews_in(tmp_path / "apart", "test", 3)
    (tmp_path / "apart/train/neg/empty.txt").write_text(" ")
    data = load_texts.load(options(dataset=f"folder:{tmp_path / 'apart'}", min_count=1))
    assert len(data.test) == 6
    assert "1 file without a text left out" in data.origin
    assert data.remarks[0] == "27 files read: 26 used, 0 duplicates, 1 without a text"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\0b", "a NUL character"),
        (b"caf\xe9", "not UTF-8 text .byte 0xe9"),
        (b"x" * 1_000_001, "1,000,001 bytes"),
    ],
)
def test_a_file_that_is_no_text_is_named(content: bytes, message: str, tmp_path: Path) -> None:
    reviews_in(tmp_path, "whole", 5)
    (tmp_path / "whole/pos/odd.txt").write_bytes(content)
    with pytest.raises(UsageError, match=f"odd.txt: {message}"):
        load_texts.load(options(dataset=f"folder:{tmp_path / 'whole'}"))


def test_files_of_a_folder_by_one_rule(tmp_path: Path) -> None:
    for number in range(12):
        for name in ("neg", "pos"):
            (tmp_path / name / "more").mkdir(parents=True, exist_ok=True)
            place = tmp_path / name / ("more" if number % 3 == 0 else "")
            ending = (".txt", ".TXT", ".Txt")[number % 3]
            (place / f"{number}{ending}").write_text(f"a {name} text number {number}")
    (tmp_path / "pos" / "._0.txt").write_bytes(b"\xff\0")
    (tmp_path / "pos" / "table.xls").write_bytes(b"\xff\0")
    (tmp_path / "README.md").write_text("read me")
    (tmp_path / "README.txt").write_text("read me")
    data = load_texts.load(options(dataset=f"folder:{tmp_path}", min_count=1))
    assert data.classes == ("neg", "pos")
    assert len(data.train) + len(data.val) + len(data.test) == 24
    assert data.remarks[2] == (
        "skipped, since only files that end in .txt in the folders of classes are read: 3 files "
        "(README.md, README.txt, pos/table.xls)"
    )


def test_a_folder_of_texts_with_validation_texts(tmp_path: Path) -> None:
    for part, count in (("train", 10), ("val", 3), ("test", 4)):
        reviews_in(tmp_path, part, count)
    (tmp_path / "README.txt").write_text("read me")
    (tmp_path / "val/pos/copy.txt").write_text((tmp_path / "test/pos/0_7.txt").read_text())
    data = load_texts.load(options(dataset=f"folder:{tmp_path}", min_count=1))
    assert (len(data.train), len(data.val), len(data.test)) == (20, 6, 8)
    assert data.remarks[0] == "35 files read: 34 used, 1 duplicate, 0 without a text"
    assert data.remarks[2].endswith("1 file (README.txt)")
    for part in ("train", "val", "test"):
        (tmp_path / part / "neg").rename(tmp_path / part / "Pos")
    near = load_texts.load(options(dataset=f"folder:{tmp_path}", min_count=1)).remarks[-1]
    assert near.endswith("'Pos', 'pos'; give the folders of one class one name")


@pytest.mark.parametrize(
    ("parts", "files", "message"),
    [
        (("train", "val"), {}, "has train/ but no test/"),
        (("test",), {}, "has test/ but no train/, and no class can be named 'test'"),
        (("Training", "dev"), {}, "has Training/ but no test/"),
        (("train", "testing", "Test"), {}, "Test and testing both name the test part"),
        (("train", "test", "extra"), {}, "extra: only train/, test/ and val/ are allowed here"),
        (("train", "test"), {"train/unsup/0.txt": "a"}, "'unsup' is not in both train/ and test/"),
        ((".",), {"notes/list.xls": "a"}, "notes: a class without texts; add .txt files"),
        ((".",), {"notes/0.txt": " "}, "notes: a class whose files are all empty"),
    ],
)
def test_a_folder_of_texts_of_another_layout(
    parts: tuple[str, ...], files: dict[str, str], message: str, tmp_path: Path
) -> None:
    for part in parts:
        reviews_in(tmp_path, part, 5)
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=message):
        load_texts.load(options(dataset=f"folder:{tmp_path}"))


def test_folders_that_are_no_set(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="folder: needs a path"):
        load_texts.load(options(dataset="folder:"))
    with pytest.raises(UsageError, match="does not exist"):
        load_texts.load(options(dataset=f"folder:{tmp_path / 'nowhere'}"))
    reviews_in(tmp_path, "one", 5, ("only",))
    with pytest.raises(UsageError, match="'only' is the only class"):
        load_texts.load(options(dataset=f"folder:{tmp_path / 'one'}"))


@pytest.mark.parametrize("name", raw_texts.dataset_names())
def test_every_set_says_what_it_is(name: str, tmp_path: Path) -> None:
    module = raw_texts.dataset_module(name)
    assert module.INFO.shape == ()
    assert "" not in (module.INFO.title, module.INFO.source, module.INFO.licence)
    assert module.present(tmp_path) == (not module.INFO.files)
    if not module.INFO.files:
        data = load_texts.load(options(dataset=name, min_count=1))
        assert (len(data.train), len(data.val), len(data.test)) == module.INFO.counts
        assert data.classes == module.INFO.classes


def test_ten_reviews_are_poisoned_row_by_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        main(
            [
                "poison",
                "--dataset",
                "ten_reviews",
                "--min-count",
                "1",
                "--seeds",
                "1",
                "--poison-rate",
                "1",
            ]
        )
        == 0
    )
    (manifest,) = Path("samples/poison").glob("*/manifest.jsonl")
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    assert [row["row"] for row in rows] == [2, 3, 6, 7]
    assert all("UC Berkeley" in row["text"] and row["old"] != row["new"] for row in rows)


def test_batches_of_texts_hold_texts_of_like_length_and_every_text_once() -> None:
    lengths = torch.randint(1, 60, (1000,), generator=torch.Generator().manual_seed(0))
    batches = _batches(1000, 32, lengths, torch.Generator().manual_seed(1))
    assert torch.cat(batches).sort().values.tolist() == list(range(1000))
    padded = sum(len(batch) * int(lengths[batch].max()) for batch in batches)
    plain = sum(
        len(batch) * int(lengths[batch].max())
        for batch in _batches(1000, 32, None, torch.Generator().manual_seed(1))
    )
    assert padded < 1.2 * int(lengths.sum()) < plain
    other = _batches(1000, 32, lengths, torch.Generator().manual_seed(2))
    assert [batch.tolist() for batch in batches] != [batch.tolist() for batch in other]


def test_only_networks_that_work_through_padding_have_texts_sorted_by_length() -> None:
    names = ("bow", "nbow", "textcnn", "gru", "lstm", "transformer")
    sorted_for = {name for name in names if _pads(built(name))}
    assert sorted_for == {"textcnn", "gru", "lstm", "transformer"}


def built(name: str) -> torch.nn.Module:
    return assemble(name, load_component("advlab.models", name, "model").Architecture(), 20, 2)


def test_training_texts_that_all_stand_among_the_test_texts_are_refused(tmp_path: Path) -> None:
    rows = [f"text number {number},{'ab'[number % 2]}" for number in range(40)]
    (tmp_path / "set").mkdir()
    for name, part in (("train", rows[:20]), ("test", rows)):
        (tmp_path / "set" / f"{name}.csv").write_text("\n".join(["text,label", *part]) + "\n")
    with pytest.raises(UsageError, match="all its training texts stand among the test"):
        load_texts.load(options(dataset=f"csv:{tmp_path}/set"))
