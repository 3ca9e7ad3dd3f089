"""Networks that read texts: what each owes, through the front door and by itself."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import Tensor

from advlab.cli.main import main
from advlab.components import component_names, load_component
from advlab.config.fields import image_models
from advlab.networks.text import (
    BagOfWords,
    Convolved,
    WeightedPhrases,
    assemble,
    prepare,
    takes_texts,
)
from advlab.networks.transformer import Block, Encoder, SelfAttention

READERS = [name for name in component_names("advlab.models") if takes_texts(name)]
each = pytest.mark.parametrize("name", READERS)
SMALL = ["--train-size", "120", "--epochs", "2", "--batch-size", "30"]


def build(name: str, seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    model = assemble(name, load_component("advlab.models", name, "model").Architecture(), 50, 3)
    prepare(model, [(torch.randint(1, 50, (200, 12)), torch.randint(3, (200,)))])
    return model.eval()


def padded(numbers: Tensor, by: int) -> Tensor:
    return torch.nn.functional.pad(numbers, (0, by))


def test_there_are_six_and_none_of_them_takes_images() -> None:
    assert READERS == ["bow", "gru", "lstm", "nbow", "textcnn", "transformer"]
    assert not set(READERS) & set(image_models())


@each
def test_numbers_become_logits_and_the_seed_decides_the_weights(name: str) -> None:
    numbers = torch.randint(1, 50, (4, 9))
    model = build(name)
    with torch.no_grad():
        logits = model(numbers)
        assert logits.shape == (4, 3)
        assert torch.equal(logits, build(name)(numbers))
        assert not torch.equal(logits, build(name, seed=1)(numbers))


@each
def test_padding_changes_nothing_nor_do_the_other_texts(name: str) -> None:
    model = build(name)
    numbers = torch.randint(1, 50, (4, 9))
    numbers[1, 4:] = 0
    with torch.no_grad():
        logits = model(numbers)
        torch.testing.assert_close(model(padded(numbers, 6)), logits)
        torch.testing.assert_close(model(numbers[1:2, :5]), logits[1:2])
        torch.testing.assert_close(model(numbers[1:2, :4]), logits[1:2])


@each
def test_texts_of_a_single_word(name: str) -> None:
    with torch.no_grad():
        assert build(name)(torch.tensor([[5]])).isfinite().all()


def test_a_bag_holds_each_word_once_and_no_padding() -> None:
    bag = BagOfWords(6)(torch.tensor([[3, 3, 1, 0], [5, 0, 0, 0]]))
    assert bag.tolist() == [[0, 1, 0, 1, 0, 0], [0, 0, 0, 0, 0, 1]]


def test_filters_are_convolutions_over_words() -> None:
    torch.manual_seed(0)
    layer = Convolved(20, 4, 2, (2, 3), 0.0)
    numbers = torch.tensor([[3, 7, 7, 2, 9, 0, 0]])
    with torch.no_grad():
        found = layer(numbers)[0].tolist()
        rows = torch.cat([layer.embedding(numbers[0, :5]), torch.zeros(2, 4)])
        naive: list[float] = []
        for convolution in layer.convolutions:
            assert isinstance(convolution, torch.nn.Conv1d)
            width = convolution.kernel_size[0]
            assert convolution.bias is not None
            for unit in range(2):
                windows = [rows[start : start + width].T for start in range(5)]
                answers = [
                    float((convolution.weight[unit] * window).sum() + convolution.bias[unit])
                    for window in windows
                ]
                naive.append(max(0.0, *answers))
    assert found == pytest.approx(naive, abs=1e-6)


def test_the_encoder_is_the_formulas_of_its_papers() -> None:
    """Against a loop over texts without padding, places, heads and columns, in float64."""
    torch.manual_seed(0)
    width, heads, size = 6, 2, 3
    model = Encoder(20, 3, 4, width, heads, 2, 0.4).double().eval()
    texts = [[3, 7, 7, 2, 9], [5], [4, 11, 4]]

    def normalised(row: Tensor, layer: torch.nn.LayerNorm) -> Tensor:
        centred = row - row.mean()
        return centred / (centred.square().mean() + 1e-5).sqrt() * layer.weight + layer.bias

    def position(place: int) -> list[float]:
        angles = [place / 10_000 ** (column // 2 * 2 / width) for column in range(width)]
        return [math.cos(a) if column % 2 else math.sin(a) for column, a in enumerate(angles)]

    def attention(rows: list[Tensor], layer: SelfAttention) -> list[Tensor]:
        queries, keys, values = (
            [layer.into(row)[part * width : (part + 1) * width].split(size) for row in rows]
            for part in range(3)
        )
        mixed: list[Tensor] = []
        for query in queries:
            parts = []
            for head in range(heads):
                scores = [float(query[head] @ key[head]) / math.sqrt(size) for key in keys]
                total = sum(map(math.exp, scores))
                weighed = zip(scores, values, strict=True)
                parts.append(sum(math.exp(score) / total * value[head] for score, value in weighed))
            mixed.append(layer.out(torch.cat(parts)))
        return mixed

    def logits(text: list[int]) -> Tensor:
        rows = [
            model.into(2 * model.embedding.weight[word])  # the root of the dimension is 2
            + torch.tensor(position(place), dtype=torch.float64)
            for place, word in enumerate(text)
        ]
        for block in model.blocks:
            assert isinstance(block, Block)
            before = [normalised(row, block.before_attention) for row in rows]
            attended = attention(before, block.attention)
            rows = [row + added for row, added in zip(rows, attended, strict=True)]
            rows = [
                row + block.feedforward(normalised(row, block.before_feedforward)) for row in rows
            ]
        mean = torch.stack([normalised(row, model.norm) for row in rows]).mean(dim=0)
        last: Tensor = model.last(mean)
        return last

    with torch.no_grad():
        longest = max(map(len, texts)) + 2
        together = torch.tensor([text + [0] * (longest - len(text)) for text in texts])
        expected = torch.stack([logits(text) for text in texts])
        torch.testing.assert_close(model(together), expected, atol=1e-12, rtol=1e-10)


def test_phrases_are_weighed_by_naive_bayes() -> None:
    """Beside a count by hand, in strings."""
    rows = [[2, 3, 2, 3], [2, 4, 0, 0], [4, 3, 2, 0], [2, 3, 5, 0]]
    labels = [0, 1, 1, 0]
    model = WeightedPhrases(6, 2, 2, 10_007)
    model.prepare(
        [
            (torch.tensor(rows[:2]), torch.tensor(labels[:2])),
            (torch.tensor(rows[2:]), torch.tensor(labels[2:])),
        ]
    )

    def phrases(row: list[int]) -> set[tuple[int, ...]]:
        words = [word for word in row if word]
        return {(word,) for word in words} | set(itertools.pairwise(words))

    counts = [
        Counter(
            phrase
            for row, label in zip(rows, labels, strict=True)
            if label == k
            for phrase in phrases(row)
        )
        for k in (0, 1)
    ]
    totals = [sum(count.values()) + 6 + 10_007 for count in counts]

    def ratio(phrase: tuple[int, ...], k: int) -> float:
        if len(phrase) > 1 and counts[0][phrase] + counts[1][phrase] < 2:
            return 0.0
        return math.log((counts[k][phrase] + 1) / totals[k]) - math.log(
            (counts[1 - k][phrase] + 1) / totals[1 - k]
        )

    with torch.no_grad():
        model.weight.fill_(1.0)
        found = model(torch.tensor(rows))
    expected = [[sum(ratio(phrase, k) for phrase in phrases(row)) for k in (0, 1)] for row in rows]
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-4, rtol=1e-4)


@each
def test_training_through_the_front_door(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path)]
    assert main(["train", name, *SMALL, "--name", "one", *out]) == 0
    folder = tmp_path / "train" / "one"
    said = json.loads((folder / "metrics.json").read_text())
    assert said["unit"] == "texts"
    assert said["examples"] == {"train": 120, "val": 240, "test": 240}
    assert {"model.safetensors", "curves.png", "confusion.png", "mistakes.md", "history.jsonl"} <= {
        file.name for file in folder.iterdir()
    }
    assert main(["train", name, *SMALL, "--name", "two", *out]) == 0
    assert (folder / "model.safetensors").read_bytes() == (
        tmp_path / "train" / "two" / "model.safetensors"
    ).read_bytes()
    assert main(["train", name, *SMALL, "--name", "one", *out]) == 0
    assert "finished already" in capsys.readouterr().out
    assert main(["attack", "fgsm", "--dataset", "digits", "--checkpoint", str(folder), *out]) == 2
    assert "is a text classifier" in capsys.readouterr().err


def test_learning(tmp_path: Path) -> None:
    assert main(["train", "bow", "--out", str(tmp_path), "--name", "bow"]) == 0
    assert (
        json.loads((tmp_path / "train" / "bow" / "metrics.json").read_text())["test_accuracy"]
        > 0.93
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "train gru --dataset mnist",
            "--dataset: must be one of auto, imdb, reviews, ten_reviews, csv:PATH, folder:PATH",
        ),
        ("train cnn --dataset reviews", "--dataset: must be one of auto, cifar10"),
        ("train bow --image-size 28", "--image-size: bow reads texts"),
        ("train bow --train-size 100000", "cannot train on 100,000 texts"),
        ("train transformer --heads 5", "5 heads cannot share a width of 64 equally"),
        ("train bow --max-words 0", "--max-words: must be at least 1"),
        ("train bow --dataset csv:nowhere.csv", "csv: no file at nowhere.csv"),
        ("attack fgsm --model gru", "--model: must be one of auto, cnn"),
        ("defend pgd --model lstm", "--model: must be one of cnn"),
        ("train cnn --max-words 5", "belongs to"),
    ],
)
def test_bad_lines(
    line: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*line.split(), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert "\n" not in said
    assert not (tmp_path / "out").exists()
