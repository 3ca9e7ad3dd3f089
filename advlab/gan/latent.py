"""Maps of latent vectors in two dimensions."""

from __future__ import annotations

import torch
from torch import Tensor


def plane(points: Tensor) -> tuple[Tensor, tuple[float, float]]:
    """The first two principal components of points (N, D): places (N, 2), and the share of the
    variance that each explains."""
    if not points.var(dim=0).any():  # all in one place
        return torch.zeros(len(points), 2), (0.0, 0.0)
    if points.shape[1] == 1:  # there is no second one
        return torch.cat([points, torch.zeros_like(points)], dim=1), (1.0, 0.0)
    from sklearn.decomposition import PCA  # takes a second to import

    pca = PCA(2, svd_solver="full")
    places = torch.from_numpy(pca.fit_transform(points.double().numpy()))
    first, second = pca.explained_variance_ratio_.tolist()
    return places, (first, second)


def spread_out(places: Tensor, count: int) -> Tensor:
    """Numbers of at most ``count`` places (N, 2) that lie far from each other: each one the
    farthest from all before it."""
    chosen = [int(places.square().sum(dim=1).argmin())]
    nearest = (places - places[chosen[0]]).norm(dim=1)
    while len(chosen) < min(count, len(places)):
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, (places - places[chosen[-1]]).norm(dim=1))
    return torch.tensor(chosen)
