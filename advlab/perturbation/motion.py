"""Rotations and translations of images, and the search for one that brings an image to its goal.

A motion is a row (degrees, down, right): the image is turned about its middle, counter-clockwise
for positive degrees, and then moved by so many pixels. Values between pixels are bilinear, and what
comes in from outside is black. Engstrom et al. 2019, arXiv:1712.02779.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from advlab.perturbation.goal import Goal
from advlab.perturbation.randomness import ImageRandom, repeatable
from advlab.perturbation.sweep import Tasks, judge
from advlab.perturbation.victim import Victim
from advlab.progress import progress_bar
from advlab.runs.machine import derive


@dataclass(frozen=True)
class Searched:
    """What a search found for each of N images, on the device of the images.

    Attributes:
        images: the moved images, (N, C, H, W) in [0, 1].
        motions: how they were moved, float64 (N, 3): degrees, and pixels down and right.
        queries: how many images the network was asked about, int64 (N,).
    """

    images: Tensor
    motions: Tensor
    queries: Tensor


Search = Callable[[Victim, Tensor, Goal, ImageRandom], Searched]
"""From the network, images (N, C, H, W), their goals and random numbers to what is found."""


@dataclass(frozen=True)
class Outcome:
    """What a search reached on all T tasks; tensors are on the CPU.

    Attributes:
        searched: the images and motions; a task that was not attacked has its image as it is, and
            no queries.
        logits: the victim's on these images, float32 (T, classes).
        reached: which tasks reached their goal, bool (T,).
        attacked: which tasks had to be attacked, bool (T,).
        seconds: that the search took.
    """

    searched: Searched
    logits: Tensor
    reached: Tensor
    attacked: Tensor
    seconds: float


def moved(images: Tensor, motions: Tensor) -> Tensor:
    """The images (N, C, H, W) after their motions (N, 3); those that do not move, to the bit.

    A pixel takes its value from where the motion came from, in coordinates of pixels around the
    middle of the image, so that an image need not be square.
    """
    height, width = images.shape[2:]
    degrees, down, right = (part.view(-1, 1, 1) for part in motions.double().unbind(1))
    device = motions.device
    y = torch.arange(height, dtype=torch.float64, device=device) - (height - 1) / 2
    x = torch.arange(width, dtype=torch.float64, device=device) - (width - 1) / 2
    y, x = y[None, :, None] - down, x[None, None, :] - right
    sine, cosine = torch.sin(torch.deg2rad(degrees)), torch.cos(torch.deg2rad(degrees))
    source_x, source_y = x * cosine - y * sine, x * sine + y * cosine
    # grid_sample's units, in which the outer edges of the image are at -1 and 1
    places = torch.stack([2 * source_x / width, 2 * source_y / height], dim=3).to(images)
    turned = functional.grid_sample(
        images, places, mode="bilinear", padding_mode="zeros", align_corners=False
    ).clamp(0, 1)
    still = (motions == 0).all(dim=1).to(images.device)
    return torch.where(still.view(-1, 1, 1, 1), images, turned)


def grid(degrees: float, shift: float, angles: int, shifts: int) -> Tensor:
    """Every combination of evenly spaced angles and shifts, float64 (K, 3).

    The image as it is comes first, even where the steps leave it out, and then the others from the
    nearest to the farthest, each coordinate by its limit.

    Args:
        degrees, shift: the limits.
        angles: how many angles, from -degrees to degrees; of one, or within no room, that is 0.
        shifts: how many translations along each side, likewise.
    """
    places = _steps(shift, shifts)
    motions = torch.cartesian_prod(_steps(degrees, angles), places, places)
    limits = torch.tensor([degrees, shift, shift], dtype=torch.float64)
    distance = (motions / limits.where(limits > 0, 1.0)).square().sum(1)
    motions = motions[distance.argsort(stable=True)]
    motions = motions[(motions != 0).any(dim=1)]
    return torch.cat([torch.zeros(1, 3, dtype=torch.float64), motions])


def drawn(random: ImageRandom, degrees: float, shift: float, tries: int) -> Tensor:
    """The image as it is, then ``tries`` motions drawn uniformly within the limits, for each image;
    float64 (N, 1 + tries, 3)."""
    limits = torch.tensor([degrees, shift, shift], dtype=torch.float64)
    motions = (2 * random.uniform((tries, 3)).double() - 1) * limits
    return torch.cat([torch.zeros(len(random), 1, 3, dtype=torch.float64), motions], dim=1)


def search(victim: Victim, images: Tensor, goal: Goal, candidates: Tensor, stop: bool) -> Searched:
    """Try one motion after another on each image, at one query each.

    Args:
        images: (N, C, H, W) in [0, 1].
        candidates: the motions to try, (N, K, 3), or (K, 3) for all images.
        stop: whether an image is done once it reaches its goal. The motion that did it is then the
            one found, else the one with the largest margin loss.
    """
    count = len(images)
    candidates = candidates.to(images.device)
    result, device = images.clone(), images.device
    motions = torch.zeros(count, 3, dtype=torch.float64, device=device)
    queries = torch.zeros(count, dtype=torch.int64, device=device)
    best = torch.full((count,), -torch.inf, dtype=images.dtype, device=device)
    todo = torch.arange(count, device=device)
    for number in range(candidates.shape[-2]):
        motion = candidates[..., number, :].expand(count, 3)[todo]
        candidate = moved(images[todo], motion)
        logits = victim.logits(candidate)
        queries[todo] += 1
        some = goal.select(todo)
        # A success beats all that are none, whatever the loss says of logits that are not finite.
        margin = some.loss(logits, "margin").to(best)
        margin = torch.where(some.reached(logits) & stop, torch.inf, margin)
        better = margin > best[todo]
        chosen = todo[better]
        result[chosen], motions[chosen] = candidate[better], motion[better]
        best[chosen] = margin[better]
        if stop:
            todo = todo[~some.reached(logits)]
        if len(todo) == 0:
            break
    return Searched(result, motions, queries)


def attacked(
    search: Search,
    victim: Victim,
    tasks: Tasks,
    *,
    seed: int,
    batch_size: int,
    surrogate: Victim | None = None,
) -> Outcome:
    """Search for every task that has not reached its goal unperturbed, which is left as it is.

    Args:
        victim: the network that decides whether a goal is reached.
        seed: what everything random is drawn from.
        batch_size: images attacked at a time.
        surrogate: the network that is asked, where it is another one.
    """
    everything, cpu = torch.arange(len(tasks)), torch.device("cpu")
    goal, clean = tasks.goal(everything, cpu), tasks.clean(everything, cpu)
    before = judge(victim, clean)
    source = surrogate or victim
    started = time.perf_counter()
    todo = (~goal.reached(before)).nonzero().squeeze(1)
    images, motions = clean.clone(), torch.zeros(len(tasks), 3, dtype=torch.float64)
    queries = torch.zeros(len(tasks), dtype=torch.int64)
    with progress_bar(len(todo), "motions", "images") as bar:
        for chosen in todo.split(batch_size):
            random = ImageRandom(
                derive(seed, 2), tasks.numbers[chosen] * 1009 + tasks.classes[chosen]
            )
            with repeatable(derive(seed, 42, int(tasks.numbers[chosen[0]])), source.device):
                searched = search(
                    source,
                    tasks.clean(chosen, source.device),
                    tasks.goal(chosen, source.device),
                    random,
                )
            images[chosen], motions[chosen] = searched.images.cpu(), searched.motions.cpu()
            queries[chosen] = searched.queries.cpu()
            bar.update(len(chosen))
    seconds = time.perf_counter() - started
    logits = judge(victim, images, (clean, before))
    attacked = torch.zeros(len(tasks), dtype=torch.bool)
    attacked[todo] = True
    searched = Searched(images, motions, queries)
    return Outcome(searched, logits, goal.reached(logits), attacked, seconds)


def _steps(limit: float, count: int) -> Tensor:
    """Evenly spaced values from -limit to limit, float64, symmetric to the bit; 0 for one."""
    count = count if limit > 0 else 1
    steps = torch.arange(count, dtype=torch.float64)
    return limit * (2 * steps - (count - 1)) / max(1, count - 1)
