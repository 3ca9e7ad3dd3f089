"""Rows of texts that are copies of others, that hold no words, or that are not used."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings, strategies
from text_files import options, written

from advlab.data import load_texts
from advlab.data.words import tokens


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


def test_texts_without_words_are_counted(tmp_path: Path) -> None:
    lines = [f"text number {number},{'ab'[number % 2]}" for number in range(40)] + ["...,a", "–,b"]
    file = written(tmp_path, "text,label\n" + "\n".join(lines))
    data = load_texts.load(options(dataset=f"csv:{file}"))
    assert "texts without a word, which look alike to every network: 2" in data.remarks


def test_texts_with_html_entities_are_counted(tmp_path: Path) -> None:
    lines = [
        f"AT{'&amp;' if number % 4 else '&'}T number {number},{number % 2}" for number in range(40)
    ]
    file = written(tmp_path, "text,label\n" + "\n".join(lines))
    remarks = load_texts.load(options(dataset=f"csv:{file}")).remarks
    assert "texts with HTML entities such as &amp;, read as they stand: 30" in remarks


def test_texts_that_are_cut_are_counted_and_those_that_begin_alike(tmp_path: Path) -> None:
    header = "to whom it may concern " * 3  # fifteen words above every second text
    texts = [f"{header * (number % 2)}text number{number} is short" for number in range(40)]
    lines = [f"{text},{'pos' if number % 3 else 'neg'}" for number, text in enumerate(texts)]
    file = written(tmp_path, "text,label\n" + "\n".join(lines))
    few = load_texts.load(options(dataset=f"csv:{file}", max_words=15))
    assert (
        "texts cut after 15 words (--max-words): 20 of 40; 20 so long cannot be told from another "
        "by what is read"
    ) in few.remarks
    more = load_texts.load(options(dataset=f"csv:{file}", max_words=18))
    assert any(
        one.startswith("texts cut after 18 words (--max-words): 20 of") for one in more.remarks
    )
    every = load_texts.load(options(dataset=f"csv:{file}", max_words=19))
    assert not any("cut after" in remark for remark in every.remarks)
