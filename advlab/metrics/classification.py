"""Accuracy and confusion matrices from logits."""

from __future__ import annotations

import torch
from torch import Tensor


def is_correct(logits: Tensor, labels: Tensor) -> Tensor:
    """Which rows of ``logits`` (N, classes) put the label strictly above every other class; bool
    (N,).

    A tie counts as wrong, and so does NaN: a network that cannot tell two classes apart has not
    answered, and an image must never count as robust because arithmetic ran out of bits.
    """
    rows = torch.arange(labels.shape[0], device=labels.device)
    own = logits[rows, labels]
    others = logits.clone()
    others[rows, labels] = -torch.inf
    return own > others.amax(dim=1)


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of rows that ``is_correct``, in [0, 1].

    Raises:
        ValueError: there are no rows.
    """
    if labels.shape[0] == 0:
        raise ValueError("accuracy of no examples")
    return int(is_correct(logits, labels).sum()) / labels.shape[0]


def confusion_matrix(truth: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """Counts, int64 (classes, classes): a row per true class, a column per predicted one."""
    return torch.bincount(truth * classes + predicted, minlength=classes * classes).view(
        classes, classes
    )
