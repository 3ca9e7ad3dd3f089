"""What every network owes: logits from pixels in [0, 1], normalisation inside, weights that the
seed alone decides."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from advlab.components import load_component
from advlab.config.base import Options
from advlab.config.fields import image_models
from advlab.errors import UsageError
from advlab.networks.classifier import Normalize, architecture_of, assemble, count_parameters

MODELS = image_models()
each = pytest.mark.parametrize("name", MODELS)
SHAPES = pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)], ids=["grey", "colour"])


def architecture(name: str) -> Options:
    kind: type[Options] = load_component("advlab.models", name, "model").Architecture
    return kind()


def build(
    name: str,
    shape: tuple[int, int, int] = (1, 28, 28),
    seed: int = 0,
    given: Options | None = None,
) -> nn.Sequential:
    torch.manual_seed(seed)
    return assemble(
        name, given or architecture(name), shape, 7, [0.3] * shape[0], [0.25] * shape[0]
    )


def test_the_networks_are_found() -> None:
    assert {"mlp", "cnn", "convnet", "resnet", "separable"} <= set(MODELS)


@each
@SHAPES
def test_images_become_logits(name: str, shape: tuple[int, int, int]) -> None:
    model = build(name, shape).eval()
    with torch.no_grad():
        logits: Tensor = model(torch.rand(3, *shape))
    assert logits.shape == (3, 7)
    assert not torch.allclose(logits.sum(1), torch.ones(3)), "softmax belongs to the loss"
    assert logits.min() < 0, "and so does ReLU to the layers before"


@each
def test_normalisation_is_the_first_layer_and_travels_with_the_weights(name: str) -> None:
    model = build(name).eval()
    first = model[0]
    assert isinstance(first, Normalize)
    assert float(first.get_buffer("mean")) == pytest.approx(0.3)
    images = torch.rand(2, 1, 28, 28)
    assert torch.allclose(first(images), (images - 0.3) / 0.25)
    assert {"0.mean", "0.std"} <= set(model.state_dict())
    with torch.no_grad():
        assert torch.equal(model(images), model[1](first(images)))


@each
def test_the_seed_decides_the_weights(name: str) -> None:
    same, again, other = (
        build(name).state_dict(),
        build(name).state_dict(),
        build(name, seed=1).state_dict(),
    )
    assert all(torch.equal(value, again[key]) for key, value in same.items())
    assert any(not torch.equal(value, other[key]) for key, value in same.items())


@each
def test_in_evaluation_mode_an_image_gets_the_same_answer_in_any_company(name: str) -> None:
    model = build(name).double().eval()
    images = torch.rand(6, 1, 28, 28, dtype=torch.float64)
    with torch.no_grad():
        together = model(images)
        assert torch.allclose(model(images[2:3]), together[2:3], rtol=0, atol=1e-9)
        assert torch.equal(model(images), together)


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_dropout_acts_in_training_only(name: str) -> None:
    kind = load_component("advlab.models", name, "model").Architecture
    with_dropout, without = build(name, given=kind(dropout=0.5)), build(name, given=kind())
    assert count_parameters(with_dropout) == count_parameters(without)
    assert any(
        isinstance(module, nn.Dropout) and module.p == 0.5 for module in with_dropout.modules()
    )
    assert not any(isinstance(module, nn.Dropout) for module in without.modules())
    images = torch.rand(8, 1, 28, 28)
    with torch.no_grad():
        assert torch.equal(with_dropout.eval()(images), with_dropout(images))
        drops = [module for module in with_dropout.modules() if isinstance(module, nn.Dropout)]
        for drop in drops:
            drop.train()
        assert not torch.equal(with_dropout(images), with_dropout(images))


def test_the_parameters_are_as_many_as_a_count_by_hand() -> None:
    hidden = 28 * 28 * 1024 + 2 * 1024 + 1024 * 1024 + 2 * 1024
    assert count_parameters(build("mlp")) == hidden + 1024 * 7 + 7
    separable = assemble(
        "separable", architecture("separable"), (3, 64, 64), 4, [0.5] * 3, [0.25] * 3
    )
    assert 50_000 <= count_parameters(separable) <= 56_000
    residual = assemble("resnet", architecture("resnet"), (3, 64, 64), 4, [0.5] * 3, [0.25] * 3)
    convolutions = 9 * (3 * 16 + 2 * 16 * 16 + 16 * 24 + 3 * 24 * 24 + 24 * 40 + 40 * 40)
    shortcuts, normalisation = 16 * 24 + 24 * 40, 2 * (3 * 16 + 5 * 24 + 3 * 40)
    assert count_parameters(residual) == convolutions + shortcuts + normalisation + 40 * 4 + 4


def test_a_resnet_halves_large_images_alone_in_its_first_convolution() -> None:
    for side, halved in ((63, False), (64, True)):
        body = build("resnet", (3, side, side))[1]
        assert isinstance(body, nn.Sequential)
        with torch.no_grad():
            assert body[0](torch.rand(2, 3, side, side)).shape[-1] == (
                side // 2 if halved else side
            )


@each
def test_the_architecture_is_told_apart_from_the_training(name: str) -> None:
    kind = load_component("advlab.models", name, "model").Options
    options = kind(lr=0.123, dataset="digits")
    assert architecture_of(name, options) == architecture(name)
    assert "lr" not in architecture_of(name, options).model_dump()


@each
def test_the_smallest_images_that_image_size_allows_are_taken(name: str) -> None:
    model = build(name, (3, 8, 8)).eval()
    with torch.no_grad():
        assert model(torch.rand(2, 3, 8, 8)).shape == (2, 7)


def test_a_network_that_cannot_be_built_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from advlab.models import mlp

    def build_nothing(*_: object) -> nn.Module:
        raise RuntimeError("there is no room")

    monkeypatch.setattr(mlp, "build", build_nothing)
    with pytest.raises(
        UsageError, match=r"mlp cannot take images of 1 × 28 × 28: there is no room"
    ):
        build("mlp")
