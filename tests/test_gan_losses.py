"""The losses of the game beside naive versions, its penalties beside closed forms and finite
differences."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from advlab.gan.augmentation import augmented, cutout, translation
from advlab.gan.losses import (
    PROBABILITIES,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    r1_penalty,
)

LOSSES = ("bce", "nonsaturating", "hinge", "wgan", "wgan-gp")


def scores(seed: int) -> Tensor:
    return 2 * torch.randn(9, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def naive(loss: str, real: list[float], fake: list[float], smoothing: float) -> tuple[float, float]:
    """Both losses as the papers write them, image by image."""

    def d(score: float) -> float:
        return 1 / (1 + math.exp(-score))

    def mean(values: list[float]) -> float:
        return sum(values) / len(values)

    if loss in PROBABILITIES:
        right = 1 - smoothing
        of_real = mean([-(right * math.log(d(x)) + (1 - right) * math.log(1 - d(x))) for x in real])
        return of_real + mean([-math.log(1 - d(x)) for x in fake]), mean(
            [-math.log(d(x)) for x in fake]
        )
    if loss == "hinge":
        return mean([max(0, 1 - x) for x in real]) + mean([max(0, 1 + x) for x in fake]), -mean(
            fake
        )
    return mean(fake) - mean(real), -mean(fake)


@pytest.mark.parametrize("loss", LOSSES)
def test_both_halves_are_the_papers(loss: str) -> None:
    real, fake = scores(0), scores(1)
    expected = naive(loss, real.tolist(), fake.tolist(), 0.0)
    assert float(discriminator_loss(loss, real, fake)) == pytest.approx(expected[0], rel=1e-12)
    assert float(generator_loss(loss, fake)) == pytest.approx(expected[1], rel=1e-12)


def test_labels_are_smoothed_on_one_side() -> None:
    real, fake = scores(0), scores(1)
    assert float(discriminator_loss("bce", real, fake, 0.1)) == pytest.approx(
        naive("bce", real.tolist(), fake.tolist(), 0.1)[0]
    )
    of_fake = discriminator_loss("bce", real, fake, 0.1) - discriminator_loss(
        "bce", real, fake + 1, 0.1
    )
    unsmoothed = discriminator_loss("bce", real, fake) - discriminator_loss("bce", real, fake + 1)
    assert float(of_fake) == pytest.approx(
        float(unsmoothed)
    )  # what is said of generated images is no matter of smoothing


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_are_finite_differences(loss: str) -> None:
    real, fake = scores(2).requires_grad_(), scores(3).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda r, f: discriminator_loss(loss, r, f, 0.1 if loss == "bce" else 0.0), (real, fake)
    )
    assert torch.autograd.gradcheck(lambda f: generator_loss(loss, f), (fake,))


def test_a_sure_discriminator_still_teaches() -> None:
    """What sets the non-saturating loss apart: where D(G(z)) is next to 0, its gradient is not."""
    lost = torch.full((4,), -30.0, requires_grad=True)
    for loss in PROBABILITIES:
        (gradient,) = torch.autograd.grad(generator_loss(loss, lost), lost)
        assert float(gradient.abs().sum()) == pytest.approx(1, abs=1e-6)


def linear(weights: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda images: (images.flatten(1) * weights).sum(dim=1)


def test_the_gradient_penalty_of_a_linear_critic() -> None:
    weights = torch.randn(12, dtype=torch.float64)
    real, fake = (
        torch.randn(5, 3, 2, 2, dtype=torch.float64),
        torch.randn(5, 3, 2, 2, dtype=torch.float64),
    )
    assert float(gradient_penalty(linear(weights), real, fake)) == pytest.approx(
        (float(weights.norm()) - 1) ** 2
    )
    assert float(r1_penalty(linear(weights), real)) == pytest.approx(
        float(weights.square().sum()) / 2
    )


def test_the_gradient_penalty_of_packs_is_one_of_whole_packs() -> None:
    weights = torch.randn(24, dtype=torch.float64)
    real, fake = (
        torch.randn(6, 3, 2, 2, dtype=torch.float64),
        torch.randn(6, 3, 2, 2, dtype=torch.float64),
    )
    packed = linear(weights)
    found = gradient_penalty(
        lambda images: packed(images.reshape(3, 6, 2, 2)), real, fake, packing=2
    )
    assert float(found) == pytest.approx((float(weights.norm()) - 1) ** 2)


def test_penalties_are_taken_on_the_way_from_real_to_generated_images() -> None:
    seen: list[Tensor] = []

    def score(images: Tensor) -> Tensor:
        seen.append(images.detach())
        return images.square().flatten(1).sum(dim=1)

    real, fake = torch.zeros(64, 1, 2, 2), torch.ones(64, 1, 2, 2)
    gradient_penalty(score, real, fake)
    (between,) = seen
    assert between.flatten(1).std(dim=1).max() == 0  # one share for an image
    assert 0 <= between.min() < 0.1 < 0.9 < between.max() <= 1
    # The score's gradient is 2x, so R1 is half of |2x|².
    assert float(r1_penalty(score, fake).detach()) == pytest.approx(8)


def test_a_penalty_can_be_descended() -> None:
    weight = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    images = torch.ones(4, 1, 1, 1, dtype=torch.float64)
    (slope,) = torch.autograd.grad(
        gradient_penalty(lambda x: weight * x.flatten(), images, 2 * images), weight
    )
    assert float(slope) == pytest.approx(2 * (3 - 1))


# --- differentiable augmentation ------------------------------------------------------------------
KINDS = ("brightness", "saturation", "contrast", "translation", "cutout")


def images(count: int = 40, channels: int = 3, side: int = 16) -> Tensor:
    return (
        torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(4)) * 2 - 1
    )


@pytest.mark.parametrize("name", KINDS)
def test_augmentations_keep_shape_follow_the_seed_and_let_gradients_through(name: str) -> None:
    one = images().requires_grad_()
    torch.manual_seed(0)
    first = augmented(one, [name])
    torch.manual_seed(0)
    again = augmented(one, [name])
    other = augmented(one, [name])
    assert first.shape == one.shape
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    (gradient,) = torch.autograd.grad(first.square().sum(), one)
    assert gradient.isfinite().all()
    assert gradient.abs().sum() > 0


def test_a_shift_is_a_shift() -> None:
    torch.manual_seed(1)
    before = images(200)
    after = translation(before)
    largest = 2  # an eighth of 16
    shifts = set()
    for old, new in zip(before, after, strict=True):
        found = [
            (down, right)
            for down in range(-largest, largest + 1)
            for right in range(-largest, largest + 1)
            if torch.equal(
                new[:, max(0, -down) : 16 - max(0, down), max(0, -right) : 16 - max(0, right)],
                old[:, max(0, down) : 16 - max(0, -down), max(0, right) : 16 - max(0, -right)],
            )
        ]
        assert len(found) == 1
        shifts.add(found[0])
        down, right = found[0]
        assert int((new == 0).sum()) == 3 * (256 - (16 - abs(down)) * (16 - abs(right)))
    assert len(shifts) == 25


def test_a_cut_is_a_square_of_half_the_side() -> None:
    torch.manual_seed(2)
    after = cutout(torch.ones(300, 2, 16, 16))
    assert torch.equal(after[:, 0], after[:, 1])
    holes = (after[:, 0] == 0).flatten(1).sum(dim=1)
    assert int(holes.max()) == 64
    assert int(holes.min()) >= 16  # a quarter of it, in a corner
    for hole in after[:50, 0] == 0:
        rows, columns = hole.any(dim=1).sum(), hole.any(dim=0).sum()
        assert int(hole.sum()) == int(rows * columns)


def test_colours_change_as_they_say() -> None:
    torch.manual_seed(3)
    before = images(100)
    lighter = augmented(before, ["brightness"]) - before
    assert lighter.flatten(1).std(dim=1).max() < 1e-6
    assert 0.3 < float(lighter.abs().max()) <= 0.5
    grey = augmented(before, ["saturation"])
    torch.testing.assert_close(grey.mean(dim=1), before.mean(dim=1))
    contrast = augmented(before, ["contrast"])
    torch.testing.assert_close(contrast.mean(dim=(1, 2, 3)), before.mean(dim=(1, 2, 3)))
    ratio = contrast.flatten(1).std(dim=1) / before.flatten(1).std(dim=1)
    assert 0.5 <= float(ratio.min()) < 0.6 < 1.4 < float(ratio.max()) <= 1.5
