"""Partition and vote: models trained on disjoint parts of the rows vote on every label.

Levine and Feizi 2020, arXiv:2006.14768.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from advlab.poisoning.evidence import Evidence

_PARTS = 8


def suspicion(evidence: Evidence) -> Tensor:
    """Mean probability that the models which have not seen a row give to other classes than its
    label: (N,).

    A part holds an eighth of the poison and an eighth of what speaks against it.
    """
    import torch

    count = len(evidence.labels)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(evidence.seed + 1))
    votes, voters = torch.zeros(count, evidence.classes), torch.zeros(count)
    everybody = torch.arange(count)
    for part in order.chunk(_PARTS):
        predicted = evidence.retrain(part, everybody).softmax(dim=1)
        unseen = torch.ones(count, dtype=torch.bool)
        unseen[part] = False
        votes[unseen] += predicted[unseen]
        voters[unseen] += 1
    return 1 - (votes / voters[:, None])[everybody, evidence.labels]
