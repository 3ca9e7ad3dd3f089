"""Confident learning: labels that models trained on other rows contradict.

Northcutt et al. 2019, arXiv:1911.00068.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from advlab.poisoning.evidence import Evidence


def suspicion(evidence: Evidence) -> Tensor:
    """By how much another class is likelier than the label, each measured against how sure the
    models are of that class on average: (N,).

    Fails where nearly all rows of an entity are turned: the folds have learned the poison from each
    other.
    """
    import torch

    p, labels = evidence.held_out, evidence.labels
    usual = torch.stack(
        [
            p[labels == k, k].mean() if (labels == k).any() else torch.tensor(0.0)
            for k in range(evidence.classes)
        ]
    )
    above = p - usual
    own = above[torch.arange(len(labels)), labels]
    above[torch.arange(len(labels)), labels] = -torch.inf
    return above.amax(dim=1) - own
