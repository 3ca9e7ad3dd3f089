"""Cross-entropy of probabilities and of logits, with derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from advlab.scratch.layers import Array, Softmax

Labels = NDArray[np.integer[Any]]


def one_hot(labels: Labels, classes: int, like: Array) -> Array:
    """Labels (N,) to rows y (N, classes) that are 1 at the label and 0 elsewhere, of the type of
    ``like``."""
    rows: Array = np.eye(classes, dtype=like.dtype)[labels]
    return rows


def cross_entropy(probabilities: Array, targets: Array) -> tuple[float, Array]:
    """−1/N Σ y log p of probabilities p and one-hot y, both (N, classes); and its gradient −y / (N
    p)."""
    count = len(targets)
    chosen = targets > 0
    gradient: Array = np.zeros_like(probabilities)
    gradient[chosen] = -targets[chosen] / (count * probabilities[chosen])
    return float(-(targets[chosen] * np.log(probabilities[chosen])).sum() / count), gradient


def cross_entropy_of_logits(logits: Array, labels: Labels) -> float:
    """The same of logits z (N, classes) and labels (N,): log Σ exp(z) − z_y, which takes no
    logarithm of nought; a mean in float64."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    own = shifted[np.arange(len(labels)), labels]
    return float((np.log(np.exp(shifted).sum(axis=1)) - own).mean(dtype=np.float64))


def error(logits: Array, targets: Array) -> Array:
    """N times the gradient of cross-entropy behind a softmax, in logits (N, classes): p − y."""
    wrong: Array = Softmax().forward(logits)
    wrong -= targets
    return wrong
