"""An attack that knows the detector: PGD on the network and on the detector's score together.

Selective PGD, Bryniarski et al. 2022, arXiv:2106.15023.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from advlab.evaluation.detection import Detector, precise
from advlab.perturbation.ascent import projected_step
from advlab.perturbation.geometry import P, norm, random_point
from advlab.perturbation.goal import Goal
from advlab.perturbation.randomness import ImageRandom

_MOMENTUM = 0.75  # decay of the accumulated directions


@dataclass(frozen=True)
class Evasion:
    """What the attack does to a batch of images.

    Attributes:
        eps: radius of the ball, in pixel units.
        norm: ``linf``, ``l2`` or ``l1``.
        steps: of each start.
        restarts: random starts.
    """

    eps: float
    norm: str
    steps: int
    restarts: int

    def perturbed(
        self, detector: Detector, images: Tensor, labels: Tensor, random: ImageRandom
    ) -> Tensor:
        """For each image the misclassified one with the lowest score that was seen in the ball.

        An image that is classified correctly is moved towards misclassification, and one that is
        misclassified towards a lower score. In every second start the former is moved towards a
        lower score as well, at equal weight. Steps shrink from ε to zero along half a cosine.
        Gradients are scaled to length 1, so that no weight between margin and score must be found,
        and accumulated, so that the steps do not turn back wherever an image crosses the boundary.

        Args:
            images: (N, C, H, W) in [0, 1], on the detector's device.
            labels: int64 (N,).

        Returns:
            Images (N, C, H, W) in [0, 1]; the image itself where no misclassified one was seen.
        """
        p, goal = P[self.norm], Goal(labels)
        best, lowest = images.clone(), precise(images.new_full((len(images),), torch.inf))
        for start in range(self.restarts):
            current = (images + random_point(random, images, self.eps, p)).clamp(0, 1)
            velocity = torch.zeros_like(images)
            for number in range(self.steps + 1):
                direction, broken, scores = _direction(detector, current, goal, start % 2 == 1)
                better = broken & (scores < lowest)
                best[better], lowest[better] = current[better], scores[better]
                if number < self.steps:
                    size = self.eps * (1 + math.cos(math.pi * number / self.steps)) / 2
                    velocity = _MOMENTUM * velocity + direction
                    current = projected_step(images, current, velocity, size, self.eps, p)
        return best


def _direction(
    detector: Detector, images: Tensor, goal: Goal, both: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Where to move the images; which of them are misclassified, and their scores.

    Args:
        both: whether an image that is classified correctly is moved towards a lower score too.
    """
    inputs = images.detach().requires_grad_(True)
    with torch.enable_grad():
        logits, scores = detector(inputs)
        margin = goal.loss(logits, "margin").sum()
        up, suspicion = _slope(margin, inputs), _slope(scores.sum(), inputs)
    broken = goal.reached(logits.detach())
    correct = ~broken.view(-1, 1, 1, 1)
    direction = correct * _unit(up) - (~correct | both) * _unit(suspicion)
    return direction, broken, scores.detach()


def _slope(value: Tensor, inputs: Tensor) -> Tensor:
    """The gradient of a number; zero where it was not computed from the images by differentiable
    steps."""
    if not value.requires_grad:
        return torch.zeros_like(inputs)
    (slope,) = torch.autograd.grad(value, inputs, retain_graph=True, allow_unused=True)
    return torch.zeros_like(inputs) if slope is None else slope


def _unit(gradient: Tensor) -> Tensor:
    """The gradient of each image scaled to L2 norm 1; zero where it is zero or not finite."""
    usable = torch.where(gradient.isfinite(), gradient, 0.0)
    largest = usable.flatten(1).abs().amax(1).clamp_min(torch.finfo(usable.dtype).tiny)
    scaled = usable / largest.view(-1, 1, 1, 1)  # squares of a tiny gradient underflow
    return scaled / norm(scaled, 2.0).clamp_min(torch.finfo(usable.dtype).tiny).view(-1, 1, 1, 1)
