"""Training for randomised smoothing: the softmax averaged over noisy copies of an image, the attack
on it, its certified radius as a loss, and radii on validation images.

Salman et al. 2019, arXiv:1906.04584; Zhai et al. 2020, arXiv:2001.02378.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from advlab.data.image_set import Images
from advlab.networks.layout import arranged, memory_format
from advlab.perturbation.ascent import projected_step
from advlab.perturbation.geometry import P
from advlab.perturbation.goal import Goal
from advlab.perturbation.randomness import ImageRandom
from advlab.perturbation.victim import Victim
from advlab.robust_training.inner_attack import from_global
from advlab.runs.machine import Machine
from advlab.training.objective import Watch

_LEAST_LOG = -700.0  # of a probability: the quantile is finite, and so is its derivative
_WATCHED_COPIES, _WATCHED_SEED = 16, 0
_BATCH = 1000  # noisy copies in one pass


def noise_for(images: Tensor, sigma: float, copies: int) -> Tensor:
    """Gaussian noise for ``copies`` copies of each image, (N, copies, C, H, W).

    That of an image is the same however many processes share the batch.
    """
    drawn = from_global(images).normal((copies, *images.shape[1:]))
    return sigma * drawn.to(images)


def noisy_copies(images: Tensor, noise: Tensor) -> Tensor:
    """The copies of each image behind one another, (N · copies, C, H, W); not clipped to [0, 1]."""
    return (images[:, None] + noise).flatten(0, 1)


def soft_log_probabilities(logits: Tensor, copies: int) -> Tensor:
    """The logarithm of the softmax that is averaged over the copies of each image, (N, classes).

    Args:
        logits: (N · copies, classes), those of an image behind one another.
    """
    each = logits.view(-1, copies, logits.shape[1]).log_softmax(2)
    return each.logsumexp(1) - math.log(copies)


def attack_smoothed(
    victim: Victim, images: Tensor, labels: Tensor, noise: Tensor, norm: str, eps: float, steps: int
) -> Tensor:
    """PGD on the cross-entropy of the averaged softmax, with the same noise at every step.

    From the image itself, in ``steps`` steps of 2 · eps / steps, as in the authors' code.

    Args:
        images: (N, C, H, W) in [0, 1].
        noise: (N, copies, C, H, W).

    Returns:
        Images in [0, 1] within eps, without the noise.
    """
    goal, copies, current = Goal(labels), noise.shape[1], images
    for _ in range(steps):
        gradient, _ = victim.gradient_of(
            noisy_copies(current, noise),
            lambda logits: goal.loss(soft_log_probabilities(logits, copies), "ce"),
        )
        gradient = gradient.reshape(noise.shape).sum(1)
        current = projected_step(images, current, gradient, 2 * eps / steps, eps, P[norm])
    return current


def radius_loss(
    logits: Tensor,
    labels: Tensor,
    copies: int,
    sigma: float,
    hinge: float,
    inverse_temperature: float,
) -> Tensor:
    """The mean of σ/2 · max(0, hinge − ξ) over a batch, where ξ = Φ⁻¹(p₁) − Φ⁻¹(p₂).

    σ/2 · ξ is the certified radius of the averaged softmax, whose two largest probabilities are p₁
    and p₂. An image whose most likely class is not its label counts as 0.

    Args:
        logits: (N · copies, classes), those of an image behind one another.
        labels: (N,).
        inverse_temperature: what logits are multiplied by before the softmax.
    """
    # In float64, where probabilities next to 0 have a quantile; Apple's GPUs have no float64.
    logits = logits.cpu() if logits.device.type == "mps" else logits
    labels = labels.to(logits.device)
    likely = soft_log_probabilities(inverse_temperature * logits.double(), copies)
    top = likely.topk(2, dim=1)
    first = top.indices[:, 0]
    # Φ⁻¹(p₁) = −Φ⁻¹(1 − p₁), which a p₁ next to 1 does not round away.
    rest = likely.scatter(1, first[:, None], -torch.inf).logsumexp(1)
    xi = -_quantile(rest) - _quantile(top.values[:, 1])
    missing: Tensor = functional.relu(hinge - xi) * (first == labels)
    return sigma / 2 * missing.mean()


def _quantile(log_probability: Tensor) -> Tensor:
    """Φ⁻¹ of a probability, from its logarithm in float64."""
    quantile: Tensor = torch.special.ndtri(log_probability.clamp_min(_LEAST_LOG).exp())
    return quantile


class RadiusWatch(Watch):
    """The mean radius of some validation images under noise after every epoch.

    It is 0 for an image whose label does not get most votes of its noisy copies, else
    σ · Φ⁻¹((votes + ½) / (copies + 1)): an estimate, without the confidence of a certificate. The
    noise is the same in every epoch.
    """

    selects = "val_mean_radius"

    def __init__(self, images: Images, count: int, sigma: float, machine: Machine) -> None:
        """Look at the first ``count`` of the images, under noise of standard deviation ``sigma``
        in pixel units."""
        self.images = images.select(torch.arange(min(count, len(images))))
        self.sigma, self.machine = sigma, machine

    @torch.no_grad()
    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        """The mean radius, in pixel units; in the network's own arithmetic."""
        total, layout = 0.0, memory_format(model)
        for index in torch.arange(len(self.images)).split(max(1, _BATCH // _WATCHED_COPIES)):
            x = self.images.inputs(index, self.machine.device)
            drawn = ImageRandom(_WATCHED_SEED, index).normal((_WATCHED_COPIES, *x.shape[1:]))
            logits = model(arranged(noisy_copies(x, self.sigma * drawn.to(x)), layout))
            votes = functional.one_hot(logits.argmax(1), logits.shape[1])
            counts = votes.view(len(x), _WATCHED_COPIES, -1).sum(1).cpu()
            total += float(radii(counts, self.images.labels[index], self.sigma).sum())
        return {self.selects: total / len(self.images)}


def radii(counts: Tensor, labels: Tensor, sigma: float) -> Tensor:
    """The estimated radius of each image, float64 (N,); see ``RadiusWatch``.

    Args:
        counts: votes, int64 (N, classes).
    """
    own = counts.gather(1, labels[:, None]).squeeze(1)
    others = counts.scatter(1, labels[:, None], -1).amax(1)
    probability = (own.double() + 0.5) / (counts.sum(1) + 1)
    radius = sigma * torch.special.ndtri(probability)
    return torch.where(own > others, radius, 0.0).clamp_min(0.0)
