"""Ascent along gradients that are estimated from differences of the loss.

The network answers with logits at pairs of points around an image, and a query is one image that
it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from advlab.perturbation.geometry import round_to_bytes
from advlab.perturbation.goal import Goal, Loss
from advlab.perturbation.randomness import ImageRandom

if TYPE_CHECKING:
    from advlab.perturbation.victim import Victim

# From images (N, C, H, W), their goals, their source of random numbers and a number of pairs: the
# estimated gradient of the loss, shaped as the images.
Estimate = Callable[[Tensor, Goal, ImageRandom, int], Tensor]
# From images, the estimated gradient, their positions in the batch and the number of the step: the
# next images.
Step = Callable[[Tensor, Tensor, Tensor, int], Tensor]


class EstimateOptions(Protocol):
    """The options that every attack along estimated gradients has."""

    @property
    def queries(self) -> int:
        """The most queries for an image."""
        ...

    @property
    def samples(self) -> int:
        """Pairs of queries for an estimate."""
        ...

    @property
    def quantize(self) -> bool:
        """Whether images must consist of grey levels k / 255."""
        ...

    @property
    def surrogate(self) -> str | None:
        """The network that images are made on, where it is another one: none is done early."""
        ...


_AT_ONCE = 4096  # images in a forward pass
# Numbers drawn for an image at a time. It does not depend on the batch, or the numbers of one image
# would depend on the others.
_DRAWN = 1 << 14


def groups(pairs: int, pixels: int) -> list[int]:
    """How many of the pairs are drawn at a time."""
    group = max(1, _DRAWN // pixels)
    return [min(group, pairs - first) for first in range(0, pairs, group)]


def differences(victim: Victim, goal: Goal, loss: Loss, plus: Tensor, minus: Tensor) -> Tensor:
    """The loss at ``plus`` less that at ``minus``, (N, K), at two queries each.

    The differences are small, so the network answers in its own arithmetic.

    Args:
        plus, minus: K points for each of the N goals, (N, K, C, H, W) in [0, 1].
    """
    count, some = plus.shape[:2]
    owner = torch.arange(count, device=plus.device).repeat_interleave(some)
    points = torch.stack([plus.flatten(0, 1), minus.flatten(0, 1)])
    losses = [
        goal.select(owner[part]).loss(victim.logits(points[side, part]), loss)
        for side in (0, 1)
        for part in torch.arange(len(owner), device=plus.device).split(_AT_ONCE)
    ]
    above, below = torch.cat(losses).view(2, count, some)
    return torch.nan_to_num(above - below)


def ascend(
    victim: Victim,
    images: Tensor,
    goal: Goal,
    random: ImageRandom,
    eps: float,
    p: float,
    options: EstimateOptions,
    estimate: Estimate,
    step: Step,
) -> Tensor:
    """Steps along estimated gradients from the images, at most ``queries`` queries for each.

    A query looks at each image, the first one included. The rest go in pairs into the estimates;
    the last estimate takes what is left.

    An image is done once it reaches its goal, unless it is made on a surrogate.

    Args:
        eps, p: radius of the ball and exponent of its norm, which rounding to grey levels respects.

    Returns:
        An image for each one started with: the first that reached the goal, else the last.
    """
    stop = options.surrogate is None
    result, current = images.clone(), images
    todo, remaining, number = torch.arange(len(images), device=images.device), options.queries, 0
    while True:
        final = round_to_bytes(current, images[todo], eps, p) if options.quantize else current
        result[todo] = final
        if stop:
            reached = goal.select(todo).reached(victim.logits(final))
            remaining -= 1
            on = (~reached).nonzero().squeeze(1)
            todo, current, random = todo[on], current[on], random.select(on)
        some = min(options.samples, (remaining - stop) // 2)
        if len(todo) == 0 or some < 1:
            return result
        gradient = estimate(current, goal.select(todo), random, some)
        remaining -= 2 * some
        current = step(current, gradient, todo, number)
        number += 1
