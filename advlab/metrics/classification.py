"""Accuracy and confusion matrices from logits."""

from __future__ import annotations

import torch
from torch import Tensor


def is_correct(logits: Tensor, labels: Tensor) -> Tensor:
    """Return which rows of ``logits`` have their strict maximum at the label.

    Ties and NaN count as wrong, so that an image never counts as robust because of rounding.

    Args:
        logits: (N, classes).
        labels: int64 (N,).

    Returns:
        bool (N,).
    """
    rows = torch.arange(labels.shape[0], device=labels.device)
    label_logits = logits[rows, labels]
    other_logits = logits.clone()
    other_logits[rows, labels] = -torch.inf
    return label_logits > other_logits.amax(dim=1)


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Return the fraction of rows that are classified correctly, in [0, 1]; see ``is_correct``.

    Raises:
        ValueError: there are no rows.
    """
    if labels.shape[0] == 0:
        raise ValueError("accuracy of no examples")
    return int(is_correct(logits, labels).sum()) / labels.shape[0]


def confusion_matrix(truth: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """Return counts, int64 (classes, classes): rows are true classes, columns predicted ones."""
    return torch.bincount(truth * classes + predicted, minlength=classes * classes).view(
        classes, classes
    )
