"""Losses of generator and discriminator.

Scores are the discriminator's outputs for images without a sigmoid, (N,), higher for real ones.

``bce`` is binary cross-entropy with labels, the generator's too, as in most scripts: its half of
the loss is already the non-saturating one of Goodfellow et al. (2014, arXiv:1406.2661).
``nonsaturating`` is the same without labels to smooth, and the two descend the same gradient until
one asks for smoothing. ``hinge`` is Lim and Ye's (2017, arXiv:1705.02894). ``wgan`` is that of
Arjovsky, Chintala and Bottou (2017, arXiv:1701.07875), with clipped weights of the discriminator;
``wgan-gp`` has Gulrajani et al.'s gradient penalty instead (2017, arXiv:1704.00028).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, relu, softplus

PROBABILITIES = ("bce", "nonsaturating")
"""Losses whose discriminator's score is the log-odds of being real, so that a sigmoid of it is
D(x)."""

USUAL_PENALTY = {"wgan-gp": 10.0}


def discriminator_loss(loss: str, real: Tensor, fake: Tensor, smoothing: float = 0.0) -> Tensor:
    """What the discriminator descends, less any penalty.

    Args:
        smoothing: one-sided label smoothing for ``bce``: real images are labelled ``1 -
            smoothing``, generated ones stay at 0 (Salimans et al. 2016, arXiv:1606.03498).
    """
    if loss == "bce":
        right = torch.full_like(real, 1 - smoothing)
        return binary_cross_entropy_with_logits(real, right) + binary_cross_entropy_with_logits(
            fake, torch.zeros_like(fake)
        )
    if loss == "nonsaturating":
        return softplus(-real).mean() + softplus(fake).mean()
    if loss == "hinge":
        return relu(1 - real).mean() + relu(1 + fake).mean()
    return fake.mean() - real.mean()


def generator_loss(loss: str, fake: Tensor) -> Tensor:
    """What the generator descends."""
    if loss == "bce":
        return binary_cross_entropy_with_logits(fake, torch.ones_like(fake))
    if loss == "nonsaturating":
        return softplus(-fake).mean()
    return -fake.mean()


def gradient_penalty(
    score: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, packing: int = 1
) -> Tensor:
    """WGAN-GP's: mean of (‖∇D‖ - 1)² at random points between pairs of real and generated images
    (N, C, H, W).

    Args:
        packing: how many images in a row make one score; they are one point.
    """
    fraction = (
        torch.rand(len(real) // packing, 1, 1, 1).repeat_interleave(packing, dim=0).to(real.device)
    )
    between = (real + fraction * (fake - real)).requires_grad_()
    length: Tensor = _gradients(score, between).norm(dim=1)
    return (length - 1).square().mean()


def r1_penalty(score: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    """Mean of ‖∇D‖² / 2 at real images (Mescheder, Geiger and Nowozin 2018, arXiv:1801.04406)."""
    return _gradients(score, real.detach().clone().requires_grad_()).square().sum(dim=1).mean() / 2


def _gradients(score: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Gradient of each score with respect to its images, a row for each score, itself
    differentiable."""
    scores = score(images)
    (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return gradient.reshape(len(scores), -1)
