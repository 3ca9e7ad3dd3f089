"""How well features separate classes: the silhouette, and clusters compared with classes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_RESTARTS = 10  # of k-means, whose result depends on where it starts


def silhouette(features: Tensor, labels: Tensor) -> float | None:
    """Return the mean silhouette of the classes by cosine distance (Rousseeuw 1987).

    The silhouette of a point is (b - a) / max(a, b). Here a is its mean distance to the other
    points of its class, and b the smallest mean distance to the points of another class. A class of
    a single point counts as 0. The mean distance to a class follows from the sum of its unit
    vectors, so that no matrix of distances is needed.

    Args:
        features: (N, D).
        labels: int64 (N,).

    Returns:
        A value in [-1, 1]: 1 for classes of one direction each, about 0 where they overlap. None
        where there are fewer than two classes, or no class has two points.
    """
    classes, index = labels.unique(return_inverse=True)
    sizes = torch.bincount(index)
    if not 2 <= len(classes) < len(labels):
        return None
    unit = functional.normalize(features.double(), dim=1)
    sums = torch.zeros(len(classes), unit.shape[1], dtype=unit.dtype).index_add_(0, index, unit)
    # The distances to all points of each class, (N, classes). A feature of length 0, whose distance
    # to itself counts here as well, is at a distance of 1 from all others.
    total = sizes - unit @ sums.T
    own = functional.one_hot(index, len(classes)).bool()
    others = total[own] - (1 - unit.square().sum(1))
    within = others.clamp_min(0) / (sizes[index] - 1).clamp_min(1)
    beyond = (total / sizes).masked_fill(own, torch.inf).amin(1).clamp_min(0)
    largest = torch.maximum(within, beyond)
    value = torch.where(largest > 0, (beyond - within) / largest, torch.zeros_like(largest))
    return float(torch.where(sizes[index] > 1, value, torch.zeros_like(value)).mean())


def cluster_agreement(features: Tensor, labels: Tensor, seed: int) -> float | None:
    """Return the normalised mutual information of clusters and classes.

    The clusters are those of k-means on the features at unit length, as many as there are classes.
    The mutual information is divided by the mean of both entropies. The classes have no part in
    the clustering.

    Args:
        features: (N, D).
        labels: int64 (N,).
        seed: of the places where k-means starts.

    Returns:
        A value in [0, 1]: 1 where clusters and classes are the same, about 0 where they are
        independent. None where there are fewer than two classes, or fewer different points than
        classes.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import normalized_mutual_info_score
    from threadpoolctl import threadpool_limits

    count = len(labels.unique())
    unit = functional.normalize(features.double(), dim=1)
    if count < 2 or len(unit.unique(dim=0)) < count:
        return None
    # One thread: with several, sums and thereby clusters depend on their number.
    with threadpool_limits(1):
        clusters = KMeans(count, n_init=_RESTARTS, random_state=seed % 2**32).fit_predict(
            unit.numpy()
        )
    return float(normalized_mutual_info_score(labels.numpy(), clusters))
