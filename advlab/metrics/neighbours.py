"""Nearest neighbours by cosine similarity, and their votes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_CHUNK = 1024  # queries at a time; their cosines with every one of the others lie in memory at once


def nearest(queries: Tensor, others: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """For each query the ``count`` others of the largest cosine, the nearest first.

    Args:
        queries: (Q, D).
        others: (N, D), with N ≥ ``count``.

    Returns:
        Cosines (Q, count), and positions among the others, int64 (Q, count).
    """
    unit = functional.normalize(others, dim=1)
    found = [
        (functional.normalize(part, dim=1) @ unit.T).topk(count, dim=1)
        for part in queries.split(_CHUNK)
    ]
    return torch.cat([one.values for one in found]), torch.cat([one.indices for one in found])


def vote(cosines: Tensor, labels: Tensor, classes: int, temperature: float) -> Tensor:
    """The class that neighbours vote for, a vote weighing exp(cosine / ``temperature``) (Wu et al.
    2018, arXiv:1805.01978).

    Args:
        cosines: of each query's neighbours, (Q, k).
        labels: their classes, int64 (Q, k).

    Returns:
        int64 (Q,); of two classes with the same votes the lower.
    """
    weight = (
        (cosines - cosines[:, :1]).double() / temperature
    ).exp()  # a factor for the whole row changes no winner
    votes = torch.zeros(len(cosines), classes, dtype=torch.float64, device=cosines.device)
    return votes.scatter_add_(1, labels, weight).argmax(1)
