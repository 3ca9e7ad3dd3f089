"""Accuracy, confusion, norms, PSNR and SSIM, beside scikit-learn's and scikit-image's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from sklearn.metrics import accuracy_score
from sklearn.metrics import confusion_matrix as sklearns
from torch import Tensor

from advlab.metrics import perturbation as visible
from advlab.metrics.classification import (
    accuracy,
    confusion_matrix,
    is_correct,
    majority_accuracy,
    no_better_than_majority,
    too_few_for_majority,
)
from advlab.metrics.intervals import clopper_pearson, with_interval
from advlab.metrics.smallest import accuracy_by_norm, quantile
from advlab.runs.table import percent, points, table

NAN = float("nan")


@pytest.fixture
def logits() -> Tensor:
    return torch.randn(50, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3


@pytest.fixture
def classes() -> Tensor:
    return torch.randint(0, 7, (50,), generator=torch.Generator().manual_seed(1))


def test_accuracy_counts_ties_and_nan_as_wrong_and_refuses_nothing_at_all() -> None:
    logits = torch.tensor([[1.0, 0.0], [1.0, 1.0], [NAN, 0.0], [0.0, 1.0]])
    assert is_correct(logits, torch.tensor([0, 0, 0, 0])).tolist() == [True, False, False, False]
    assert accuracy(logits, torch.tensor([0, 0, 0, 1])) == 0.5
    with pytest.raises(ValueError, match="no examples"):
        accuracy(logits[:0], torch.tensor([], dtype=torch.int64))


def test_the_confusion_matrix_is_sklearns(classes: Tensor, logits: Tensor) -> None:
    predicted = logits.argmax(1)
    assert (
        confusion_matrix(classes, predicted, 7).tolist()
        == sklearns(classes, predicted, labels=range(7)).tolist()
    )


@pytest.mark.parametrize("at_once", [1 << 20, 300])
@pytest.mark.parametrize("channels", [1, 3])
def test_psnr_and_ssim_are_scikit_images(
    channels: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visible, "_AT_ONCE", at_once)  # the smaller one: bands of single rows
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(4, channels, 17, 23, generator=generator)
    perturbed = (images + 0.2 * torch.randn(images.shape, generator=generator)).clamp(0, 1)
    psnr, ssim = visible.psnr(perturbed, images), visible.ssim(perturbed, images)
    for index in range(4):
        one, other = images[index].double().numpy(), perturbed[index].double().numpy()
        assert float(psnr[index]) == pytest.approx(
            peak_signal_noise_ratio(one, other, data_range=1), rel=1e-9
        )
        theirs = structural_similarity(
            one,
            other,
            data_range=1,
            channel_axis=0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        assert float(ssim[index]) == pytest.approx(theirs, rel=1e-9)


def test_equal_images_are_perfectly_similar_and_small_ones_refused() -> None:
    images = torch.rand(2, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    assert visible.ssim(images, images).tolist() == pytest.approx([1, 1])
    assert torch.isinf(visible.psnr(images, images)).all()
    with pytest.raises(ValueError, match="at least 11"):
        visible.ssim(images[..., :10], images[..., :10])


def test_norms_are_those_of_the_difference() -> None:
    images = torch.zeros(1, 1, 1, 3)
    sizes = visible.norms(torch.tensor([0.5, -0.25, 0.0]).view(1, 1, 1, 3), images)
    assert {name: float(size) for name, size in sizes.items()} == pytest.approx(
        {"linf": 0.5, "l2": 0.3125**0.5, "l1": 0.75, "l0": 2}
    )


def test_accuracy_is_sklearns_where_there_are_no_ties(classes: Tensor, logits: Tensor) -> None:
    assert accuracy(logits, classes) == accuracy_score(classes, logits.argmax(1))
    assert 0 < accuracy(logits, classes) < 1
    assert accuracy(logits, logits.argmax(1)) == 1
    before = logits.clone()
    is_correct(logits, classes)
    assert torch.equal(logits, before), "the logits are read, not written"


def test_infinite_logits_and_rows_of_nothing_but_nan_or_ties() -> None:
    logits = torch.tensor(
        [
            [math.inf, 0.0],
            [math.inf, math.inf],
            [-math.inf, -math.inf],
            [NAN, NAN],
            [0.0, -math.inf],
            [2.0, NAN],
        ]
    )
    assert is_correct(logits, torch.zeros(6, dtype=torch.int64)).tolist() == [
        True,
        False,
        False,
        False,
        True,
        False,
    ]


def test_the_confusion_matrix_keeps_empty_rows_and_columns() -> None:
    counts = confusion_matrix(torch.tensor([0, 0, 3]), torch.tensor([1, 1, 3]), 5)
    assert counts.dtype == torch.int64
    assert counts.shape == (5, 5)
    assert counts[0, 1] == 2
    assert counts[3, 3] == 1
    assert counts.sum() == 3
    assert counts.t()[1, 0] == 2, "rows are the truth"


def test_ssim_agrees_on_flat_images_on_the_smallest_ones_and_on_photographs() -> None:
    """Flat parts have no variance, where formulas divide by constants alone."""
    generator = torch.Generator().manual_seed(4)
    for height, width in ((11, 11), (32, 32), (11, 40)):
        images = torch.rand(2, 3, height, width, generator=generator)
        images[0] = 0.5
        perturbed = (
            images + 0.03 * torch.sign(torch.randn(images.shape, generator=generator))
        ).clamp(0, 1)
        for ours, one, other in zip(
            visible.ssim(perturbed, images),
            images.double().numpy(),
            perturbed.double().numpy(),
            strict=True,
        ):
            theirs = structural_similarity(
                one,
                other,
                data_range=1,
                channel_axis=0,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
            )
            assert float(ours) == pytest.approx(theirs, rel=1e-8, abs=1e-10)


def test_visibility_falls_as_a_perturbation_grows_and_does_not_mind_the_order_of_the_two() -> None:
    generator = torch.Generator().manual_seed(5)
    images = torch.rand(3, 1, 16, 16, generator=generator)
    noise = torch.randn(images.shape, generator=generator)
    rows = [(images + size * noise).clamp(0, 1) for size in (0.01, 0.05, 0.2)]
    for measure in (visible.psnr, visible.ssim):
        values = torch.stack([measure(row, images) for row in rows])
        assert (values[:-1] > values[1:]).all()
        assert torch.allclose(measure(rows[1], images), measure(images, rows[1]), rtol=1e-12)
        assert values.dtype == torch.float64
        assert values.shape == (3, 3)


def test_norms_are_numpys_per_image_in_float64() -> None:
    generator = torch.Generator().manual_seed(6)
    images, perturbed = torch.rand(2, 4, 3, 9, 9, generator=generator)
    sizes = visible.norms(perturbed, images)
    difference = perturbed.double().numpy() - images.double().numpy()
    for name, order in (("linf", np.inf), ("l2", 2), ("l1", 1)):
        assert sizes[name].dtype == torch.float64
        expected = [np.linalg.norm(one.ravel(), ord=order) for one in difference]
        assert sizes[name].tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("correct", "total"), [(0, 20), (1, 20), (7, 20), (20, 20), (931, 1000)])
def test_intervals_are_the_exact_binomial_ones(correct: int, total: int) -> None:
    low, high = clopper_pearson(correct, total)
    exact = scipy.stats.binomtest(correct, total).proportion_ci(0.95, method="exact")
    assert (low, high) == pytest.approx((exact.low, exact.high), abs=1e-12)
    # At each limit the count seen, or a more extreme one, has a probability of 2.5 %.
    if correct > 0:
        assert scipy.stats.binom.sf(correct - 1, total, low) == pytest.approx(0.025)
    if correct < total:
        assert scipy.stats.binom.cdf(correct, total, high) == pytest.approx(0.025)


def test_an_accuracy_is_written_with_its_interval() -> None:
    assert with_interval(31 / 60, 60) == "51.67 % (38.4 to 64.8)"


def test_quantiles_count_images_that_were_never_broken_as_infinite() -> None:
    norms = torch.tensor([3.0, math.inf, 1.0, 2.0, math.inf])
    assert [quantile(norms, q) for q in (0.2, 0.25, 0.5, 0.6, 0.61)] == [1, 2, 3, 3, None]
    drawn = torch.rand(101, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert quantile(drawn, 0.5) == float(np.median(drawn.numpy()))
    assert quantile(drawn[:0], 0.5) is None


def test_the_accuracy_by_norm_falls_at_every_broken_image() -> None:
    norms = torch.tensor([2.0, math.inf, 1.0, 2.0])
    assert accuracy_by_norm(norms, 5) == [(0.0, 0.8), (1.0, 0.6), (2.0, 0.2)]
    assert accuracy_by_norm(norms[1:2], 1) == [(0.0, 1.0)]
    many = torch.rand(1000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    curve = accuracy_by_norm(many, 1250)
    assert len(curve) == 201
    assert curve[-1] == (float(many.max()), 0.0)
    for size, left in curve:
        assert left == int((many > size).sum()) / 1250


def test_the_majority_is_the_most_frequent_class() -> None:
    assert majority_accuracy(torch.tensor([2, 0, 2, 1, 2])) == 0.6
    with pytest.raises(ValueError, match="no examples"):
        majority_accuracy(torch.tensor([], dtype=torch.int64))


@pytest.mark.parametrize(
    ("total", "majority", "few"),
    [(6, 0.5, True), (20, 0.5, True), (30, 0.5, False), (12, 0.1, False), (1000, 0.999, True)],
)
def test_few_examples_do_not_tell_half_the_errors_from_the_majority(
    total: int, majority: float, few: bool
) -> None:
    right = round(total * (1 + majority) / 2)
    p = scipy.stats.binomtest(right, total, majority, alternative="greater").pvalue
    assert too_few_for_majority(majority, total) == few == (p > 0.01)
    assert not too_few_for_majority(1.0, total)


@pytest.mark.parametrize(("total", "majority"), [(60, 0.1), (360, 0.101), (360, 0.5), (1000, 0.9)])
def test_better_than_the_majority_is_a_binomial_test(total: int, majority: float) -> None:
    answers = [no_better_than_majority(right / total, majority, total) for right in range(total)]
    expected = [
        scipy.stats.binomtest(right, total, majority, alternative="greater").pvalue > 0.01
        for right in range(total)
    ]
    assert answers == expected
    assert answers[0]
    assert not answers[-1]


def test_a_figure_that_is_not_whole_is_not_written_as_if_it_were() -> None:
    """One of 30,000 images is wrong: 99.99667 %, within 99.98 and 99.9999 by the exact interval."""
    assert percent(29_999 / 30_000) == "99.997 %"
    assert percent(1 / 30_000) == "0.003 %"
    assert [percent(0.0), percent(1.0), percent(0.5)] == ["0.00 %", "100.00 %", "50.00 %"]
    assert percent(sum([0.1] * 10)) == "100.00 %"  # but for a last bit
    assert percent(-1e-6) == "0.00 %"
    assert with_interval(29_999 / 30_000, 30_000) == "99.997 % (99.98 to 99.9999)"
    assert with_interval(0.5, 60) == "50.00 % (36.8 to 63.2)"


def test_a_cell_of_a_table_ends_where_it_ends() -> None:
    lines = table(["class"], [["pos|1"], ["two\nlines"]]).splitlines()
    assert [line.strip("| ") for line in lines[2:]] == ["pos\\|1", "two lines"]


def test_differences_are_in_points_and_flush_right() -> None:
    assert points([0.1852]) == "+18.52"
    assert points([-0.037]) == "-3.70"
    assert points([0.1, 0.3]) == "+20.00 ± 14.14"
    lines = table(["change"], [[points([0.1])], ["–"], ["+ a word"]]).splitlines()
    assert lines[1] == "|----------|", "a word is no figure"
    assert table(["change"], [[points([0.1])], ["-3.70"]]).splitlines()[1] == "|-------:|"
