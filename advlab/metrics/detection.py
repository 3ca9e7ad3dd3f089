"""Metrics of suspicion scores that a detection method assigns to training rows."""

from __future__ import annotations

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
