"""Metrics of suspicion scores that a detection method assigns to training rows, or to images."""

from __future__ import annotations

import torch
from torch import Tensor


def detection_metrics(suspicion: Tensor, poisoned: Tensor, budget: int) -> dict[str, float]:
    """Return AUROC, AUPRC, and precision and recall among the ``budget`` most suspicious rows.

    ``auprc_at_chance`` is the AUPRC of random scores, which equals the fraction of poisoned rows.

    Args:
        suspicion: scores (N,); a higher score is more suspicious.
        poisoned: which rows are poisoned, bool (N,).
        budget: number of rows to inspect.

    Raises:
        ValueError: all rows are poisoned, or none.
    """
    if not poisoned.any() or poisoned.all():
        raise ValueError("detection metrics need both poisoned and clean rows")
    from sklearn.metrics import average_precision_score, roc_auc_score  # takes a second to import

    truth, scores = poisoned.numpy(), suspicion.double().numpy()
    inspected = poisoned[most_suspicious(suspicion, budget)]
    return {
        "auroc": float(roc_auc_score(truth, scores)),
        "auprc": float(average_precision_score(truth, scores)),
        "auprc_at_chance": float(poisoned.double().mean()),
        "precision": float(inspected.double().mean()),
        "recall": float(inspected.sum() / poisoned.sum()),
        "budget": budget,
    }


def most_suspicious(suspicion: Tensor, budget: int) -> Tensor:
    """Return the indices of the ``budget`` most suspicious rows in ascending order.

    Of rows with equal scores the first are taken.
    """
    return suspicion.argsort(descending=True, stable=True)[:budget].sort().values


def auroc(scores: Tensor, clean: Tensor) -> float:
    """Return the area under the ROC curve: how often a score exceeds one of a clean example.

    Equal scores count as one half.

    Args:
        scores: of what is to be detected, (N,), N ≥ 1.
        clean: scores of clean examples, (M,), M ≥ 1.
    """
    ordered = clean.double().sort().values
    below = torch.searchsorted(ordered, scores.double()) + torch.searchsorted(
        ordered, scores.double(), right=True
    )
    return float(below.double().mean() / (2 * len(ordered)))


def roc_curve(scores: Tensor, clean: Tensor) -> tuple[list[float], list[float]]:
    """Return false-alarm and detection rates, ascending from (0, 0) to (1, 1).

    There is a point for each threshold at which either rate changes; an example is flagged where
    its score exceeds the threshold.

    Args:
        scores: of what is to be detected, (N,), N ≥ 1.
        clean: scores of clean examples, (M,), M ≥ 1.
    """
    thresholds = torch.cat([scores, clean]).double().unique()
    rates = [
        (len(one) - torch.searchsorted(one.double().sort().values, thresholds, right=True)).double()
        / len(one)
        for one in (clean, scores)
    ]
    false_alarms, detected = ([*rate.flip(0).tolist(), 1.0] for rate in rates)
    return false_alarms, detected
