"""Accuracy and confusion matrices from logits."""

from __future__ import annotations

import torch
from scipy.special import bdtrc  # scipy.stats takes a second to import
from torch import Tensor

from advlab.runs.table import percent

_UNLIKELY = 0.01


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


def predicted_classes(logits: Tensor) -> Tensor:
    """Return the class of the largest logit of each row, int64 (N,); -1 where a logit is NaN or
    infinite."""
    return torch.where(logits.isfinite().all(dim=1), logits.argmax(dim=1), -1)


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Return the fraction of rows that are classified correctly, in [0, 1]; see ``is_correct``.

    Raises:
        ValueError: there are no rows.
    """
    if labels.shape[0] == 0:
        raise ValueError("accuracy of no examples")
    return int(is_correct(logits, labels).sum()) / labels.shape[0]


def majority_accuracy(labels: Tensor) -> float:
    """Return the accuracy of the answer that is always the most frequent class, in (0, 1].

    Raises:
        ValueError: there are no labels.
    """
    if labels.numel() == 0:
        raise ValueError("majority of no examples")
    return int(labels.bincount().max()) / labels.numel()


def no_better_than_majority(accuracy: float, majority: float, total: int) -> bool:
    """Return whether an accuracy is within what chance makes of always the same answer.

    Args:
        accuracy: a fraction of ``total`` examples.
        majority: that of the most frequent class among them; see ``majority_accuracy``.

    Returns:
        Whether a predictor that is right with probability ``majority`` would do as well in more
        than one of 100 draws of so many examples.
    """
    return float(bdtrc(round(accuracy * total) - 1, total, majority)) > _UNLIKELY


def too_few_for_majority(majority: float, total: int) -> bool:
    """Return whether so few examples cannot tell a useful predictor from always the same answer.

    Args:
        majority: as for ``no_better_than_majority``.

    Returns:
        Whether a predictor that makes half the errors of that answer would count as no better. Of
        examples of one class alone no number would do, and it is False.
    """
    return majority < 1 and no_better_than_majority((1 + majority) / 2, majority, total)


def majority_warning(
    network: str, accuracy: float, majority: float | None, total: int, unit: str
) -> str:
    """A sentence for a network that is no better than always the same answer, or of which so few
    examples do not tell; empty for any other.

    Args:
        network: what the network is called.
        accuracy, majority: as for ``no_better_than_majority``; None where a result of an earlier
            version does not tell.
        unit: what the examples are, such as ``test images``.
    """
    if majority is None or not no_better_than_majority(accuracy, majority, total):
        return ""
    same = f"always the same answer, which is right for {percent(majority)} of"
    if too_few_for_majority(majority, total):
        return f"{total:,} {unit} are too few to tell whether {network} is better than {same} them"
    return f"{network} is no better than {same} the {unit}"


def confusion_matrix(truth: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """Return counts, int64 (classes, classes): rows are true classes, columns predicted ones."""
    return torch.bincount(truth * classes + predicted, minlength=classes * classes).view(
        classes, classes
    )
