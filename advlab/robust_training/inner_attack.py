"""The attack within a step of adversarial training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from advlab.config.options.run import PgdTrainingOptions
from advlab.perturbation.ascent import ascend, projected_step
from advlab.perturbation.geometry import P, random_point
from advlab.perturbation.goal import Goal, Loss
from advlab.perturbation.randomness import ImageRandom
from advlab.perturbation.victim import Victim
from advlab.runs.machine import Machine
from advlab.training import distributed
from advlab.training.fit import set_training_mode


def grown(eps: float, warmup: float, done: float) -> float:
    """The current radius, which grows linearly to eps over the fraction ``warmup`` of all steps.

    With a large ball from the start, a network that knows nothing yet learns that all classes are
    one.
    """
    return eps * min(1.0, done / warmup) if warmup else eps


def from_global(images: Tensor) -> ImageRandom:
    """Random numbers for a batch, seeded from torch's global generator, which every epoch seeds.

    Those of an image are the same however many processes share the batch.
    """
    seed = distributed.common(int(torch.randint(2**62, ())))
    return ImageRandom(seed, distributed.positions(len(images)))


def victim_of(model: nn.Module, machine: Machine) -> Victim:
    """A frozen copy of a network in training, in evaluation mode.

    So batch statistics and dropout take no part in the making of the images, and the images none in
    the statistics; and the copy, with its normalisations folded, is faster than the network by more
    than the copying costs.
    """
    model.eval()
    victim = Victim(model, machine)
    set_training_mode(model)
    return victim


def climb(
    victim: Victim,
    start: Tensor,
    clean: Tensor,
    goal: Goal,
    norm: str,
    eps: float,
    steps: int,
    step_size: float,
    loss: Loss = "ce",
) -> Tensor:
    """PGD with constant steps from ``start``, within eps of ``clean``."""
    p = P[norm]

    def step(
        current: Tensor, gradient: Tensor, logits: Tensor, index: Tensor, number: int
    ) -> Tensor:
        return projected_step(clean, current, gradient, step_size, eps, p)

    return ascend(victim, start, goal, loss, steps, step, lambda images, index: images, keep="last")


def pgd_images(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    options: PgdTrainingOptions,
    done: float,
    machine: Machine,
) -> Tensor:
    """The images (N, C, H, W) that PGD finds from a random start, where the cross-entropy is large.

    Radius and steps grow over the warm-up; the default step size is 2.5 · eps / steps.

    Args:
        inputs: clean images (N, C, H, W) in [0, 1].
        labels: (N,).
        done: fraction of all training steps that is done.
    """
    eps = grown(options.eps, options.warmup, done)
    size = (options.step_size or 2.5 * options.eps / options.steps) * eps / options.eps
    start = somewhere(inputs, options.norm, eps)
    victim, goal = victim_of(model, machine), Goal(labels)
    return climb(victim, start, inputs, goal, options.norm, eps, options.steps, size)


def somewhere(images: Tensor, norm: str, eps: float) -> Tensor:
    """A random point of the ball around each image, clipped to [0, 1]."""
    return (images + random_point(from_global(images), images, eps, P[norm])).clamp(0, 1)
