"""Sets of texts: how they are split and put into numbers, and what is refused."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from text_files import options, written

from advlab.cli.main import main
from advlab.components import load_component
from advlab.data import load_texts
from advlab.data.texts import reviews
from advlab.data.words import tokens
from advlab.errors import UsageError
from advlab.networks.text import assemble
from advlab.training.fit import _batches, _pads


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
