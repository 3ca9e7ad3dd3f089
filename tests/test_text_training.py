"""Training of networks that read texts: changed words, weighted classes, attention."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional

from advlab.cli.main import main
from advlab.components import load_component
from advlab.networks.text import AttentionPooling, assemble
from advlab.training.augmented import AugmentedTexts
from advlab.training.changed_texts import drop_words, substitute_words, swap_words
from advlab.training.objective import Objective, balanced

PADDING, UNKNOWN = 0, 1


def texts(count: int, length: int) -> torch.Tensor:
    """Texts of different lengths, the last one empty, whose words are all different."""
    numbers = torch.arange(2, 2 + count * length).view(count, length)
    lengths = torch.linspace(length, 0, count).round().long()
    return torch.where(torch.arange(length) < lengths[:, None], numbers, PADDING)


def test_dropped_words_become_the_unknown_word_at_their_rate() -> None:
    torch.manual_seed(0)
    numbers = texts(200, 60)
    dropped = drop_words(numbers, 0.2)
    words = numbers != PADDING
    assert torch.equal(dropped == PADDING, ~words), "padding stays, and no word becomes padding"
    changed = dropped != numbers
    assert bool((dropped[changed] == UNKNOWN).all())
    rate, count = float(changed[words].double().mean()), int(words.sum())
    assert abs(rate - 0.2) < 4 * (0.2 * 0.8 / count) ** 0.5
    assert torch.equal(drop_words(numbers, 0.0), numbers)


def test_swapped_words_stay_in_their_text() -> None:
    torch.manual_seed(0)
    numbers = texts(200, 60)
    swapped = swap_words(numbers, 0.1)
    assert torch.equal(swapped.sort(dim=1).values, numbers.sort(dim=1).values)
    assert torch.equal(swapped == PADDING, numbers == PADDING)
    lengths = (numbers != PADDING).sum(dim=1)
    moved = (swapped != numbers).sum(dim=1)
    assert bool((moved <= 2 * (0.1 * lengths).round()).all())
    # Of a pair, both places are the same once in as many draws as there are words.
    assert float(moved.sum()) > 0.85 * float(2 * (0.1 * lengths).round().sum())
    assert torch.equal(swap_words(numbers, 0.0), numbers)
    assert swap_words(numbers[:0], 0.5).shape == (0, 60)


def test_substituted_words_become_words_near_to_them_at_their_rate() -> None:
    torch.manual_seed(0)
    numbers = texts(200, 60)
    near = torch.arange(2 + 200 * 60)[:, None].repeat(1, 3)
    near[2::2, 0] += 1_000_000  # every second word has one word near to it, or three
    near[2::4] = near[2::4, :1] + torch.arange(3)
    changed = substitute_words(numbers, 0.3, near)
    others = changed != numbers
    assert bool((near[numbers[others]] == changed[others][:, None]).any(dim=1).all())
    assert not bool(others[numbers % 2 == 1].any()), "words with none near to them stay"
    assert torch.equal(changed == PADDING, numbers == PADDING)
    able = (numbers % 2 == 0) & (numbers > UNKNOWN)
    rate, count = float(others[able].double().mean()), int(able.sum())
    assert abs(rate - 0.3) < 4 * (0.3 * 0.7 / count) ** 0.5
    drawn = (changed - numbers)[others & (numbers % 4 == 2)] - 1_000_000
    shares = torch.bincount(drawn, minlength=3).double() / len(drawn)
    assert bool(((shares - 1 / 3).abs() < 4 * (2 / 9 / len(drawn)) ** 0.5).all())
    assert torch.equal(substitute_words(numbers, 0.0, near), numbers)


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    labels = torch.tensor([0] * 7 + [1] * 2 + [2] * 11)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels.numpy())
    assert balanced(labels, 3).tolist() == pytest.approx(expected.tolist())
    assert float(balanced(labels, 3)[labels].mean()) == pytest.approx(1)
    assert balanced(torch.tensor([0, 0, 2]), 3).tolist() == pytest.approx([0.75, 0, 1.5])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_weighted_loss_is_a_mean_over_the_examples(smoothing: float) -> None:
    """Its parts add up to that of the batch, which torch's own weighted mean does not do."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(9, 3, generator=generator, dtype=torch.float64)
    labels = torch.tensor([0, 0, 0, 0, 0, 1, 1, 2, 2])
    weights = balanced(labels, 3)
    objective = Objective(smoothing)
    objective.weigh_classes(weights)
    targets = (1 - smoothing) * functional.one_hot(labels, 3) + smoothing / 3
    naive = [
        -float(weights[label]) * float((target * row.log_softmax(0)).sum())
        for row, label, target in zip(logits, labels, targets, strict=True)
    ]
    whole = objective.cross_entropy(logits, labels)
    assert float(whole) == pytest.approx(float(np.mean(naive)), rel=1e-6)
    parts = [objective.cross_entropy(logits[s], labels[s]) for s in (slice(5), slice(5, 9))]
    assert float(5 * parts[0] + 4 * parts[1]) / 9 == pytest.approx(float(whole), rel=1e-6)
    changed = AugmentedTexts(Objective(smoothing), 0.5, 0.0)
    changed.weigh_classes(weights)
    assert changed.objective.class_weights is weights


def test_attention_is_a_softmax_over_the_words_of_the_text() -> None:
    torch.manual_seed(0)
    pooling = AttentionPooling(4).double()
    states = torch.randn(2, 5, 4, dtype=torch.float64)
    present = torch.tensor([[True] * 5, [True] * 3 + [False] * 2]).unsqueeze(2)
    pooled = pooling(states, present)
    for row, length in enumerate((5, 3)):
        own = states[row, :length]
        weight, bias = pooling.hidden.weight, pooling.hidden.bias
        scores = torch.stack([pooling.score.weight[0] @ torch.tanh(weight @ h + bias) for h in own])
        weights = scores.exp() / scores.exp().sum()
        assert torch.allclose(pooled[row], weights @ own, atol=1e-12)


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_a_reader_with_attention_does_not_see_padding(name: str) -> None:
    kind = load_component("advlab.models", name, "model").Architecture
    torch.manual_seed(0)
    model = assemble(name, kind(pooling="attention"), 50, 3).eval()
    numbers = torch.randint(1, 50, (4, 9))
    with torch.no_grad():
        logits = model(numbers)
        assert torch.allclose(model(functional.pad(numbers, (0, 7))), logits, atol=1e-6)
    assert [key for key in model.state_dict() if key.startswith("attention.")]


def test_all_of_it_through_the_front_door(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of twelve texts of one class and 168 of the other, a network that is trained for two epochs
    answers with the larger class alone, and with balanced classes it does not."""
    monkeypatch.chdir(tmp_path)
    rows = [f"good fine {i},pos" for i in range(12)] + [f"bad poor {i},neg" for i in range(168)]
    Path("texts.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    line = "train gru --dataset csv:texts.csv --epochs 2 --hidden 8 --embedding 8 --threads 1"
    line += " --lr 0.01 --batch-size 32 --test-fraction 0.5 --pooling attention"
    line += " --word-dropout 0.1 --word-swap 0.2"
    accuracies = {}
    for weights in ("none", "balanced"):
        assert main([*line.split(), "--class-weights", weights, "--name", weights]) == 0
        folder = Path("samples/train") / weights
        metrics = json.loads((folder / "metrics.json").read_text())
        accuracies[weights] = metrics["test_accuracy"]
        majority = metrics["majority_accuracy"]
    assert accuracies["none"] == majority < accuracies["balanced"]
    saved = main(["attack", "hotflip", "--model", "samples/train/balanced", "--limit", "4"])
    assert saved == 0, "the checkpoint rebuilds the network"
    assert main(["train", "mlp", "--dataset", "digits", "--word-dropout", "0.1"]) == 2
    assert "--word-dropout" in capsys.readouterr().err
