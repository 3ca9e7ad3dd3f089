"""The iteration loop of gradient attacks.

Images leave the loop as soon as they reach their goal, so that the work goes where it is still
needed. The fast gradient's logits only nominate; what leaves is confirmed in the network's own
arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from advlab.perturbation import geometry
from advlab.perturbation.goal import Goal, Loss


class GradientSource(Protocol):
    """A source of gradients: a frozen target model, or a network in training."""

    def logits(self, images: Tensor, /) -> Tensor:
        """Logits (N, classes) in the network's own arithmetic."""
        ...

    def gradient(self, images: Tensor, goal: Goal, loss: Loss, /) -> tuple[Tensor, Tensor]:
        """The gradient of the goal's loss with respect to the images, and the logits that it was
        taken at."""
        ...


# From images, gradient of the loss and logits at them, their positions in the batch and the number
# of the step: the next images.
Step = Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]
# From images, their positions in the batch and the number of the step: the direction to climb in,
# and logits at the images.
Direction = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]
# What an image becomes when it leaves (rounding to bytes, or nothing), given the positions in the
# batch it belongs to.
Finish = Callable[[Tensor, Tensor], Tensor]

# Which of an image's points an ascent returns; see ``ascend``.
Kept = Literal["first success", "last success", "last"]

# Smaller batches are cheaper in arithmetic, but each new batch size makes the convolutions plan
# anew.
_SHRINK_BELOW = 0.8


def projected_step(
    clean: Tensor,
    current: Tensor,
    gradient: Tensor,
    size: float | Tensor,
    eps: float,
    p: float,
    sparsity: float = 0.02,
) -> Tensor:
    """One steepest step of length ``size``, projected onto the ball and the box."""
    usable = gradient if p == math.inf else geometry.useful(gradient, current)
    moved = geometry.steepest(usable, p, sparsity).mul_(size).add_(current)
    return into(clean, moved, eps, p)


def into(clean: Tensor, moved: Tensor, eps: float, p: float) -> Tensor:
    """``moved`` projected onto the ball around ``clean``, then clipped to the box."""
    # In place, since a photo of twelve megapixels takes 144 MB each time.
    return geometry.project(moved - clean, eps, p).add_(clean).clamp_(0, 1)


def rows(batch: Tensor, index: Tensor) -> Tensor:
    """Some images of a batch, by ascending positions; the batch itself where these are all."""
    return batch if len(index) == len(batch) else batch[index]


def replaced(batch: Tensor, index: Tensor, images: Tensor) -> Tensor:
    """The batch with some of its images replaced, by ascending positions; ``images`` itself where
    these are all. Neither is changed."""
    return images if len(index) == len(batch) else batch.index_copy(0, index, images)


def annealed(first: float, last: float, done: float) -> float:
    """The value at the share ``done`` of the way from first to last along half a cosine."""
    return last + (first - last) * (1 + math.cos(math.pi * done)) / 2


def images_to_keep(options: Any) -> Kept:
    """What an attack with these options keeps.

    Images that are made on one network for another take all steps, since those that barely fool the
    one do not fool the other.
    """
    if options.surrogate is not None:
        return "last"
    return "last success" if options.eot > 1 else "first success"


def ascend(
    victim: GradientSource,
    start: Tensor,
    goal: Goal,
    loss: Loss,
    steps: int,
    step: Step,
    finish: Finish,
    *,
    keep: Kept,
    direction: Direction | None = None,
) -> Tensor:
    """Run ``steps`` steps of gradient ascent from ``start``.

    Args:
        start: images (N, C, H, W) in the ball and the box.
        step: called as ``step(images, gradient, logits, index, number)``, where ``index`` holds the
            positions in the batch that are still at work; returns their next images.
        finish: called as ``finish(images, index)`` on what would leave; the goal must be reached
            after it.
        keep: with ``first success`` an image is done once it reaches its goal. With ``last
            success`` it takes all steps: a random network may be fooled once by chance, and images
            further along fool it more often. With ``last`` it does so whatever it reaches.
        direction: called as ``direction(images, index, number)`` in the place of the victim's own
            gradient at the images, where the step follows another one.

    Returns:
        An image for each one started with, finished: the point that ``keep`` names, and the last
        where none reached the goal.
    """
    result = torch.empty_like(start)  # every image is written once
    images, index = start, torch.arange(len(start), device=start.device)
    del start  # of a large photo each copy counts
    succeeded = torch.zeros_like(index, dtype=torch.bool)
    waiting = torch.ones_like(index, dtype=torch.bool)  # among ``index``: not yet at the goal
    for number in range(steps):
        if direction is None:
            gradient, logits = victim.gradient(images, goal.select(index), loss)
        else:
            gradient, logits = direction(images, index, number)
        if keep == "first success":
            _let_go(
                victim,
                images,
                goal.select(index).reached(logits),
                waiting,
                index,
                goal,
                finish,
                result,
            )
            remaining = int(waiting.sum())
            if remaining == 0:
                return result
            if remaining < _SHRINK_BELOW * len(index):
                images, gradient, logits, index = (
                    images[waiting],
                    gradient[waiting],
                    logits[waiting],
                    index[waiting],
                )
                waiting = torch.ones_like(index, dtype=torch.bool)
        elif keep == "last success":
            reached = goal.reached(logits)
            result[reached], succeeded = images[reached], succeeded | reached
        images = step(images, gradient, logits, index, number)
    if keep == "last success":
        images = torch.where(succeeded.view(-1, 1, 1, 1), result, images)
    if waiting.all():
        result[index] = finish(images, index)
    else:
        result[index[waiting]] = finish(images[waiting], index[waiting])
    return result


def _let_go(
    victim: GradientSource,
    images: Tensor,
    nominated: Tensor,
    waiting: Tensor,
    index: Tensor,
    goal: Goal,
    finish: Finish,
    result: Tensor,
) -> None:
    """Move nominated images that reach their goal from ``waiting`` to ``result``."""
    chosen = (nominated & waiting).nonzero().squeeze(1)
    if len(chosen) == 0:
        return
    final = finish(images[chosen], index[chosen])
    reached = goal.select(index[chosen]).reached(victim.logits(final))
    result[index[chosen[reached]]] = final[reached]
    waiting[chosen[reached]] = False
