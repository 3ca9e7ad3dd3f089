"""Spectral signatures: rows far from their class along its main direction of variance.

Tran et al. 2018, arXiv:1811.00636.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from advlab.poisoning.evidence import Evidence


def suspicion(evidence: Evidence) -> Tensor:
    """Squared projection on the first singular vector of the class's centred representations, over
    its mean in the class: (N,).

    Made for backdoors, whose rows share a feature; turned labels share none that others lack.
    """
    import torch

    scores = torch.zeros(len(evidence.labels), dtype=torch.float64)
    for label in range(evidence.classes):
        rows = (evidence.labels == label).nonzero().squeeze(1)
        if len(rows) < 2:
            continue
        centred = evidence.hidden[rows].double() - evidence.hidden[rows].double().mean(dim=0)
        direction = torch.linalg.svd(centred, full_matrices=False).Vh[0]
        outlying = (centred @ direction).square()
        scores[rows] = outlying / outlying.mean().clamp(min=1e-12)
    return scores
