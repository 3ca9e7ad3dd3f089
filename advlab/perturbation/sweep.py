"""An attack over a set of images and a list of eps, one pass: what fell at a smaller eps is not attacked again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from tqdm import tqdm

from advlab.datasets._set import Images
from advlab.perturbation.goal import Goal
from advlab.perturbation.randomness import ImageRandom
from advlab.perturbation.victim import Victim
from advlab.runs.machine import derive
from advlab.training.evaluate import EVALUATION_BATCH


class Attack(Protocol):
    """The ``perturb`` of a file in ``advlab/attacks``."""

    def __call__(self, victim: Victim, images: Tensor, goal: Goal, random: ImageRandom, eps: float, options: Any, /) -> Tensor:
        """Images moved by at most eps, of the same shape."""
        ...


@dataclass(frozen=True)
class Tasks:
    """What is attacked: pairs of an image and a goal. An image may occur several times, with several targets.

    Attributes:
        images: the images, all of them.
        index: which image each task is about, int64 (T,).
        classes: the class to leave or to reach, int64 (T,).
        targeted: which of the two.
    """

    images: Images
    index: Tensor
    classes: Tensor
    targeted: bool

    def __len__(self) -> int:
        """How many tasks there are."""
        return self.index.shape[0]

    def goal(self, chosen: Tensor, device: torch.device) -> Goal:
        """The goal of some of the tasks."""
        return Goal(self.classes[chosen].to(device), self.targeted)

    def clean(self, chosen: Tensor, device: torch.device) -> Tensor:
        """The unperturbed images of some of the tasks, float32 in [0, 1]."""
        return self.images.inputs(self.index[chosen], device)


@dataclass(frozen=True)
class Point:
    """What an attack reached at one eps.

    Attributes:
        perturbed: an image per task, float32 (T, C, H, W) on the CPU.
        logits: the victim's logits on them, float32 (T, classes).
        reached: which tasks reached their goal, bool (T,).
        seconds: time spent on this eps.
        attacked: how many images had to be attacked at this eps.
    """

    eps: float
    perturbed: Tensor
    logits: Tensor
    reached: Tensor
    seconds: float
    attacked: int


def judge(victim: Victim, perturbed: Tensor, before: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """Logits of a network on images, on the CPU, always in the same batches, so that a saved file gives the same bits.

    Args:
        before: images and their logits from an earlier call; a batch that is still the same is not judged again.
    """
    logits = []
    for start in range(0, perturbed.shape[0], EVALUATION_BATCH):
        batch = slice(start, start + EVALUATION_BATCH)
        if before is not None and torch.equal(perturbed[batch], before[0][batch]):
            logits.append(before[1][batch])
        else:
            logits.append(victim.logits(perturbed[batch].to(victim.device)).cpu())
    return torch.cat(logits)


def sweep(
    attack: Attack,
    victim: Victim,
    tasks: Tasks,
    options: Any,
    *,
    surrogate: Victim | None = None,
    stored: Callable[[float], tuple[Tensor, float] | None] = lambda eps: None,
) -> Iterator[Point]:
    """Run ``attack`` at every eps of ``options.eps``, smallest first, and yield what it reached.

    An image that reached its goal at a smaller eps keeps the perturbation that did it, which lies in every larger ball
    too; so robust accuracy cannot rise with eps. At eps 0 nothing is changed, and an image that the network has wrong
    by itself is left as it is.

    Args:
        victim: the network that decides whether a goal is reached.
        surrogate: the network that the images are made on, where it is another one; the victim then only judges.
        stored: the perturbed images and seconds of an eps that an interrupted run finished, or None.
    """
    everything, cpu = torch.arange(len(tasks)), torch.device("cpu")
    goal = tasks.goal(everything, cpu)
    perturbed = tasks.clean(everything, cpu)
    logits = judge(victim, perturbed)
    source = surrogate or victim
    for eps in sorted(set(options.eps)):
        started = time.perf_counter()
        todo = (~goal.reached(logits)).nonzero().squeeze(1) if eps > 0 else everything[:0]
        before = perturbed, logits
        earlier = stored(eps)
        if earlier is not None:
            perturbed = earlier[0]
        elif len(todo):
            perturbed = perturbed.clone()
            with tqdm(total=len(todo), desc=f"eps {eps:g}", unit=" images", leave=False, disable=None) as bar:
                for chosen in todo.split(options.batch_size):
                    random = ImageRandom(derive(options.seed, 2), tasks.index[chosen] * 1009 + tasks.classes[chosen])
                    images, wanted = tasks.clean(chosen, source.device), tasks.goal(chosen, source.device)
                    perturbed[chosen] = attack(source, images, wanted, random, eps, options).cpu()
                    bar.update(len(chosen))
        seconds = time.perf_counter() - started if earlier is None else earlier[1]
        logits = judge(victim, perturbed, before)
        yield Point(eps, perturbed, logits, goal.reached(logits), seconds, len(todo))
