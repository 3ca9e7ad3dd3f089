"""CSV files of texts: which columns and which parts their rows are of."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from text_files import options, written

from advlab.data import load_texts
from advlab.data.formats.csv import Layout, read
from advlab.errors import UsageError


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
