"""The linear probe: logistic regression on frozen features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

PENALTIES = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4)
"""L2 penalties to best_probe from, the strongest first: each fit starts from the one before."""

_ITERATIONS = 200
_LITTLE = 1e-6


@dataclass(frozen=True)
class Probe:
    """A linear classifier of features.

    Attributes:
        mean: of each training feature, (D,).
        scale: its standard deviation, (D,); 1 where it never varies.
        weight: (classes, D), of features so standardised.
        bias: (classes,).
        penalty: λ of the λ / 2 · ‖weight‖² that was added to the mean cross-entropy.
    """

    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor
    penalty: float

    def predict(self, features: Tensor) -> Tensor:
        """The classes of features (N, D): int64 (N,)."""
        scores = ((features - self.mean) / self.scale) @ self.weight.T + self.bias
        return scores.argmax(1)


def fit_probes(
    features: Tensor, labels: Tensor, classes: int, penalties: Sequence[float] = PENALTIES
) -> list[Probe]:
    """A probe for each penalty, by L-BFGS to the minimum, which is the only one.

    Args:
        features: (N, D), of training images.
        labels: int64 (N,).
    """
    scale, mean = torch.std_mean(features, dim=0, correction=0)
    scale = torch.where(scale > _LITTLE, scale, torch.ones_like(scale))
    standard = (features - mean) / scale
    weight = torch.zeros(classes, features.shape[1], device=features.device, requires_grad=True)
    bias = torch.zeros(classes, device=features.device, requires_grad=True)
    found = []
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
        found.append(Probe(mean, scale, weight.detach().clone(), bias.detach().clone(), penalty))
    return found


def best_probe(probes: Sequence[Probe], features: Tensor, labels: Tensor) -> Probe:
    """The probe that is right most often on these, which are validation images'; of equals the one
    with the stronger penalty."""
    right = [int((probe.predict(features) == labels).sum()) for probe in probes]
    return probes[right.index(max(right))]
