"""Sets of texts: how they are read, split and put into numbers, and what is refused."""

from __future__ import annotations

import hashlib
import json
import struct
import tarfile
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
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from advlab.cli.main import main
from advlab.components import load_component
from advlab.data import load_texts, raw_texts
from advlab.data.formats import word_vectors as vectors
from advlab.data.formats.csv import read
from advlab.data.text_set import Texts
from advlab.data.texts import imdb, reviews
from advlab.data.vocabulary import PADDING, UNKNOWN, Vocabulary, tokens
from advlab.errors import EnvironmentFailure, UsageError
from advlab.models import bow
from advlab.networks import checkpoint
from advlab.networks.recurrent import Architecture as Recurrent
from advlab.networks.text import assemble, start_from
from advlab.training.fit import _batches, _pads

COLUMNS: tuple[None, None, None] = (None, None, None)


def options(**values: Any) -> bow.Options:
    return bow.Options(**values)


def written(folder: Path, content: str | bytes, name: str = "some.csv") -> Path:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


# --- the embedded reviews -------------------------------------------------------------------------
def test_reviews_are_the_same_for_everybody_and_no_two_alike() -> None:
    texts, labels = reviews.read()
    assert (texts, labels) == reviews.read()
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
    written(tmp_path, "emotion,content\nrage,grr\n", "test.csv")
    with pytest.raises(UsageError, match=r"the label 'rage' is not in train.csv"):
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
    table = read(written(tmp_path, "\n".join(lines)), None, "mood", None)
    assert table.texts == [f"a long{delimiter} quoted sentence", "another sentence"]
    assert table.labels == ["good", "bad"]


def test_columns_by_their_usual_names_or_as_named(tmp_path: Path) -> None:
    file = written(tmp_path, "\ufeffSentiment,id,Text,other\n1,7,fine,x\n0,8,poor,y\n")
    assert read(file, *COLUMNS).texts == ["fine", "poor"]
    assert read(file, *COLUMNS).labels == ["1", "0"]
    assert read(file, "other", "id", None).texts == ["x", "y"]
    odd = written(
        tmp_path,
        "a,b,c\n1,0,a rather long sentence\n2,1,yet another long sentence\n3,0,and one more of "
        "them\n",
    )
    assert read(odd, *COLUMNS).labels == ["0", "1", "0"]


def test_rows_without_text_or_label_are_left_out_and_counted(tmp_path: Path) -> None:
    table = read(written(tmp_path, "text,label\ngood,1\n,0\n  ,1\nbad,0\nodd,\n\n"), *COLUMNS)
    assert table.texts == ["good", "bad"]
    assert table.skipped == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"  \n\n", "is empty"),
        (b"text,label\n", "no rows below the header"),
        (b"text,label\na,1\nb,1\n", "holds only '1'; at least two classes are"),
        (b"text,label\na\nb,1\n", r":2: 1 cells, but the header has 2 columns"),
        (b"text,label\na,1\nb\0c,0\n", r":3: a NUL character"),
        (b'text,label\na,1\n"b,0\nc,1\n', "a closing quote is missing"),
        (b"text,label\n" + b'"' + b"x" * 1_100_000 + b'",1\n', "more than 1,000,000 characters"),
        (b"text,label\ncaf\xe9,1\nb,0\n", "not UTF-8"),
        ("text,label\na,1\n".encode("utf-16"), "UTF-16"),
        (
            b"text,label\n" + b"".join(b"a%d,%d\n" % (n, n) for n in range(200)),
            "more than 100 different labels in column 'label'",
        ),
        (b"text\na\nb\n", "cannot detect the columns"),
    ],
)
def test_damaged_files_are_one_line(content: bytes, message: str, tmp_path: Path) -> None:
    file = written(tmp_path, content)
    with pytest.raises(UsageError, match=message) as caught:
        read(file, *COLUMNS)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    file = written(tmp_path, "text,label\na,1\nb,0\n")
    with pytest.raises(
        UsageError,
        match=r"--text-column txt: .* \(did you mean 'text'\?\); it has text, label",
    ):
        read(file, "txt", None, None)
    with pytest.raises(UsageError, match="--label-column stars"):
        read(file, None, "stars", None)


def test_a_row_in_another_encoding_is_named(tmp_path: Path) -> None:
    rows = [f"text number {number},{'ab'[number % 2]}\n".encode() for number in range(3000)]
    rows[2345] = "caf\u00e9,a\n".encode("latin-1")
    file = written(tmp_path, b"text,label\n" + b"".join(rows))
    with pytest.raises(
        UsageError, match=r"some\.csv:2347: not UTF-8 text .byte 0xe9.; save it as UTF-8"
    ):
        read(file, *COLUMNS)


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
    assert "1 empty files left out" in data.origin


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


def test_folders_that_are_no_set(tmp_path: Path) -> None:
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
    sorted_for = {name for name in ("bow", "nbow", "textcnn", "gru", "lstm") if _pads(built(name))}
    assert sorted_for == {"textcnn", "gru", "lstm"}


def built(name: str) -> torch.nn.Module:
    return assemble(name, load_component("advlab.models", name, "model").Architecture(), 20, 2)
