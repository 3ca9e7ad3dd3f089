"""Gradients that depend less on the one network that they are taken on.

Perturbations that are made on one network and tested on another transfer better where each step
follows an average instead of the gradient at the image. Each of these averages can be had alone or
with the others:

- input diversity, DI (Xie et al. 2019, arXiv:1803.06978);
- translation invariance, TI (Dong et al. 2019, arXiv:1904.02884);
- Nesterov's look-ahead, NI, and scale invariance, SI (Lin et al. 2020, arXiv:1908.06281);
- variance tuning, VMI (Wang and He 2021, arXiv:2103.15571).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from advlab.perturbation.goal import Goal
from advlab.perturbation.randomness import ImageRandom
from advlab.perturbation.victim import Victim

_SMALLEST = 0.9  # of its side, what input diversity shrinks an image to
_NEIGHBOURHOOD = 1.5  # of eps, how far off the neighbours of variance tuning lie (the paper's beta)
_LEAST_WEIGHT = 1e-20


@dataclass(frozen=True)
class Averages:
    """What each gradient is averaged over; by default it is the one at the image.

    Attributes:
        diversity: probability that a pass sees the image resized and padded, from 0 to 1.
        kernel: side of the Gaussian kernel that smooths the gradient, odd; 1 for none.
        copies: images x, x / 2, x / 4, … whose gradients are averaged; 1 for x alone.
        neighbours: random points whose average gradient corrects the next step; 0 for none.
    """

    diversity: float = 0.0
    kernel: int = 1
    copies: int = 1
    neighbours: int = 0

    @property
    def adds_gradients(self) -> bool:
        """Whether gradients at different points are added, so that their lengths matter."""
        return self.copies > 1 or self.neighbours > 0


class TransferGradient:
    """The direction of each step for a batch of images; called as ``ascent.Direction``.

    It carries the variance of one step to the next, hence serves one ascent.
    """

    def __init__(
        self,
        victim: Victim,
        images: Tensor,
        goal: Goal,
        loss: Literal["ce", "margin"],
        random: ImageRandom,
        averages: Averages,
        *,
        eps: float,
        steps: int,
        needs_logits: bool,
    ) -> None:
        """Directions for an ascent of ``steps`` steps from ``images``, (N, C, H, W), within the L∞
        radius ``eps``.

        Args:
            needs_logits: whether the logits that it returns must be those at the image itself. They
                then take a pass of their own where every gradient is taken elsewhere.
        """
        self._victim, self._goal, self._random = victim, goal, random
        self._loss: Literal["ce", "margin"] = loss
        self._averages, self._eps, self._steps = averages, eps, steps
        self._needs_logits = needs_logits
        self._shape = tuple(images.shape[1:])
        self._variance = torch.zeros_like(images)
        self._kernel = gaussian_kernel(averages.kernel).to(images)

    def __call__(
        self, images: Tensor, index: Tensor, number: int, ahead: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The direction at step ``number`` for the images at ``index``, and logits.

        Args:
            ahead: how far from each image the gradient is taken; at the image where not given.
        """
        point = images if ahead is None else images + ahead
        gradient, logits = self._over_copies(point, index)
        direction = gradient
        if self._averages.neighbours:
            direction = gradient + self._variance[index]
            if number < self._steps - 1:  # the last step has no next one
                self._variance[index] = self._around(point, index) - gradient
        if self._needs_logits and (ahead is not None or self._averages.diversity > 0):
            logits = self._at(images)
        return smoothed(direction, self._kernel), logits

    def _around(self, point: Tensor, index: Tensor) -> Tensor:
        """The average gradient at random points of the cube around ``point``."""
        reach = _NEIGHBOURHOOD * self._eps
        total = torch.zeros_like(point)
        for _ in range(self._averages.neighbours):
            noise = (2 * self._drawn(self._shape, index) - 1).to(point)
            total += self._over_copies(point + reach * noise, index)[0]
        return total / self._averages.neighbours

    def _over_copies(self, point: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """The average gradient with respect to ``point`` over its darker copies, and the logits of
        the first, which is ``point``."""
        total, logits = self._one_pass(point, index)
        for power in range(1, self._averages.copies):
            scale = 0.5**power
            total = total + scale * self._one_pass(scale * point, index)[0]
        return total / self._averages.copies, logits

    def _one_pass(self, seen: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """The gradient of the loss with respect to ``seen``, resized and padded by chance."""
        goal = self._goal.select(index)
        if self._averages.diversity > 0:
            drawn = self._drawn((4,), index).to(seen)
            chosen = (drawn[:, 0] < self._averages.diversity).view(-1, 1, 1, 1)
            _, size, down, right = drawn.unbind(dim=1)
            rows, columns = resizing(seen.shape[2], seen.shape[3], size, down, right)
            small = torch.where(chosen, rows @ seen @ columns.mT, seen)
            gradient, logits = self._victim.gradient(small, goal, self._loss)
            # The gradient with respect to what was resized, by the transposed linear map.
            gradient = torch.where(chosen, rows.mT @ gradient @ columns, gradient)
        else:
            gradient, logits = self._victim.gradient(seen, goal, self._loss)
        if self._loss == "ce" and self._averages.adds_gradients:
            gradient = gradient * slope(goal, logits.to(gradient.dtype)).view(-1, 1, 1, 1)
        return gradient, logits

    def _drawn(self, shape: tuple[int, ...], index: Tensor) -> Tensor:
        """Uniform numbers for the images at ``index``; all draw, so that each keeps its own."""
        return self._random.uniform(shape)[index.cpu()]

    def _at(self, images: Tensor) -> Tensor:
        """Logits at the images, averaged as a gradient's are."""
        passes = [self._victim.estimate(images) for _ in range(self._victim.samples)]
        return torch.stack(passes).mean(dim=0)


def slope(goal: Goal, logits: Tensor) -> Tensor:
    """The derivative of the cross-entropy with respect to the log-odds that attacks climb, (N,).

    The direction of the two is the same, but not their length, which matters where gradients at
    several points are added: the cross-entropy's is the probability that is still wrong (of all
    other classes, if that of the label is to be lowered: 1 - p). It is kept above a tiny value, so
    that networks that are sure of themselves still have a direction.
    """
    height = goal.loss(logits, "ce")
    weight = torch.sigmoid(-height if goal.targeted else height)
    return weight.nan_to_num(nan=1.0).clamp_min(_LEAST_WEIGHT)


def gaussian_kernel(side: int) -> Tensor:
    """Weights along one axis, float64 (side,), of sum 1; the kernel is their product with
    themselves.

    Its standard deviation is a third of its radius, as in the code of the paper's authors
    (arXiv:1904.02884).
    """
    place = torch.linspace(-3, 3, side, dtype=torch.float64) if side > 1 else torch.zeros(1)
    weights = torch.exp(-(place.double() ** 2) / 2)
    return weights / weights.sum()


def smoothed(gradient: Tensor, weights: Tensor) -> Tensor:
    """Every channel of ``gradient`` (N, C, H, W) convolved with the kernel of these weights, as if
    zero beyond its edges."""
    side = len(weights)
    if side == 1:
        return gradient
    planes = gradient.flatten(0, 1)[:, None]
    planes = conv2d(planes, weights.view(1, 1, side, 1), padding=(side // 2, 0))
    planes = conv2d(planes, weights.view(1, 1, 1, side), padding=(0, side // 2))
    return planes.view_as(gradient)


def resizing(
    height: int, width: int, size: Tensor, down: Tensor, right: Tensor
) -> tuple[Tensor, Tensor]:
    """Linear maps that shrink images bilinearly and put them somewhere on black, at the old size.

    The paper (arXiv:1803.06978) enlarges instead, to sizes between 299 and 330; here the network
    gets images of the size that it takes, and the ratio of the sizes is the same.

    Args:
        size, down, right: uniform numbers in [0, 1), (N,), for the size, from nine tenths of the
            side to one pixel less than all of it, and for the place.

    Returns:
        Matrices (N, 1, height, height) and (N, 1, width, width); ``rows @ images @ columns.mT``.
    """
    return (
        _resizing_along(height, size, down)[:, None],
        _resizing_along(width, size, right)[:, None],
    )


def _resizing_along(side: int, size: Tensor, place: Tensor) -> Tensor:
    """The matrices (N, side, side) along one axis: from old pixels to new ones."""
    least = max(1, int(_SMALLEST * side))
    new = least + (size * max(1, side - least)).floor()
    first = (place * (side - new + 1)).floor()
    pixel = torch.arange(side, dtype=size.dtype, device=size.device)
    at = pixel[None] - first[:, None]
    inside = (at >= 0) & (at < new[:, None])
    # Where the middle of each new pixel lies among the old ones; weights are linear in between.
    source = ((at + 0.5) * (side / new)[:, None] - 0.5).clamp(0, side - 1)
    weights = (1 - (source[:, :, None] - pixel).abs()).clamp_min(0)
    return torch.where(inside[:, :, None], weights, 0.0)
