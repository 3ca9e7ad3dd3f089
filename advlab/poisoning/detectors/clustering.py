"""Activation clustering: the smaller of the two clusters of a class.

Chen et al. 2018, arXiv:1811.03728.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from advlab.poisoning.evidence import Evidence

_DIMENSIONS = 10


def suspicion(evidence: Evidence) -> Tensor:
    """How much nearer a row is to the smaller cluster's centre, scaled by how small that cluster
    is: (N,).

    Every class has a smaller half, poisoned or not; with little poison it holds mostly clean rows.
    """
    import torch
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA

    scores = torch.zeros(len(evidence.labels), dtype=torch.float64)
    for label in range(evidence.classes):
        rows = (evidence.labels == label).nonzero().squeeze(1)
        if len(rows) < 4:
            continue
        hidden = evidence.hidden[rows].double().numpy()
        flat = PCA(min(_DIMENSIONS, *hidden.shape), svd_solver="full").fit_transform(hidden)
        clusters = KMeans(2, n_init=10, random_state=evidence.seed % 2**31).fit(flat)
        sizes = [int((clusters.labels_ == cluster).sum()) for cluster in (0, 1)]
        small = sizes.index(min(sizes))
        distance = torch.from_numpy(clusters.transform(flat))
        nearer = (distance[:, 1 - small] - distance[:, small]) / distance.sum(dim=1).clamp(
            min=1e-12
        )
        scores[rows] = nearer * (1 - min(sizes) / len(rows))
    return scores
