"""Adversarial training of networks that read texts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from advlab.cli.main import main
from advlab.components import component_names, load_component
from advlab.data.load_texts import load as load_texts
from advlab.experiments.train.texts import taken
from advlab.networks import checkpoint
from advlab.networks.text import assemble, word_embedding
from advlab.networks.word_scale import normalise_embedding, with_plain_embedding
from advlab.training.adversarial_texts import AdversarialEmbeddings
from advlab.training.state import store

MODELS = {
    name: load_component("advlab.models", name, "model")
    for name in component_names("advlab.models")
}
WITH_EMBEDDING = [
    name for name, module in MODELS.items() if "embedding" in module.Architecture.model_fields
]
each = pytest.mark.parametrize("name", WITH_EMBEDDING)
NUMBERS = torch.tensor([[3, 7, 2, 0], [5, 0, 0, 0], [4, 4, 6, 8]])
LABELS = torch.tensor([0, 2, 1])
COUNTS = torch.tensor([0, 4, 1, 9, 3, 2, 5, 1, 0, 2])


def network(name: str) -> nn.Module:
    """A small network in float64, without dropout so that both passes are the same function."""
    torch.manual_seed(1)
    kind = MODELS[name].Architecture
    small = {"embedding": 3, "hidden": 4, "heads": 2, "filters": 4, "dropout": 0.0}
    known = {key: value for key, value in small.items() if key in kind.model_fields}
    return assemble(name, kind(**known), 10, 3).double()


def table_of(model: nn.Module) -> nn.Embedding:
    table = word_embedding(model)
    assert table is not None
    return table


def loss_at(model: nn.Module, numbers: Tensor, label: Tensor, moved: Tensor) -> float:
    """The loss of one text without padding, its embedded words moved by (L, dimension)."""
    hook = table_of(model).register_forward_hook(lambda _, __, output: output + moved)
    with torch.no_grad():
        logits = model(numbers[None])[0]
    hook.remove()
    return float(logits.logsumexp(0) - logits[label])


@each
def test_the_loss_is_that_of_a_step_along_finite_differences(name: str) -> None:
    """Text by text, without padding, beside a batch that is padded."""
    model, eps, weight, step = network(name), 0.7, 0.6, 1e-6
    normalise_embedding(model, COUNTS)
    model.double()
    expected = 0.0
    for row, label in zip(NUMBERS, LABELS, strict=True):
        words = row[row != 0]
        slope = torch.zeros(len(words), 3, dtype=torch.float64)
        for place in range(slope.numel()):
            moved = torch.zeros(slope.numel(), dtype=torch.float64)
            moved[place] = step
            moved = moved.view_as(slope)
            rise = loss_at(model, words, label, moved) - loss_at(model, words, label, -moved)
            slope.view(-1)[place] = rise / (2 * step)
        direction = eps * slope / slope.square().sum().sqrt()
        expected += loss_at(model, words, label, torch.zeros_like(slope)) / len(LABELS)
        expected += weight * loss_at(model, words, label, direction) / len(LABELS)
    loss, logits = AdversarialEmbeddings(eps, weight)(model, NUMBERS, LABELS, 0.0)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-6)
    torch.testing.assert_close(logits, model(NUMBERS).float())


def test_a_perturbation_has_its_norm_and_spares_padding() -> None:
    gradient = torch.randn(3, 4, 5, dtype=torch.float64)
    gradient[1] = 0.0
    found = AdversarialEmbeddings(2.5, 1.0).perturbation(gradient, NUMBERS)
    norms = found.flatten(1).square().sum(dim=1).sqrt()
    torch.testing.assert_close(norms, torch.tensor([2.5, 0.0, 2.5], dtype=torch.float64))
    assert not found[NUMBERS == 0].any()


def test_vectors_have_mean_0_and_variance_1_over_the_words_of_texts() -> None:
    model = network("gru")
    words = [number for number, count in enumerate(COUNTS.tolist()) for _ in range(count)]
    rows = table_of(model).weight.detach()
    normalise_embedding(model, COUNTS)
    found = table_of(model).weight.detach()
    of_texts = rows[words]
    expected = (rows - of_texts.mean(dim=0)) / of_texts.var(dim=0, correction=0).sqrt()
    expected[0] = 0.0
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


@each
def test_a_checkpoint_holds_the_normalised_vectors_as_a_plain_network(name: str) -> None:
    model = network(name).eval()
    assert with_plain_embedding(model) is model
    names = set(model.state_dict())
    normalise_embedding(model, COUNTS)
    plain = with_plain_embedding(model)
    assert set(plain.state_dict()) == names
    with torch.no_grad():
        assert torch.equal(plain(NUMBERS), model(NUMBERS))
        for parameter in model.parameters():  # the training goes on and leaves the copy alone
            parameter.mul_(1.5)
        assert not torch.equal(plain(NUMBERS), model(NUMBERS))


def interrupted_after(function: Callable[..., None]) -> Callable[..., None]:
    def interrupted(*arguments: Any) -> None:
        function(*arguments)
        raise KeyboardInterrupt

    return interrupted


SMALL = "--train-size 100 --epochs 2 --batch-size 50"


def test_training_through_the_front_door(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"train textcnn --adversarial-eps 2 {SMALL} --out {tmp_path} --name".split()
    assert main([*line, "one"]) == 0
    folder = tmp_path / "train" / "one"
    with monkeypatch.context() as patch:
        patch.setattr("advlab.training.fit.store", interrupted_after(store))
        assert main([*line, "two"]) == 130
    assert main([*line, "two"]) == 0
    assert "going on after epoch 1 of 2" in capsys.readouterr().out
    resumed = tmp_path / "train" / "two" / checkpoint.FILE
    assert resumed.read_bytes() == (folder / checkpoint.FILE).read_bytes()
    model, _ = checkpoint.load_text_classifier(folder)
    options = MODELS["textcnn"].Options(train_size=100)
    data = load_texts(options)
    counts = taken(data.train, 100, 0).counts(len(data.vocabulary)).double()
    rows = table_of(model).weight.detach().double()
    frequencies = (counts / counts.sum())[:, None]
    mean = (frequencies * rows).sum(dim=0)
    torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-5, rtol=0)
    variance = (frequencies * rows.square()).sum(dim=0)
    torch.testing.assert_close(variance, torch.ones_like(variance), atol=1e-4, rtol=0)
    assert main(f"attack hotflip --model {folder} --limit 5 --out {tmp_path}".split()) == 0
    capsys.readouterr()
    assert main(f"train bow --adversarial-eps 2 --out {tmp_path / 'o'}".split()) == 2
    assert "--adversarial-eps" in capsys.readouterr().err
