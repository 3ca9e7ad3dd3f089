"""What attacks share that see only the predicted class: counted queries, starting points, and the
decision boundary between an image and a point at its goal."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from advlab.perturbation.geometry import norm, project, round_to_bytes
from advlab.perturbation.goal import Goal
from advlab.perturbation.randomness import ImageRandom
from advlab.perturbation.victim import Victim

_STARTS = 100  # patterns tried until one is at the goal
_AT_ONCE = 4096  # images in a forward pass
# Numbers drawn for an image at a time, whatever the batch, or its draws would hang on the others.
_DRAWN = 1 << 14
_FIRST_HALVINGS = 10  # of the way from an image to its starting point
_BEYOND = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4)  # how far a point moves out before it is rounded


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
        if len(missing) == 0:
            random.skip(_STARTS - trial)
            break
        cell, fraction = 1 << trial % sizes, 1 - trial // sizes % 3 / 4
        rows, columns = -(-height // cell), -(-width // cell)
        drawn = random.select(missing).uniform((channels * rows * columns + 1,)).to(images)
        # All go on together, started or not: the draws of one may not hang on another's luck.
        random.skip(1)
        cells = (drawn[:, :-1] if trial == 0 else (drawn[:, :-1] < drawn[:, -1:]).to(images)).view(
            -1, channels, rows, columns
        )
        noise = cells.repeat_interleave(cell, 2).repeat_interleave(cell, 3)[:, :, :height, :width]
        blended = images[missing] + fraction * (noise - images[missing])
        reached = ask(blended, index[missing])
        x[missing[reached]], started[missing[reached]] = blended[reached], True
    return x, started.nonzero().squeeze(1)


def towards(images: Tensor, x: Tensor, radius: Tensor, p: float) -> Tensor:
    """``x`` within ``radius`` (N,) of the images: on the line to them in L2, clipped in L∞, with
    the largest changes alone in L0."""
    r = x - images
    if p == 0:
        return (images + project(r, radius, p)).clamp(0, 1)
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


def weighed_directions(
    ask: Decisions,
    x: Tensor,
    index: Tensor,
    draw: Callable[[int], Tensor],
    radius: Tensor,
    votes: Tensor,
) -> Tensor:
    """A direction into the goal's region from x (N, C, H, W) at its boundary, not normalised.

    It is the sum of random directions, each weighted by the answer there.

    Args:
        draw: so many random directions for each image, (N, K, C, H, W).
        radius: how far from x to ask, L2, (N,).
        votes: how many to ask, int64 (N,).
    """
    most = int(votes.max())
    size, group = radius.clamp_min(1e-30).view(-1, 1, 1, 1, 1), max(1, _DRAWN // x[0].numel())
    weighed, plain, votes_sum = torch.zeros_like(x), torch.zeros_like(x), torch.zeros_like(radius)
    for first in range(0, most, group):
        some = min(group, most - first)
        drawn = draw(some).to(x)
        unit = drawn / torch.linalg.vector_norm(drawn, dim=(2, 3, 4), keepdim=True)
        moved = (x[:, None] + size * unit).clamp(0, 1)
        arrow = (moved - x[:, None]) / size  # what the box has left of it
        counts = first + torch.arange(some, device=x.device) < votes[:, None]
        vote = torch.zeros(counts.shape, dtype=x.dtype, device=x.device)
        vote[counts] = 2 * ask(moved[counts], index[:, None].expand_as(counts)[counts]).to(x) - 1
        weighed += torch.einsum("nk,nkchw->nchw", vote, arrow)
        plain += torch.einsum("nk,nkchw->nchw", counts.to(x), arrow)
        votes_sum += vote.sum(1)
    # Taking the mean answer off lowers the variance; where all answers are one there would be
    # nothing left.
    mean = (votes_sum / votes).view(-1, 1, 1, 1)
    return torch.where(mean.abs() == 1, weighed, weighed - mean * plain)


class NearestByDecisions:
    """The nearest point at its goal of each image, as far as counted decisions tell.

    Attributes:
        ask: the target model; every answer costs a query.
        index: the images for which there is a starting point, (M,).
        points: the nearest point at its goal of each of them, (M, C, H, W).
        distance: how far it is from the image, (M,).
        random: the source of random numbers of these images.
    """

    def __init__(
        self,
        victim: Victim,
        images: Tensor,
        goal: Goal,
        random: ImageRandom,
        p: float,
        queries: int,
        quantize: bool,
    ) -> None:
        """Begin at the boundary between each image and its starting point.

        Args:
            p: exponent of the norm of distances.
            queries: how many each image has, also for the start and for rounding.
            quantize: whether ``within`` rounds to grey levels, for which some queries are kept.
        """
        self._images, self._p, self._quantize = images, p, quantize
        self._spared = min(len(_BEYOND), max(queries - 1, 0)) if quantize else 0
        budget = torch.full((len(images),), queries - self._spared, device=images.device)
        self.ask = Decisions(victim, goal, budget)
        todo = (~self.ask(images, torch.arange(len(images), device=images.device))).nonzero()
        todo = todo.squeeze(1)
        random = random.select(todo)
        x, started = starting_points(self.ask, images[todo], todo, random)
        self.index, self.random, x = todo[started], random.select(started), x[started]
        self.points = to_boundary(self.ask, self.clean, x, self.index, 0.0, p, _FIRST_HALVINGS)
        self.distance = norm(self.points - self.clean, p)

    @property
    def clean(self) -> Tensor:
        """The unperturbed images, (M, C, H, W)."""
        return self._images[self.index]

    def offer(self, x: Tensor, place: Tensor) -> Tensor:
        """Keep those of ``x`` (K, C, H, W) that are nearer than the points at ``place`` (K,).

        All of them are known to be at their goal.

        Returns:
            Which are nearer, bool (K,).
        """
        distance = norm(x - self.clean[place], self._p)
        nearer = distance < self.distance[place]
        self.points[place[nearer]] = x[nearer]
        self.distance[place[nearer]] = distance[nearer]
        return nearer

    def within(self, eps: float) -> Tensor:
        """The points that lie within eps; elsewhere the images, (N, C, H, W).

        With ``quantize`` they are moved out, a little at first, until the rounded point is at its
        goal.
        """
        result = self._images.clone()
        near = (self.distance <= eps).nonzero().squeeze(1)
        if not self._quantize:
            result[self.index[near]] = self.points[near]
            return result
        self.ask.remaining[self.index] += self._spared
        for beyond in _BEYOND:
            clean = self.clean[near]
            moved = (clean + (1 + beyond) * (self.points[near] - clean)).clamp(0, 1)
            rounded = round_to_bytes(moved, clean, eps, self._p)
            reached = self.ask(rounded, self.index[near])
            result[self.index[near[reached]]] = rounded[reached]
            near = near[~reached]
        return result
