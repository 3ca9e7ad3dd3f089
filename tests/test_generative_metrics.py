"""FID, KID, inception score, precision and recall: beside an independent library on the same
features, and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from prdc import compute_prdc
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.inception import InceptionScore
from torchmetrics.image.kid import KernelInceptionDistance

from advlab.metrics.generative import (
    effective_classes,
    fid,
    inception_score,
    kid,
    mean_distance,
    modes,
    nearest_neighbour_distances,
    precision_recall,
)


def features(count: int, width: int = 12, seed: int = 0, shift: float = 0.0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    mix = torch.randn(
        width, width, generator=torch.Generator().manual_seed(99), dtype=torch.float64
    )
    return torch.randn(count, width, generator=random, dtype=torch.float64) @ mix + shift


class Through(nn.Module):
    """Takes images whose pixels are the features."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_features = width

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1).double()


def test_fid_is_the_librarys() -> None:
    real, fake = features(300), features(250, seed=1, shift=0.3)
    theirs = FrechetInceptionDistance(feature=Through(12), input_img_size=(1, 1, 12)).set_dtype(
        torch.float64
    )
    theirs.update(real[:, None, None], real=True)
    theirs.update(fake[:, None, None], real=False)
    assert fid(real, fake) == pytest.approx(float(theirs.compute()), rel=1e-6)


def test_fid_of_two_gaussians_in_closed_form() -> None:
    """Diagonal covariances: |μ1 - μ2|² + Σ (σ1 - σ2)². The samples are made to have these moments
    exactly."""
    base = torch.tensor(
        [[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64
    ) * math.sqrt(3 / 4)
    one, other = (
        base * torch.tensor([1.0, 2.0]),
        base * torch.tensor([3.0, 0.5]) + torch.tensor([5.0, 0.0]),
    )
    assert fid(one, other) == pytest.approx(25 + (1 - 3) ** 2 + (2 - 0.5) ** 2, rel=1e-12)


@pytest.mark.parametrize("count", [2, 5, 12, 13])
def test_fid_is_a_number_of_at_least_zero_with_few_images_too(count: int) -> None:
    same = features(count)
    assert 0 <= fid(same, same) < 1e-9
    constant = torch.zeros(count, 12)
    assert 0 <= fid(constant, constant) < 1e-9
    assert math.isfinite(fid(same, constant))


def test_fid_of_a_single_feature() -> None:
    one, other = torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [7.0]])
    assert fid(one, other) == pytest.approx(9 + (math.sqrt(2) - math.sqrt(18)) ** 2)


def test_kid_is_the_librarys() -> None:
    real, fake = features(80), features(80, seed=1, shift=0.2)
    theirs = KernelInceptionDistance(
        feature=Through(12), subsets=1, subset_size=80, degree=3, coef=1.0
    )
    theirs.update(real, real=True)
    theirs.update(fake, real=False)
    mean, deviation = kid(real, fake, subsets=1)
    assert mean == pytest.approx(float(theirs.compute()[0]), rel=1e-5)
    assert deviation is None


def test_kid_is_a_naive_sum() -> None:
    real, fake = features(6, 3), features(6, 3, seed=1)

    def k(x: Tensor, y: Tensor) -> float:
        return (float(x @ y) / 3 + 1) ** 3

    pairs = [(i, j) for i in range(6) for j in range(6) if i != j]
    within = sum(k(s[i], s[j]) for s in (real, fake) for i, j in pairs) / 30
    across = sum(k(x, y) for x in real for y in fake) / 36
    assert kid(real, fake, subsets=2)[0] == pytest.approx(within - 2 * across, rel=1e-10)


def test_kid_is_unbiased() -> None:
    """Over many pairs of sets of one kind its mean is zero, within three standard errors."""
    values = [
        kid(features(40, 4, seed=2 * n), features(40, 4, seed=2 * n + 1), subsets=1)[0]
        for n in range(200)
    ]
    assert abs(np.mean(values)) < 3 * np.std(values) / math.sqrt(200)


def test_inception_score_is_the_librarys() -> None:
    logits = features(200, 10)
    theirs = InceptionScore(feature=Through(10), splits=1)
    theirs.update(logits)
    assert inception_score(logits.softmax(dim=1)) == pytest.approx(
        float(theirs.compute()[0]), rel=1e-5
    )


def test_inception_score_from_one_to_the_number_of_classes() -> None:
    assert inception_score(torch.eye(10).repeat(3, 1)) == pytest.approx(10)
    assert inception_score(torch.full((30, 10), 0.1)) == pytest.approx(1)
    assert inception_score(torch.eye(10)[[3] * 30]) == pytest.approx(1)


@pytest.mark.parametrize("shift", [0.0, 0.5, 3.0])
def test_precision_and_recall_are_the_librarys(shift: float) -> None:
    real, fake = features(150), features(120, seed=1, shift=shift)
    theirs = compute_prdc(real.numpy(), fake.numpy(), nearest_k=3)
    assert list(precision_recall(real, fake)) == pytest.approx(
        [theirs["precision"], theirs["recall"]]
    )


def test_precision_and_recall_tell_few_kinds_from_bad_images() -> None:
    real = features(200)
    few = real[:5].repeat(40, 1) + 1e-3 * features(200, seed=2)
    precision, recall = precision_recall(real, few)
    assert precision > 0.99
    assert recall < 0.1
    assert precision_recall(real, real + 100) == (0.0, 0.0)


@pytest.mark.parametrize("measure", [fid, kid, precision_recall])
def test_what_cannot_be_measured_is_said(measure: object) -> None:
    good = features(20)
    for bad in (good[:1], torch.full((20, 12), torch.nan), features(20, 5)):
        with pytest.raises(ValueError, match=r"needs at least|non-finite|one length"):
            measure(good, bad)  # type: ignore[operator]


def test_modes() -> None:
    real = torch.tensor([100, 100, 0, 100])
    found = modes(torch.tensor([50, 40, 7, 3]), real)
    assert (
        found.hit == 2
    )  # 3 of 100 is less than a tenth of a third, and no real image is of the third class
    assert found.touched == 3
    assert found.imbalance == pytest.approx(1 - 0.03 * 3)
    shares = [0.5, 0.4, 0.03]
    assert found.kl == pytest.approx(sum(p * math.log(3 * p) for p in shares))
    assert modes(real, real).imbalance == pytest.approx(0)
    assert modes(real, real).kl == pytest.approx(0)
    with pytest.raises(ValueError, match="no images"):
        modes(torch.zeros(4), real)


def test_effective_classes() -> None:
    assert effective_classes(torch.tensor([5, 5, 5, 0])) == pytest.approx(3)
    assert effective_classes(torch.tensor([0, 9])) == pytest.approx(1)


def test_distances_are_naive_ones() -> None:
    points = features(30, 4)
    naive = [[float((a - b).norm()) for b in points] for a in points]
    assert mean_distance(points) == pytest.approx(sum(map(sum, naive)) / (30 * 29))
    nearest = [
        min(distance for j, distance in enumerate(row) if j != i) for i, row in enumerate(naive)
    ]
    assert nearest_neighbour_distances(points).tolist() == pytest.approx(nearest)
