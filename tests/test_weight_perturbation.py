"""Adversarial weight perturbation: where weights go, which gradient a step gets, and that they come
back."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from advlab.robust_training.weights import Loss, PerturbedWeights

GAMMA = 0.05


class OnGivenImages(PerturbedWeights):
    """Adversarial training whose perturbed images are the given ones."""

    def at_images(self, model: nn.Module, inputs: Tensor, labels: Tensor, done: float) -> Loss:
        def loss() -> tuple[Tensor, Tensor]:
            logits = model(inputs)
            return self.cross_entropy(logits, labels), logits

        return loss


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)]
    return nn.Sequential(*layers).double().train()


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(10, 1, 6, 6, generator=generator, dtype=torch.float64)
    return images, torch.randint(0, 3, (10,), generator=generator)


def naive(model: nn.Module, images: Tensor, labels: Tensor) -> nn.Module:
    """A copy at the perturbed weights, with the gradient there, as the paper's algorithm has it."""
    proxy = copy.deepcopy(model)
    functional.cross_entropy(proxy(images), labels).backward()
    moved = copy.deepcopy(model)
    for weight, towards in zip(moved.parameters(), proxy.parameters(), strict=True):
        if weight.ndim > 1:
            assert towards.grad is not None
            ratio = weight.detach().norm() / towards.grad.norm()
            weight.data += GAMMA * ratio * towards.grad
    functional.cross_entropy(moved(images), labels).backward()
    return moved


def test_the_gradient_is_that_at_the_perturbed_weights(
    model: nn.Module, batch: tuple[Tensor, Tensor]
) -> None:
    wanted = naive(model, *batch)
    before = copy.deepcopy(model.state_dict())
    objective = OnGivenImages(0.0, GAMMA)
    unperturbed, _ = OnGivenImages(0.0, 0.0)(copy.deepcopy(model), *batch, 1.0)
    loss, _ = objective(model, *batch, 1.0)
    assert float(loss) > float(unperturbed)
    loss.backward()
    objective.after_backward()
    for ours, theirs in zip(model.parameters(), wanted.parameters(), strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        assert torch.allclose(ours.grad, theirs.grad, rtol=1e-9, atol=1e-12)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]), "the weights come back to the bit"
    for mine, reference in zip(model.buffers(), wanted.buffers(), strict=True):
        assert torch.allclose(mine.double(), reference.double()), "batch statistics of one pass"


def test_weights_move_by_their_own_measure(model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    before = [parameter.detach().clone() for parameter in model.parameters()]
    OnGivenImages(0.0, GAMMA)(model, *batch, 1.0)
    for was, now in zip(before, model.parameters(), strict=True):
        moved = float((now - was).norm() / was.norm()) if float(was.norm()) else float(now.norm())
        assert moved == pytest.approx(GAMMA if was.ndim > 1 else 0.0, abs=1e-9)


def test_mixed_precision_sees_the_perturbed_weights(batch: tuple[Tensor, Tensor]) -> None:
    """Autocast keeps casts of the weights while it lasts, those of before the move among them."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.ReLU(), nn.Linear(16, 3))
    images, labels = batch[0].float(), batch[1]
    losses = []
    for gamma in (0.0, 0.5):
        with torch.autocast("cpu", torch.bfloat16):
            objective = OnGivenImages(0.0, gamma)
            loss, _ = objective(network, images, labels, 1.0)
        loss.backward()
        objective.after_backward()
        losses.append(float(loss))
    assert losses[1] > losses[0] + 0.1


def test_fixed_weights_stay_fixed(model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    fixed = next(model.parameters()).requires_grad_(False)
    before = fixed.clone()
    OnGivenImages(0.0, GAMMA)(model, *batch, 1.0)
    assert torch.equal(fixed, before)
