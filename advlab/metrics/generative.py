"""Metrics of generated images, from features and class probabilities, in float64."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

NEIGHBOURS = 3
"""The k of the k-th nearest neighbour, whose distance is a radius in precision and recall."""

MIN_IMAGES = NEIGHBOURS + 1
"""Smallest number of real and of generated images: each image needs NEIGHBOURS others."""

_BLOCK = 1000  # rows of a distance matrix in memory at a time


def fid(real: Tensor, fake: Tensor) -> float:
    """Return the Fréchet inception distance of features (Heusel et al. 2017, arXiv:1706.08500).

    It is the Fréchet distance between Gaussians with the means and covariances of the features. The
    trace of the matrix square root is computed from the eigenvalues of a symmetric matrix. It is
    therefore real and never NaN, even with fewer images than features.

    Args:
        real: features of real images, (N, D).
        fake: features of generated images, (M, D).

    Returns:
        The distance, at least 0.

    Raises:
        ValueError: fewer than two rows, rows of different lengths, or non-finite numbers.
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
    """Return the kernel inception distance (Bińkowski et al. 2018, arXiv:1801.01401).

    It is the squared maximum mean discrepancy with the kernel (xᵀy / D + 1)³, averaged over random
    subsets. The estimate is unbiased: its expectation does not depend on the number of images, and
    it may be slightly negative if both sets have the same distribution.

    Args:
        real: features of real images, (N, D).
        fake: features of generated images, (M, D).
        subsets: number of pairs of random subsets.
        size: images in each subset, at most N and M.
        seed: seed of the subsets.

    Returns:
        Mean and standard deviation over the subsets. If a subset holds all images of both kinds,
        there is a single pair and the standard deviation is None.

    Raises:
        ValueError: as in ``fid``.
    """
    _check(real, fake, 2)
    real, fake = real.double(), fake.double()
    size = min(size, len(real), len(fake))
    if size == len(real) == len(fake):
        subsets = 1
    random = torch.Generator().manual_seed(seed)
    estimates = []
    for _ in range(subsets):
        x = real[torch.randperm(len(real), generator=random)[:size]]
        y = fake[torch.randperm(len(fake), generator=random)[:size]]
        within = [
            (kernel.sum() - kernel.diagonal().sum()) / (size * (size - 1))
            for kernel in (_cubic(x, x), _cubic(y, y))
        ]
        estimates.append(within[0] + within[1] - 2 * _cubic(x, y).mean())
    values = torch.stack(estimates)
    return float(values.mean()), float(values.std()) if subsets > 1 else None


def inception_score(probabilities: Tensor) -> float:
    """Return the inception score (Salimans et al. 2016, arXiv:1606.03498).

    It is the exponential of the mean Kullback-Leibler divergence of each image's class
    probabilities from their average.

    Args:
        probabilities: class probabilities, (N, classes).

    Returns:
        The score, from 1 (all images have the same prediction) to the number of classes.
    """
    p = probabilities.double().clamp(min=1e-16)
    return float((p * (p.log() - p.mean(dim=0, keepdim=True).log())).sum(dim=1).mean().exp())


def precision_recall(
    real: Tensor, fake: Tensor, neighbours: int = NEIGHBOURS
) -> tuple[float, float]:
    """Return improved precision and recall (Kynkäänniemi et al. 2019, arXiv:1904.06991).

    The manifold of a set is the union of balls around its members, each with the distance to the
    member's k-th nearest neighbour as radius. Precision is the fraction of generated images in the
    manifold of the real ones, recall the fraction of real images in that of the generated ones.

    Args:
        real: features of real images, (N, D).
        fake: features of generated images, (M, D).
        neighbours: the k of the k-th nearest neighbour.

    Raises:
        ValueError: as in ``fid``, or at most ``neighbours`` rows.
    """
    _check(real, fake, neighbours + 1)
    real, fake = real.double(), fake.double()
    return _within(fake, real, neighbours), _within(real, fake, neighbours)


def mean_distance(features: Tensor) -> float:
    """Return the mean Euclidean distance between two different rows of ``features`` (N, D)."""
    total = sum(
        float(torch.cdist(part, features.double()).sum())
        for part in features.double().split(_BLOCK)
    )
    return total / (len(features) * (len(features) - 1))


def nearest_neighbour_distances(points: Tensor) -> Tensor:
    """Return the distance of each row to its nearest neighbour among the others, (N,)."""
    return _kth_neighbour_distances(points.double(), 1)


@dataclass(frozen=True)
class Modes:
    """Class distribution of generated images compared with that of real images.

    Attributes:
        hit: number of classes with at least a tenth of their real frequency.
        touched: number of classes with at least one image, the count that papers report.
        imbalance: largest relative deviation of a class's frequency from its real frequency; 0 if
            the distributions agree.
        kl: Kullback-Leibler divergence of the generated from the real class distribution, in nats.
    """

    hit: int
    touched: int
    imbalance: float
    kl: float


def modes(generated: Tensor, real: Tensor) -> Modes:
    """Compare the class distributions of generated and real images.

    Classes that are never predicted for a real image are ignored.

    Args:
        generated: counts of the predicted classes of generated images, (K,).
        real: the same of real images, (K,).

    Raises:
        ValueError: one of the counts is zero for all classes.
    """
    if not generated.sum() or not real.sum():
        raise ValueError("modes of no images")
    occurring = real > 0
    p = generated[occurring].double() / generated.sum()
    q = real[occurring].double() / real.sum()
    generated_once = p > 0
    return Modes(
        int((p >= q / 10).sum()),
        int(generated_once.sum()),
        float((p / q - 1).abs().max()),
        float((p[generated_once] * (p[generated_once] / q[generated_once]).log()).sum()),
    )


def effective_classes(counts: Tensor) -> float:
    """Return the exponential of the entropy of the class frequencies.

    It is the number of equally frequent classes that have the same entropy.
    """
    p = counts.double() / counts.sum()
    return float(torch.special.entr(p).sum().exp())


def _gaussian(features: Tensor) -> tuple[Tensor, Tensor]:
    x = features.double()
    return x.mean(dim=0), torch.cov(x.T).reshape(x.shape[1], x.shape[1])


def _cubic(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _within(points: Tensor, members: Tensor, neighbours: int) -> float:
    radii = _kth_neighbour_distances(members, neighbours)
    inside = sum(
        int((torch.cdist(part, members) <= radii).any(dim=1).sum()) for part in points.split(_BLOCK)
    )
    return inside / len(points)


def _kth_neighbour_distances(points: Tensor, k: int) -> Tensor:
    """Return the distance of each row to its k-th nearest other row."""
    return torch.cat(
        [torch.cdist(part, points).kthvalue(k + 1, dim=1).values for part in points.split(_BLOCK)]
    )


def _check(real: Tensor, fake: Tensor, min_rows: int) -> None:
    if min(len(real), len(fake)) < min_rows:
        raise ValueError(
            f"needs at least {min_rows} images of each kind, not {len(real)} and {len(fake)}"
        )
    if real.shape[1:] != fake.shape[1:] or real.dim() != 2:
        raise ValueError(
            f"features must be rows of one length, not {tuple(real.shape)} and {tuple(fake.shape)}"
        )
    if not (real.isfinite().all() and fake.isfinite().all()):
        raise ValueError("features contain non-finite numbers")
