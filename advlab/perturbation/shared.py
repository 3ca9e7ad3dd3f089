"""One perturbation for all images: made on some images, put on others.

Moosavi-Dezfooli et al. 2017, arXiv:1610.08401, found that there is one. It is made here by
stochastic gradient ascent on a clipped loss, Shafahi et al. 2020, arXiv:1811.11304, which is
simpler than the first paper's walk from boundary to boundary, and stronger by their measurements.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from advlab.data.image_set import Images
from advlab.perturbation.geometry import norm, project, steepest
from advlab.perturbation.goal import Goal
from advlab.perturbation.randomness import ImageRandom, repeatable
from advlab.perturbation.victim import Victim
from advlab.progress import progress_bar
from advlab.runs.machine import derive

_BATCHES, _DRAWN = 60, 61  # what of a seed the batches and the random perturbations are drawn from


def placed(images: Tensor, perturbation: Tensor) -> Tensor:
    """The images (N, C, H, W) with the perturbation (1, C, H, W) added, clipped to [0, 1]."""
    return (images + perturbation.to(images)).clamp(0, 1)


def ascended(
    victim: Victim,
    images: Images,
    target: int | None,
    eps: float,
    p: float,
    *,
    steps: int,
    step_size: float,
    clip: float,
    batch_size: int,
    seed: int,
) -> Tensor:
    """A perturbation (1, C, H, W) of at most eps that raises the mean loss of the images.

    Each step looks at ``batch_size`` images, and goes along the steepest direction of their summed
    gradients. Steps shrink along half a cosine.

    Args:
        images: what the perturbation is made on.
        target: the class that all images are to be taken for; None for any but their own.
        p: exponent of the norm, 2 or infinity.
        step_size: length of the first step.
        clip: as of ``gradient_of``.
    """
    perturbation = torch.zeros(1, *images.pixels.shape[1:], device=victim.device)
    batches = _batches(len(images), batch_size, seed)
    with (
        repeatable(derive(seed, _BATCHES), victim.device),
        progress_bar(steps, f"one perturbation, ε = {eps:g}", "steps") as bar,
    ):
        for step in range(steps):
            chosen = next(batches)
            inputs = images.inputs(chosen, victim.device)
            classes = images.labels[chosen].to(victim.device)
            if target is not None:
                classes = torch.full_like(classes, target)
            goal = Goal(classes, targeted=target is not None)
            gradient = gradient_of(victim, inputs, perturbation, goal, clip)
            size = step_size * 0.5 * (1 + math.cos(math.pi * step / steps))
            perturbation = project(perturbation + size * steepest(gradient, p), eps, p)
            bar.update()
    return perturbation


def gradient_of(
    victim: Victim, images: Tensor, perturbation: Tensor, goal: Goal, clip: float
) -> Tensor:
    """The direction of the gradient of the images' mean loss with respect to the perturbation;
    (1, C, H, W), of any length.

    The loss of an image is its cross-entropy, which counts up to ``clip``: else images that are
    fooled by far would go on to decide the direction. With a target it is that of the target, which
    falls. Where image and perturbation leave [0, 1] they are cut off, and a gradient that leads on
    outwards counts as none. One that leads back counts: with none, a pixel that is black in every
    image would never return from a first step below 0.

    The gradient of cross-entropy is that of the log-odds (see ``Goal.loss``), weighted by a
    probability that float32 may round to nothing. The weights are therefore over the largest of
    them, which leaves the direction as it is.
    """
    total = images + perturbation
    ignored = torch.zeros((), dtype=torch.int64, device=images.device)

    def height(logits: Tensor) -> Tensor:
        odds = goal.loss(logits, "ce")
        against = torch.nan_to_num(-odds.detach() if goal.targeted else odds.detach())
        weights = (logsigmoid(against) - logsigmoid(against).max()).exp()
        if not goal.targeted:
            weights = weights * (softplus(against) <= clip)
        ignored.add_((weights == 0).sum())
        return weights * odds

    before = victim.gradients
    gradient, _ = victim.gradient_of(total.clamp(0, 1), height)
    victim.forget_zeros(before, int(ignored))
    outwards = ((total < 0) & (gradient < 0)) | ((total > 1) & (gradient > 0))
    return torch.where(outwards, 0.0, gradient).sum(dim=0, keepdim=True)


def random_ones(shape: tuple[int, ...], eps: float, p: float, count: int, seed: int) -> Tensor:
    """Random perturbations of norm eps, (count, C, H, W): random signs for L∞, else directions."""
    random = ImageRandom(derive(seed, _DRAWN), torch.arange(count))
    if p == math.inf:
        return eps * random.signs(shape)
    r = random.normal(shape)
    return eps * r / norm(r, p).view(-1, 1, 1, 1)


def _batches(count: int, size: int, seed: int) -> Iterator[Tensor]:
    """Positions of the images of each step, without end: all in a random order, then anew."""
    generator = torch.Generator().manual_seed(derive(seed, _BATCHES))
    while True:
        yield from torch.randperm(count, generator=generator).split(size)
