"""The linear probe: logistic regression on frozen features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

PENALTIES = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4)
"""L2 penalties in descending order: each fit starts from the solution of the previous one."""

_ITERATIONS = 200
_MIN_SCALE = 1e-6


@dataclass(frozen=True)
class Probe:
    """A linear classifier of standardised features.

    Attributes:
        mean: mean of each training feature, (D,).
        scale: standard deviation of each training feature, (D,); 1 for a constant feature.
        weight: weights of the standardised features, (classes, D).
        bias: (classes,).
        penalty: the λ in the penalty λ / 2 · ‖weight‖², which is added to the mean cross-entropy.
    """

    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor
    penalty: float

    def predict(self, features: Tensor) -> Tensor:
        """Return the predicted classes of features (N, D), int64 (N,)."""
        scores = ((features - self.mean) / self.scale) @ self.weight.T + self.bias
        return scores.argmax(1)


def fit_probes(
    features: Tensor, labels: Tensor, classes: int, penalties: Sequence[float] = PENALTIES
) -> list[Probe]:
    """Fit a probe for each penalty with L-BFGS; the objective is convex.

    Args:
        features: features of training images, (N, D).
        labels: int64 (N,).
        classes: number of classes.
        penalties: L2 penalties, in the order of fitting.
    """
    scale, mean = torch.std_mean(features, dim=0, correction=0)
    scale = torch.where(scale > _MIN_SCALE, scale, torch.ones_like(scale))
    standard = (features - mean) / scale
    weight = torch.zeros(classes, features.shape[1], device=features.device, requires_grad=True)
    bias = torch.zeros(classes, device=features.device, requires_grad=True)
    probes = []
    for penalty in penalties:
        optimizer = torch.optim.LBFGS(
            [weight, bias], max_iter=_ITERATIONS, tolerance_grad=1e-5, line_search_fn="strong_wolfe"
        )

        def closure(optimizer: torch.optim.LBFGS = optimizer, penalty: float = penalty) -> Tensor:
            optimizer.zero_grad()
            loss = (
                functional.cross_entropy(standard @ weight.T + bias, labels)
                + penalty / 2 * weight.square().sum()
            )
            loss.backward()
            return loss

        optimizer.step(closure)
        probes.append(Probe(mean, scale, weight.detach().clone(), bias.detach().clone(), penalty))
    return probes


def best_probe(probes: Sequence[Probe], features: Tensor, labels: Tensor) -> Probe:
    """Return the probe with the best accuracy on validation features.

    Of probes with equal accuracy the first is returned, which has the strongest penalty.

    Args:
        features: features of validation images, (N, D).
        labels: int64 (N,).
    """
    correct = [int((probe.predict(features) == labels).sum()) for probe in probes]
    return probes[correct.index(max(correct))]
