"""Quality of a detector's suspicion scores."""

from __future__ import annotations

from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor


def detection_metrics(suspicion: Tensor, poisoned: Tensor, budget: int) -> dict[str, float]:
    """AUROC, AUPRC (with the share of poison, which guessing reaches), precision and recall among
    the ``budget`` most suspicious.

    Args:
        suspicion: (N,), the higher the more suspicious.
        poisoned: bool (N,); some of both.

    Raises:
        ValueError: all rows are of one kind.
    """
    if not poisoned.any() or poisoned.all():
        raise ValueError("detection needs poisoned rows and clean ones")
    truth, scores = poisoned.numpy(), suspicion.double().numpy()
    found = poisoned[suspects(suspicion, budget)]
    return {
        "auroc": float(roc_auc_score(truth, scores)),
        "auprc": float(average_precision_score(truth, scores)),
        "auprc_at_chance": float(poisoned.double().mean()),
        "precision": float(found.double().mean()),
        "recall": float(found.sum() / poisoned.sum()),
        "budget": budget,
    }


def suspects(suspicion: Tensor, budget: int) -> Tensor:
    """The numbers of the most suspicious rows, the first of equals first."""
    return suspicion.argsort(descending=True, stable=True)[:budget].sort().values
