"""Files of word vectors: how they are read, and networks that start from them."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import torch
from text_files import written

from advlab.cli.main import main
from advlab.data.formats import word_vectors as vectors
from advlab.data.vocabulary import Vocabulary
from advlab.errors import UsageError
from advlab.networks import checkpoint
from advlab.networks.recurrent import Architecture as Recurrent
from advlab.networks.text import assemble, start_from

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
