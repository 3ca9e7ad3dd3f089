"""What an attack climbs and when it is there; the random numbers that belong to an image; accuracy and visibility."""

from __future__ import annotations

import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from sklearn.metrics import confusion_matrix as sklearns
from torch import Tensor
from torch.nn import functional

from advlab.metrics import perturbation as visible
from advlab.metrics.classification import accuracy, confusion_matrix, is_correct
from advlab.perturbation.goal import Goal
from advlab.perturbation.randomness import ImageRandom

NAN = float("nan")


@pytest.fixture
def logits() -> Tensor:
    return torch.randn(50, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3


@pytest.fixture
def classes() -> Tensor:
    return torch.randint(0, 7, (50,), generator=torch.Generator().manual_seed(1))


# --- the goal -----------------------------------------------------------------------------------------------------------
def test_the_loss_rises_with_cross_entropy_and_has_its_direction(logits: Tensor, classes: Tensor) -> None:
    """u with cross-entropy = log(1 + exp(u)): checked by value, and by gradient up to a positive factor per image."""
    logits.requires_grad_(True)
    climbed = Goal(classes).loss(logits, "ce")
    entropy = functional.cross_entropy(logits, classes, reduction="none")
    assert torch.allclose(functional.softplus(climbed), entropy, rtol=1e-10)
    ours, theirs = (torch.autograd.grad(value.sum(), logits, retain_graph=True)[0] for value in (climbed, entropy))
    factor = (ours * theirs).sum(1) / (theirs * theirs).sum(1)
    assert (factor > 0).all()
    assert torch.allclose(ours, factor[:, None] * theirs, rtol=1e-8, atol=1e-12)
    assert torch.equal(Goal(classes, targeted=True).loss(logits, "ce"), -climbed)


def test_the_margin_is_the_naive_one(logits: Tensor, classes: Tensor) -> None:
    for row, cls, value in zip(logits, classes, Goal(classes).loss(logits, "margin"), strict=True):
        others = [float(row[other]) for other in range(7) if other != cls]
        assert float(value) == pytest.approx(max(others) - float(row[cls]))
    assert torch.equal(Goal(classes, targeted=True).loss(logits, "margin"), -Goal(classes).loss(logits, "margin"))


@pytest.mark.parametrize("kind", ["ce", "margin"])
@pytest.mark.parametrize("sure", [10.0, 100.0, 1e4])
def test_the_gradient_does_not_vanish_however_sure_the_network_is(kind: str, sure: float) -> None:
    logits = torch.tensor([[sure, 0.0, -1.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(Goal(torch.tensor([0])).loss(logits, kind).sum(), logits)  # type: ignore[arg-type]
    assert gradient[0, 0] == pytest.approx(-1)
    assert gradient[0, 1:].sum() == pytest.approx(1)


def test_a_tie_counts_against_the_network_when_fleeing_and_against_the_attack_when_seeking() -> None:
    logits = torch.tensor([[1.0, 1.0, 0.0], [2.0, 1.0, 0.0], [0.0, 1.0, 0.0], [NAN, 1.0, 0.0], [1.0, NAN, 0.0]])
    zero = torch.zeros(5, dtype=torch.int64)
    assert Goal(zero).reached(logits).tolist() == [True, False, True, True, True]
    assert Goal(zero, targeted=True).reached(logits).tolist() == [False, True, False, False, False]


# --- random numbers -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["uniform", "signs", "normal", "exponential"])
def test_numbers_belong_to_the_image_and_not_to_the_batch(kind: str) -> None:
    ids = torch.tensor([5, 900, 0, 31])
    many = ImageRandom(3, ids)
    first, second = getattr(many, kind)((2, 3)), getattr(many, kind)((2, 3))
    assert not torch.equal(first, second)
    alone = ImageRandom(3, torch.tensor([31]))
    assert torch.equal(getattr(alone, kind)((2, 3))[0], first[3])
    chosen = alone.select(torch.tensor([0]))
    assert torch.equal(getattr(chosen, kind)((2, 3))[0], second[3]), "a selection goes on with the numbers it would have had"
    assert not torch.equal(getattr(ImageRandom(4, ids), kind)((2, 3)), first)


def test_the_distributions_are_what_they_are_called() -> None:
    random = ImageRandom(0, torch.arange(200))
    uniform, normal = random.uniform((500,)).double(), random.normal((500,)).double()
    exponential, signs = random.exponential((500,)).double(), random.signs((500,)).double()
    assert uniform.min() >= 0
    assert uniform.max() < 1
    assert float(uniform.mean()) == pytest.approx(0.5, abs=0.005)
    assert float(uniform.var()) == pytest.approx(1 / 12, abs=0.002)
    assert float(normal.mean()) == pytest.approx(0, abs=0.015)
    assert float(normal.var()) == pytest.approx(1, abs=0.02)
    assert float(exponential.mean()) == pytest.approx(1, abs=0.015)
    assert float(exponential.var()) == pytest.approx(1, abs=0.05)
    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    # Neighbours in a row, in a column and between draws know nothing of each other.
    for one, other in ((uniform[:, :-1], uniform[:, 1:]), (uniform[:-1], uniform[1:]), (uniform, normal)):
        assert abs(float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1])) < 0.01


# --- metrics ------------------------------------------------------------------------------------------------------------
def test_accuracy_counts_ties_and_nan_as_wrong_and_refuses_nothing_at_all() -> None:
    logits = torch.tensor([[1.0, 0.0], [1.0, 1.0], [NAN, 0.0], [0.0, 1.0]])
    assert is_correct(logits, torch.tensor([0, 0, 0, 0])).tolist() == [True, False, False, False]
    assert accuracy(logits, torch.tensor([0, 0, 0, 1])) == 0.5
    with pytest.raises(ValueError, match="no examples"):
        accuracy(logits[:0], torch.tensor([], dtype=torch.int64))


def test_the_confusion_matrix_is_sklearns(classes: Tensor, logits: Tensor) -> None:
    predicted = logits.argmax(1)
    assert confusion_matrix(classes, predicted, 7).tolist() == sklearns(classes, predicted, labels=range(7)).tolist()


@pytest.mark.parametrize("channels", [1, 3])
def test_psnr_and_ssim_are_scikit_images(channels: int) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(4, channels, 17, 23, generator=generator)
    perturbed = (images + 0.2 * torch.randn(images.shape, generator=generator)).clamp(0, 1)
    psnr, ssim = visible.psnr(perturbed, images), visible.ssim(perturbed, images)
    for index in range(4):
        one, other = images[index].double().numpy(), perturbed[index].double().numpy()
        assert float(psnr[index]) == pytest.approx(peak_signal_noise_ratio(one, other, data_range=1), rel=1e-9)
        theirs = structural_similarity(
            one, other, data_range=1, channel_axis=0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
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
    assert {name: float(size) for name, size in sizes.items()} == pytest.approx({"linf": 0.5, "l2": 0.3125**0.5, "l1": 0.75})
