"""Nearest neighbours by cosine similarity, and their votes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_CHUNK = 1024  # queries at a time, which limits the matrix of cosines in memory


def nearest(queries: Tensor, references: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Find the ``count`` references with the largest cosine similarity to each query.

    Args:
        queries: (Q, D).
        references: (N, D), with N ≥ ``count``.

    Returns:
        Cosines (Q, count) in descending order, and indices of the references, int64 (Q, count).
    """
    unit = functional.normalize(references, dim=1)
    largest = [
        (functional.normalize(part, dim=1) @ unit.T).topk(count, dim=1)
        for part in queries.split(_CHUNK)
    ]
    return (
        torch.cat([part.values for part in largest]),
        torch.cat([part.indices for part in largest]),
    )


def vote(cosines: Tensor, labels: Tensor, classes: int, temperature: float) -> Tensor:
    """Return the class that wins a weighted vote of the neighbours (Wu et al., arXiv:1805.01978).

    Args:
        cosines: cosine similarities of each query's neighbours, (Q, k), in descending order.
        labels: classes of the neighbours, int64 (Q, k).
        classes: number of classes.
        temperature: a vote has the weight exp(cosine / ``temperature``).

    Returns:
        int64 (Q,); ties go to the lower class.
    """
    # Subtracting the largest cosine of the row avoids overflow and does not change the winner.
    weight = ((cosines - cosines[:, :1]).double() / temperature).exp()
    votes = torch.zeros(len(cosines), classes, dtype=torch.float64, device=cosines.device)
    return votes.scatter_add_(1, labels, weight).argmax(1)
