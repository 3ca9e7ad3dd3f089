"""Word vectors that are learned from the training texts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from advlab.cli.main import main
from advlab.data.formats.word_vectors import Vectors
from advlab.data.text_set import Texts
from advlab.data.vocabulary import UNKNOWN, Vocabulary
from advlab.data.word_space import WordSpace
from advlab.training import skip_gram as module
from advlab.training.skip_gram import skip_gram


def encoded(texts: list[str], vocabulary: Vocabulary) -> Texts:
    return Texts.from_strings(texts, [0] * len(texts), vocabulary, 60)


def test_a_step_goes_against_the_gradient_of_the_naive_loss() -> None:
    """Words that stand in the batch more than once included."""
    torch.manual_seed(0)
    inner, outer = torch.randn(2, 9, 4, dtype=torch.float64)
    words_in, words_out = torch.tensor([[2, 3, 2, 5], [3, 2, 5, 2]])
    others = torch.randint(2, 9, (4, 3))

    def naive(inner: Tensor, outer: Tensor) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for row in range(4):
            centre = inner[words_in[row]]
            total = total - torch.log(torch.sigmoid(centre @ outer[words_out[row]]))
            for other in others[row]:
                total = total - torch.log(torch.sigmoid(-centre @ outer[other]))
        return total

    whole = module.loss(inner, outer, words_in, words_out, others)
    assert float(whole) == pytest.approx(float(naive(inner, outer)), rel=1e-12)
    before = inner.clone().requires_grad_(), outer.clone().requires_grad_()
    gradients = torch.autograd.grad(naive(*before), before)
    module._step(inner, outer, words_in, words_out, others, 0.1)
    for now, was, gradient in zip((inner, outer), before, gradients, strict=True):
        assert torch.allclose(now, was - 0.1 * gradient, atol=1e-12)


def test_pairs_are_words_of_one_text_in_both_directions_the_nearer_the_more_often() -> None:
    vocabulary = Vocabulary(tuple("abcdefghij"))
    texts = encoded(["a b c d e f g h", "i unknown j"], vocabulary)
    everything = torch.ones(len(vocabulary))
    random, counts = torch.Generator().manual_seed(0), dict.fromkeys(range(1, 8), 0)
    epochs = 400
    for _ in range(epochs):
        pairs = module._pairs(texts, everything, random).tolist()
        assert sorted(pairs) == sorted([second, first] for first, second in pairs)
        for first, second in pairs:
            if first < second <= vocabulary.number("h"):
                counts[second - first] += 1
        inside = [pair for pair in pairs if vocabulary.number("i") in pair]
        assert all(vocabulary.number("j") in pair for pair in inside), "texts are kept apart"
        assert all(min(pair) > UNKNOWN for pair in pairs)
    for distance, count in counts.items():
        places = 8 - distance
        expected = max(0, 6 - distance) / 5
        assert count / (epochs * places) == pytest.approx(expected, abs=0.06)


def test_frequent_words_are_left_out_at_their_rate() -> None:
    vocabulary = Vocabulary(("often", *(f"w{number}" for number in range(2000))))
    texts = encoded(
        [f"often w{2 * number} often w{2 * number + 1}" for number in range(1000)], vocabulary
    )
    frequency = 0.5
    expected = (1e-3 / frequency) ** 0.5
    seen = []
    pairs_of = module._pairs

    def watched(texts: Texts, staying: Tensor, random: torch.Generator) -> Tensor:
        seen.append(float(staying[vocabulary.number("often")]))
        assert float(staying[vocabulary.number("w0")]) >= 1
        return pairs_of(texts, staying, random)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "_pairs", watched)
        skip_gram(texts, len(vocabulary), 4, 0)
    assert seen == pytest.approx([expected] * len(seen), rel=1e-5)


def test_words_of_one_topic_are_near_each_other() -> None:
    random = torch.Generator().manual_seed(0)
    topics = [[f"{name}{number}" for number in range(12)] for name in ("sea", "sky")]
    texts = [
        " ".join(topic[number] for number in torch.randint(0, 12, (8,), generator=random).tolist())
        for topic in topics
        for _ in range(200)
    ]
    vocabulary = Vocabulary(tuple(topics[0] + topics[1]))
    vectors = skip_gram(encoded(texts, vocabulary), len(vocabulary), 8, 0)
    assert vectors.coverage == 1
    space = WordSpace.of_vectors(vectors, len(vocabulary))
    own, other = topics
    for word in own:
        number = vocabulary.number(word)
        inside = [space.cosine(number, vocabulary.number(name)) for name in own if name != word]
        outside = [space.cosine(number, vocabulary.number(name)) for name in other]
        assert min(inside) > max(outside)
    again = skip_gram(encoded(texts, vocabulary), len(vocabulary), 8, 0)
    assert torch.equal(again.rows, vectors.rows)
    assert not torch.equal(
        skip_gram(encoded(texts, vocabulary), len(vocabulary), 8, 1).rows, vectors.rows
    )


def test_the_words_near_to_all_words_are_the_neighbours_of_each() -> None:
    torch.manual_seed(0)
    rows = torch.randn(30, 4)
    rows[[0, 1, 7, 12]] = 0
    space = WordSpace(rows)
    table = space.nearest(5, 0.5)
    for number in range(30):
        expected = space.neighbours(number, 5, 0.5)
        assert [other for other in table[number].tolist() if other != number] == expected


def test_a_network_starts_from_vectors_of_its_training_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [f"w{number}" for number in range(150)]
    rows = [
        f"{word} {' '.join(words[start : start + length])},{label}"
        for start in range(99)
        for word, length, label in (("good", 9, "pos"), ("bad", 7, "neg"))
    ]
    Path("texts.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    line = "train gru --dataset csv:texts.csv --epochs 1 --hidden 8 --embedding 8 --threads 1"
    hashes = {}
    for name, more in {
        "without": "",
        "with": "--vectors train",
        "again": "--vectors train",
        "near": "--vectors train --word-synonyms 0.5",
    }.items():
        assert main([*line.split(), *more.split(), "--name", name]) == 0
        metrics = json.loads(Path(f"samples/train/{name}/metrics.json").read_text())
        hashes[name] = metrics["checkpoint_sha256"]
    assert hashes["with"] == hashes["again"]
    assert len({hashes[name] for name in ("without", "with", "near")}) == 3
    capsys.readouterr()
    assert main([*line.split(), "--name", "with"]) == 2
    assert "vectors train there" in capsys.readouterr().err
    assert main([*line.split(), "--word-synonyms", "0.1"]) == 2
    assert "--word-synonyms: goes with --vectors" in capsys.readouterr().err
    assert main(["train", "bow", "--dataset", "csv:texts.csv", "--word-synonyms", "0.1"]) == 2
    assert "--word-synonyms: goes with --vectors" in capsys.readouterr().err


def test_poisoned_trainings_learn_the_vectors_of_their_own_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []

    def watched(texts: Texts, words: int, dimension: int, seed: int) -> Vectors:
        read.append(int(texts.words.long().sum()))
        return skip_gram(texts, words, dimension, seed)

    monkeypatch.setattr("advlab.experiments.fitting.skip_gram", watched)
    line = "poison gru --dataset reviews --attack trigger --phrase zq --target positive --seeds 1"
    line += " --epochs 1 --train-size 100 --poison-rate 0.3 --embedding 4 --hidden 4"
    assert main([*line.split(), "--vectors", "train", "--out", str(tmp_path)]) == 0
    assert len(set(read)) == 2, "of the clean texts, and of those with the phrase"
