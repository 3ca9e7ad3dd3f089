"""Attacks that transform an image in no Lp ball: what they find, and the search among candidates.

A transformation has parameters, such as degrees and pixels of a motion, and 0 for each of them
leaves the image as it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from advlab.perturbation.goal import Goal
from advlab.perturbation.randomness import ImageRandom, repeatable
from advlab.perturbation.sweep import Tasks, judge
from advlab.perturbation.victim import GradientCount, Victim
from advlab.progress import progress_bar
from advlab.runs.machine import derive


@dataclass(frozen=True)
class Searched:
    """What a search found for each of N images, on the device of the images.

    Attributes:
        images: the transformed images, (N, C, H, W) in [0, 1].
        parameters: how they were transformed, float64 (N, ...).
        queries: how many images the network was asked about, int64 (N,); a gradient counts as one.
    """

    images: Tensor
    parameters: Tensor
    queries: Tensor


Search = Callable[[Victim, Tensor, Goal, ImageRandom], Searched]
"""From the network, images (N, C, H, W), their goals and random numbers to what is found."""

Transform = Callable[[Tensor, Tensor], Tensor]
"""From images (N, C, H, W) and parameters (N, P) to the transformed images."""


@dataclass(frozen=True)
class Outcome:
    """What a search reached on all T tasks; tensors are on the CPU.

    Attributes:
        searched: the images and parameters; a task that was not attacked has its image as it is,
            and no queries.
        logits: the victim's on these images, float32 (T, classes).
        reached: which tasks reached their goal, bool (T,).
        attacked: which tasks had to be attacked, bool (T,).
        seconds: that the search took.
        gradients: those that the search asked for.
    """

    searched: Searched
    logits: Tensor
    reached: Tensor
    attacked: Tensor
    seconds: float
    gradients: GradientCount

    @property
    def withstood(self) -> int:
        """How many of the attacked tasks did not reach their goal."""
        return int((self.attacked & ~self.reached).sum())


def search(
    victim: Victim,
    images: Tensor,
    goal: Goal,
    candidates: Tensor,
    transform: Transform,
    stop: bool,
) -> Searched:
    """Try one transformation after another on each image, at one query each.

    Args:
        images: (N, C, H, W) in [0, 1].
        candidates: the parameters to try, float64 (N, K, P), or (K, P) for all images.
        transform: applies them.
        stop: whether an image is done once it reaches its goal. The candidate that did it is then
            the one found, else the one with the largest margin loss.
    """
    count, size = len(images), candidates.shape[-1]
    candidates = candidates.to(images.device)
    result, device = images.clone(), images.device
    parameters = torch.zeros(count, size, dtype=torch.float64, device=device)
    queries = torch.zeros(count, dtype=torch.int64, device=device)
    best = torch.full((count,), -torch.inf, dtype=images.dtype, device=device)
    todo = torch.arange(count, device=device)
    for number in range(candidates.shape[-2]):
        tried = candidates[..., number, :].expand(count, size)[todo]
        candidate = transform(images[todo], tried)
        logits = victim.logits(candidate)
        queries[todo] += 1
        some = goal.select(todo)
        # A success beats all that are none, whatever the loss says of logits that are not finite.
        margin = some.loss(logits, "margin").to(best)
        margin = torch.where(some.reached(logits) & stop, torch.inf, margin)
        better = margin > best[todo]
        chosen = todo[better]
        result[chosen], parameters[chosen] = candidate[better], tried[better]
        best[chosen] = margin[better]
        if stop:
            todo = todo[~some.reached(logits)]
        if len(todo) == 0:
            break
    return Searched(result, parameters, queries)


def attacked(
    search: Search,
    victim: Victim,
    tasks: Tasks,
    *,
    unchanged: Tensor,
    seed: int,
    batch_size: int,
    surrogate: Victim | None = None,
) -> Outcome:
    """Search for every task that has not reached its goal unperturbed, which is left as it is.

    Args:
        victim: the network that decides whether a goal is reached.
        unchanged: the parameters that leave an image as it is, of one image.
        seed: what everything random is drawn from.
        batch_size: images attacked at a time.
        surrogate: the network that is asked, where it is another one.
    """
    everything, cpu = torch.arange(len(tasks)), torch.device("cpu")
    goal, clean = tasks.goal(everything, cpu), tasks.clean(everything, cpu)
    before = judge(victim, clean)
    source = surrogate or victim
    started, gradients = time.perf_counter(), source.gradients
    todo = (~goal.reached(before)).nonzero().squeeze(1)
    images, parameters = clean.clone(), unchanged.expand(len(tasks), *unchanged.shape).clone()
    queries = torch.zeros(len(tasks), dtype=torch.int64)
    with progress_bar(len(todo), "attack", "images") as bar:
        for chosen in todo.split(batch_size) if len(todo) else ():
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
            images[chosen] = searched.images.cpu()
            parameters[chosen] = searched.parameters.to(cpu, parameters.dtype)
            queries[chosen] = searched.queries.cpu()
            bar.update(len(chosen))
    seconds = time.perf_counter() - started
    logits = judge(victim, images, (clean, before))
    attacked = torch.zeros(len(tasks), dtype=torch.bool)
    attacked[todo] = True
    return Outcome(
        Searched(images, parameters, queries),
        logits,
        goal.reached(logits),
        attacked,
        seconds,
        source.gradients - gradients,
    )
