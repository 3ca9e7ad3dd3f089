"""What attacks share that see only the predicted class: counted queries, starting points, and the
decision boundary between an image and a point at its goal."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from advlab.perturbation.geometry import norm
from advlab.perturbation.goal import Goal
from advlab.perturbation.randomness import ImageRandom
from advlab.perturbation.victim import Victim

_STARTS = 100  # patterns tried until one is at the goal
_AT_ONCE = 4096  # images in a forward pass


class Decisions:
    """The target model as the attack sees it: whether an image reaches its goal.

    Attributes:
        remaining: how many more queries each image has; int64 (N,). For an image without any, the
            answer is no.
    """

    def __init__(self, victim: Victim, goal: Goal, remaining: Tensor) -> None:
        self._victim, self._goal, self.remaining = victim, goal, remaining

    def __call__(self, x: Tensor, index: Tensor) -> Tensor:
        """Whether x (M, C, H, W) reach the goals of the images at ``index``, bool (M,).

        Each image costs one query.
        """
        answers = torch.zeros_like(index, dtype=torch.bool)
        may = (self.remaining[index] > 0).nonzero().squeeze(1)
        for part in (
            may.split(_AT_ONCE) if len(may) else ()
        ):  # not every network takes a batch of none
            answers[part] = self._goal.select(index[part]).reached(self._victim.logits(x[part]))
            self.remaining.index_add_(0, index[part], -torch.ones_like(part))
        return answers


def starting_points(
    ask: Decisions, images: Tensor, index: Tensor, random: ImageRandom
) -> tuple[Tensor, Tensor]:
    """A starting point at the goal for each image, and for which images (M,) one was found.

    Uniform noise first, as in the paper. That is of one class, as a rule, so then black and white
    cells of 1, 2, 4, ... pixels, of any density, blended with the image by a quarter or half in
    turns.
    """
    x, started = images.clone(), torch.zeros_like(index, dtype=torch.bool)
    channels, height, width = images.shape[1:]
    sizes = max(height, width).bit_length()
    for trial in range(_STARTS):
        missing = (~started).nonzero().squeeze(1)
        cell, fraction = 1 << trial % sizes, 1 - trial // sizes % 3 / 4
        rows, columns = -(-height // cell), -(-width // cell)
        drawn = random.select(missing).uniform((channels * rows * columns + 1,)).to(images)
        random.uniform(
            (1,)
        )  # all go on together, started or not: the draws of one may not hang on another's luck
        cells = (drawn[:, :-1] if trial == 0 else (drawn[:, :-1] < drawn[:, -1:]).to(images)).view(
            -1, channels, rows, columns
        )
        noise = cells.repeat_interleave(cell, 2).repeat_interleave(cell, 3)[:, :, :height, :width]
        blended = images[missing] + fraction * (noise - images[missing])
        reached = ask(blended, index[missing])
        x[missing[reached]], started[missing[reached]] = blended[reached], True
    return x, started.nonzero().squeeze(1)


def towards(images: Tensor, x: Tensor, radius: Tensor, p: float) -> Tensor:
    """``x`` within ``radius`` (N,) of the images: on the line to them in L2, clipped in L∞."""
    r = x - images
    if p == math.inf:
        limit = radius.view(-1, 1, 1, 1)
        return (images + r.clamp(-limit, limit)).clamp(0, 1)
    fraction = (radius / norm(r, p).clamp_min(1e-30)).clamp_max(1)
    return (images + fraction.view(-1, 1, 1, 1) * r).clamp(0, 1)


def to_boundary(
    ask: Decisions, images: Tensor, x: Tensor, index: Tensor, eps: float, p: float, halvings: int
) -> Tensor:
    """The point on the way from the image to x that is nearest to the image and still at the goal.

    Points within eps were queried before.
    """
    high = norm(x - images, p)
    low = high.clamp_max(eps)
    for _ in range(halvings):
        middle = (low + high) / 2
        reached = ask(towards(images, x, middle, p), index)
        low, high = low.where(reached, middle), middle.where(reached, high)
    return towards(images, x, high, p)
