"""What attacks for the smallest perturbation share: the nearest success of each image, and the
function whose zero is the decision boundary."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from advlab.perturbation.geometry import P, norm, round_to_bytes
from advlab.perturbation.goal import Goal
from advlab.perturbation.victim import Victim

_USUAL_TARGETS = 9
# The values of C&W and EAD, for every network and data set.
_FIRST_WEIGHT = 1e-3
_WEIGHT_GROWTH = 10.0  # until the first success
_CLEAR = 16  # units of the last place of the logits by which a success must lead


class NearestOptions(Protocol):
    """The options that the search for the nearest success reads."""

    @property
    def norm(self) -> str:
        """The norm that is to be small: ``linf``, ``l2`` or ``l1``."""
        ...

    @property
    def quantize(self) -> bool:
        """Whether a success must consist of grey levels k / 255."""
        ...


class Nearest:
    """The nearest success of each image so far.

    Attributes:
        images: the unperturbed images, (N, C, H, W) in [0, 1].
        logits: the network's logits on them, (N, classes).
        points: the nearest success of each, shaped as the images; the image where there is none.
        distance: its distance, (N,): 0 for an image that reaches its goal as it is, infinity where
            there is no success.
    """

    def __init__(
        self,
        victim: Victim,
        images: Tensor,
        goal: Goal,
        eps: float,
        options: NearestOptions,
        margin: float = 0.0,
    ) -> None:
        """Begin with the images themselves.

        Args:
            victim: the network that decides what a success is, always in its own arithmetic.
            images: (N, C, H, W) in [0, 1].
            goal: the goals of the images.
            eps: radius of the ball that ``within_eps`` and rounding to grey levels respect.
            options: those of the attack.
            margin: by how much the logit of the goal's class must exceed the others, or untargeted
                that of another class the logit of the class to leave.
        """
        self.images, self.goal = images, goal
        self._victim, self._eps, self._margin = victim, eps, margin
        self._p, self._quantize = P[options.norm], options.quantize
        self.logits = victim.logits(images)
        self.points = images.clone()
        start = self.succeeds(self.logits, torch.arange(len(images), device=images.device))
        self.distance = torch.where(start, 0.0, torch.inf).to(images.dtype)

    def succeeds(self, logits: Tensor, index: Tensor) -> Tensor:
        """Whether the images at ``index`` (M,) with these logits are at their goal, by more than
        rounding; bool (M,).

        The last bits of logits change with the size of the batch and the layout of the memory, so
        that an image on the boundary itself would be broken in one batch and not in another.
        """
        goal = self.goal.select(index)
        short = goal.loss(logits, "margin") < self.resolution(logits).clamp_min(self._margin)
        return goal.reached(logits) & ~short

    def resolution(self, logits: Tensor) -> Tensor:
        """The smallest lead of a logit that is certainly no rounding, (M,)."""
        return _CLEAR * torch.finfo(self._victim.dtype).eps * logits.abs().amax(dim=1)

    def to_attack(self) -> Tensor:
        """The positions of the images that do not reach their goal as they are."""
        return (self.distance > 0).nonzero().squeeze(1)

    def offer(self, x: Tensor, index: Tensor, *, confirmed: bool = False) -> None:
        """Keep those of ``x`` (M, C, H, W) that are successes and nearer than those before.

        Args:
            x: in [0, 1]; candidates for the images at ``index``.
            index: positions of images, (M,).
            confirmed: whether the network is known to take all of x for successes. Otherwise it is
                asked about those that are nearer: the logits of a gradient may come from faster
                arithmetic, and only nominate.
        """
        clean = self.images[index]
        if self._quantize:
            x = round_to_bytes(x, clean, self._eps, self._p)
        distance = norm(x - clean, self._p)
        nearer = (distance < self.distance[index]).nonzero().squeeze(1)
        if len(nearer) and (self._quantize or not confirmed):
            logits = self._victim.logits(x[nearer])
            nearer = nearer[self.succeeds(logits, index[nearer])]
        self.points[index[nearer]] = x[nearer]
        self.distance[index[nearer]] = distance[nearer]

    def within_eps(self) -> Tensor:
        """The nearest successes that lie within eps; elsewhere the images themselves."""
        return torch.where((self.distance <= self._eps).view(-1, 1, 1, 1), self.points, self.images)


def search_weight(
    nearest: Nearest, descend: Callable[[Tensor, Tensor], Tensor], steps: int
) -> Tensor:
    """The nearest successes within eps after ``steps`` descents, each with another weight of the
    margin for each image.

    The weight grows tenfold until the goal is reached, and is then halved towards the smallest one
    that reaches it.

    Args:
        nearest: where the descents leave their successes.
        descend: from the positions of the images to attack, (M,), and their weights, (M,),
            to which of them reached their goal, bool (M,).
    """
    index = nearest.to_attack()
    if len(index) == 0:
        return nearest.within_eps()
    weight = torch.full_like(nearest.distance[index], _FIRST_WEIGHT)
    low, high = torch.zeros_like(weight), torch.full_like(weight, torch.inf)
    for _ in range(steps):
        reached = descend(index, weight)
        high, low = torch.where(reached, weight, high), torch.where(reached, low, weight)
        weight = torch.where(high.isinf(), _WEIGHT_GROWTH * weight, (low + high) / 2)
    return nearest.within_eps()


def targets_of(goal: Goal, logits: Tensor, count: int | None) -> Tensor:
    """The classes that lie on the other side of the boundary, (N, R), the likeliest first.

    Args:
        goal: a targeted goal has its own class only, R = 1.
        logits: on the unperturbed images, (N, classes).
        count: how many classes an untargeted goal has at most; 9 where not given.
    """
    if goal.targeted:
        return goal.classes[:, None]
    others = logits.scatter(1, goal.classes[:, None], -torch.inf).argsort(
        dim=1, descending=True, stable=True
    )
    return others[:, : min(count or _USUAL_TARGETS, logits.shape[1] - 1)]


def nearest_boundary(
    victim: Victim, x: Tensor, goal: Goal, targets: Tensor, dual: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The nearest of the linearised decision boundaries to other classes.

    Where the lead of another class, linearised at x, is zero, there is a hyperplane. Its distance
    is the lead over the dual norm of the slope.

    Args:
        x: (M, C, H, W), with the goals of these images.
        targets: the other classes, (M, R); each costs a gradient.
        dual: the exponent of the dual of the norm that distances are measured in.

    Returns:
        The slope (M, C, H, W) and the value (M,) at x of the lead of the class whose boundary is
        nearest, and its distance (M,), infinite where every slope is zero.
    """
    nearest: Tensor | None = None
    for target in targets.T:
        height = partial(lead, goal=goal, target=target)
        slope, logits = victim.gradient_of(x, height)
        value, steepness = height(logits), norm(slope, dual)
        distance = torch.where(steepness > 0, value.abs() / steepness, torch.inf)
        if nearest is None:
            nearest, slopes, values = distance, slope, value
            continue
        nearer = distance < nearest
        nearest = torch.where(nearer, distance, nearest)
        slopes = torch.where(nearer.view(-1, 1, 1, 1), slope, slopes)
        values = torch.where(nearer, value, values)
    assert nearest is not None  # a network tells two classes apart at least
    return slopes, values, nearest


def lead(logits: Tensor, goal: Goal, target: Tensor) -> Tensor:
    """By how much the logit of the other class exceeds that of the class to leave, (N,).

    For a target it is the target's log-odds, against all other classes at once: from the best of
    them alone, which changes from step to step, the search goes back and forth between two planes
    short of where both are crossed.
    """
    if goal.targeted:
        return goal.loss(logits, "ce")
    return (logits.gather(1, target[:, None]) - logits.gather(1, goal.classes[:, None])).squeeze(1)
