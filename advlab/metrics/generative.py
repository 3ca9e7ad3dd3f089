"""Quality of generated images, from features and class probabilities, in float64."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

NEIGHBOURS = 3
"""Whose distance is the reach of a point, for precision and recall."""

MIN_IMAGES = NEIGHBOURS + 1
"""Images of each kind that the measures of a generator need at least: each must have so many
neighbours besides itself."""

_BLOCK = 1000  # rows of a distance matrix that are held at a time


def fid(real: Tensor, fake: Tensor) -> float:
    """Fréchet distance between the two Gaussians that fit the features (Heusel et al. 2017,
    arXiv:1706.08500); at least 0.

    The trace of the root is taken over the eigenvalues of a symmetric matrix, so it is real and
    never NaN, also where there are fewer images than features.

    Raises:
        ValueError: fewer than two rows, rows of different lengths, or numbers that are not finite.
    """
    _check(real, fake, 2)
    (mean_a, cov_a), (mean_b, cov_b) = _gaussian(real), _gaussian(fake)
    values, vectors = torch.linalg.eigh(cov_a)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    overlap = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum()
    distance = (mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * overlap
    return max(0.0, float(distance))


def kid(
    real: Tensor, fake: Tensor, subsets: int = 100, size: int = 1000, seed: int = 0
) -> tuple[float, float | None]:
    """Kernel distance (Bińkowski et al. 2018, arXiv:1801.01401): squared MMD under (xᵀy / D + 1)³,
    its mean and standard deviation.

    Where a subset holds all images of both kinds there is only one, and no deviation: None.

    The estimate is unbiased, so that it does not depend on how many images there are; for that
    price it may fall a little below 0 where the two sets are alike.

    Args:
        subsets: how many pairs of random subsets it is the mean over.
        size: images in each; all there are, where there are fewer.

    Raises:
        ValueError: as ``fid``.
    """
    _check(real, fake, 2)
    real, fake = real.double(), fake.double()
    size = min(size, len(real), len(fake))
    if size == len(real) == len(fake):
        subsets = 1
    random = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(subsets):
        x = real[torch.randperm(len(real), generator=random)[:size]]
        y = fake[torch.randperm(len(fake), generator=random)[:size]]
        within = [
            (kernel.sum() - kernel.diagonal().sum()) / (size * (size - 1))
            for kernel in (_cubic(x, x), _cubic(y, y))
        ]
        found.append(within[0] + within[1] - 2 * _cubic(x, y).mean())
    values = torch.stack(found)
    return float(values.mean()), float(values.std()) if subsets > 1 else None


def inception_score(probabilities: Tensor) -> float:
    """exp of the mean divergence of each image's class probabilities from their mean (Salimans et
    al. 2016, arXiv:1606.03498).

    From 1, where all images are said to be the same, to the number of classes.
    """
    p = probabilities.double().clamp(min=1e-16)
    return float((p * (p.log() - p.mean(dim=0, keepdim=True).log())).sum(dim=1).mean().exp())


def precision_recall(
    real: Tensor, fake: Tensor, neighbours: int = NEIGHBOURS
) -> tuple[float, float]:
    """Share of the generated that fall within the real set's reach, and of the real within the
    generated set's.

    A point is within a set's reach where it is no farther from some member than that member's own
    third neighbour is (Kynkäänniemi et al. 2019, arXiv:1904.06991).

    Raises:
        ValueError: as ``fid``, or no more rows than ``neighbours``.
    """
    _check(real, fake, neighbours + 1)
    real, fake = real.double(), fake.double()
    return _within(fake, real, neighbours), _within(real, fake, neighbours)


def mean_distance(features: Tensor) -> float:
    """Mean Euclidean distance between two different rows."""
    total = sum(
        float(torch.cdist(part, features.double()).sum())
        for part in features.double().split(_BLOCK)
    )
    return total / (len(features) * (len(features) - 1))


def nearest_neighbour_distances(points: Tensor) -> Tensor:
    """Distance of every row to the nearest other one, (N,)."""
    return _kth_others(points.double(), 1)


@dataclass(frozen=True)
class Modes:
    """How generated images fall on classes, beside how real ones do.

    Attributes:
        hit: classes that get at least a tenth of their real share.
        touched: classes that get any image at all, which is how papers count.
        imbalance: the largest deviation of a class's share from its real share, as a share of that;
            0 for perfect balance.
        kl: divergence of the generated classes from the real ones, in nats.
    """

    hit: int
    touched: int
    imbalance: float
    kl: float


def modes(generated: Tensor, real: Tensor) -> Modes:
    """From counts of predicted classes, each (K,); classes that no real image is taken for are left
    out.

    Raises:
        ValueError: one of them counts nothing.
    """
    if not generated.sum() or not real.sum():
        raise ValueError("modes of no images")
    there = real > 0
    p, q = (generated[there].double() / generated.sum()), (real[there].double() / real.sum())
    some = p > 0
    return Modes(
        int((p >= q / 10).sum()),
        int(some.sum()),
        float((p / q - 1).abs().max()),
        float((p[some] * (p[some] / q[some]).log()).sum()),
    )


def effective_classes(counts: Tensor) -> float:
    """exp of the entropy of the classes' shares: how many equally frequent classes there might as
    well be."""
    p = counts.double() / counts.sum()
    return float(torch.special.entr(p).sum().exp())


def _gaussian(features: Tensor) -> tuple[Tensor, Tensor]:
    x = features.double()
    return x.mean(dim=0), torch.cov(x.T).reshape(x.shape[1], x.shape[1])


def _cubic(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _within(points: Tensor, members: Tensor, neighbours: int) -> float:
    reach = _kth_others(members, neighbours)
    inside = sum(
        int((torch.cdist(part, members) <= reach).any(dim=1).sum()) for part in points.split(_BLOCK)
    )
    return inside / len(points)


def _kth_others(points: Tensor, k: int) -> Tensor:
    """Distance of every row to its k-th nearest other row."""
    return torch.cat(
        [torch.cdist(part, points).kthvalue(k + 1, dim=1).values for part in points.split(_BLOCK)]
    )


def _check(real: Tensor, fake: Tensor, least: int) -> None:
    if min(len(real), len(fake)) < least:
        raise ValueError(
            f"needs at least {least} images of each kind; there are {len(real)} and {len(fake)}"
        )
    if real.shape[1:] != fake.shape[1:] or real.dim() != 2:
        raise ValueError(
            f"features must be rows of one length; these are {tuple(real.shape)} and "
            f"{tuple(fake.shape)}"
        )
    if not (real.isfinite().all() and fake.isfinite().all()):
        raise ValueError("features that are not finite")
