"""Labels of texts that mean one class, or that are missing."""

from __future__ import annotations

from pathlib import Path

import pytest
from text_files import options, written

from advlab.data import label_names, load_texts
from advlab.data.label_names import near_equal
from advlab.errors import UsageError


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
        (["'1", "1", "'.5'", "0.5", "5"], [{"'1", "1"}, {"'.5'", "0.5"}]),
        (["\u22121", "-1", "1"], [{"\u22121", "-1"}]),
        (["1,000", "1000", "1", "1,5", "1.5"], [{"1,000", "1000"}, {"1,5", "1.5"}]),
        (
            ["\u00abpos\u00bb", "(pos)", "[pos]", "pos"],
            [{"\u00abpos\u00bb", "(pos)", "[pos]", "pos"}],
        ),
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
        (["0", "1", "2", "255"], "'255' is a class like any other here; if it marks texts without"),
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
