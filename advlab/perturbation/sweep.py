"""Attacks over a set of images and a list of radii."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from advlab.config.radii import eps_text
from advlab.data.image_set import Images
from advlab.perturbation.geometry import P, random_point
from advlab.perturbation.goal import Goal
from advlab.perturbation.randomness import ImageRandom, repeatable
from advlab.perturbation.victim import GradientCount, Victim
from advlab.progress import progress_bar
from advlab.runs.machine import derive

EACH_EPS = "each eps"
SMALLEST_EPS = "the smallest eps that breaks"
"""What the images of one eps among several were made at; ``metrics.json`` says it under
``images_made_at``."""


_JUDGING = 41  # the seed of what a random network draws when images are judged


class Attack(Protocol):
    """The ``perturb`` of a file in ``advlab/attacks``."""

    def __call__(
        self,
        victim: Victim,
        images: Tensor,
        goal: Goal,
        random: ImageRandom,
        eps: float,
        options: Any,
        /,
    ) -> Tensor:
        """Images of the same shape, moved by at most eps."""
        ...


@dataclass(frozen=True)
class Tasks:
    """What is attacked: pairs of an image and a goal. One image may have several goals.

    Attributes:
        images: the images, all of them.
        index: which image each task is about, int64 (T,).
        classes: the class to leave or to reach, int64 (T,).
        targeted: which of the two.
        first: the number that the first of the images has in its data set. What an attack draws for
            an image depends on that number, so that it is the same whether the image is attacked
            alone or among all of them.
    """

    images: Images
    index: Tensor
    classes: Tensor
    targeted: bool
    first: int = 0

    @property
    def numbers(self) -> Tensor:
        """The number in the data set of each task's image, int64 (T,)."""
        return self.index + self.first

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
        perturbed: an image per task, float32 (T, C, H, W) on the CPU; with ``keep_broken`` possibly
            one of a smaller eps.
        logits: the victim's logits on them, float32 (T, classes).
        reached: which tasks reached their goal, bool (T,).
        seconds: time spent on this eps; where several processes shared it, the sum of theirs.
        attacked: how many images had to be attacked at this eps.
        unusable_gradients: how often an image had no gradient, or one with NaN or infinity.
        gradients: all gradients that the attack asked for.
    """

    eps: float
    perturbed: Tensor
    logits: Tensor
    reached: Tensor
    seconds: float
    attacked: int
    unusable_gradients: int = 0
    gradients: GradientCount = field(default_factory=GradientCount)


@dataclass(frozen=True)
class StoredPoint:
    """What an interrupted run finished at one eps; its fields are those of ``Point``."""

    perturbed: Tensor
    seconds: float
    unusable_gradients: int
    gradients: GradientCount = field(default_factory=GradientCount)


@dataclass(frozen=True)
class AttackedBatch:
    """What an attack made of one batch of tasks.

    Attributes:
        perturbed: an image per task, float32 (B, C, H, W) on the CPU.
        gradients: those that it asked for.
        seconds: that it took.
    """

    perturbed: Tensor
    gradients: GradientCount
    seconds: float


class Batches(Protocol):
    """Whatever attacks several batches of tasks, in this process or in others."""

    def __call__(
        self, eps: float, batches: Sequence[Tensor], /
    ) -> Iterator[tuple[int, AttackedBatch]]:
        """Attack batches of tasks, int64 (B,) each, at an eps; place and outcome of each, in any
        order."""
        ...


def judge(victim: Victim, perturbed: Tensor, before: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """Logits on images, on the CPU, in fixed batches, which give the same bits each time.

    A random network draws the same numbers for the same batch each time.

    Args:
        before: images and their logits from an earlier call; a batch that is still the same is not
            judged again.
    """
    logits = []
    for start in range(0, perturbed.shape[0], victim.judged_together):
        batch = slice(start, start + victim.judged_together)
        if before is not None and torch.equal(perturbed[batch], before[0][batch]):
            logits.append(before[1][batch])
        else:
            with repeatable(derive(_JUDGING, start), victim.device):
                logits.append(victim.logits(perturbed[batch].to(victim.device)).cpu())
    return torch.cat(logits)


def attack_batch(
    attack: Attack, source: Victim, tasks: Tasks, chosen: Tensor, eps: float, options: Any
) -> AttackedBatch:
    """Attack one batch of tasks.

    What comes of it depends on nothing but these tasks, in this order: not on the batches before
    it, nor on the process.

    Args:
        source: the network that the images are made on.
        chosen: which tasks, int64 (B,), at least one.
    """
    started, before = time.perf_counter(), source.gradients
    perturbed = _attacked(attack, source, tasks, chosen, eps, options)
    return AttackedBatch(perturbed, source.gradients - before, time.perf_counter() - started)


def _attacked(
    attack: Attack, source: Victim, tasks: Tasks, chosen: Tensor, eps: float, options: Any
) -> Tensor:
    """The images of some tasks after the attack, on the CPU.

    One that asks for fp32, as those do which look for the decision boundary, gets gradients in the
    network's own arithmetic, whatever the other attacks of its suite get.

    An attack that goes on for more confidence may lose an image that it had fooled. Such an image
    is attacked again without, so that confidence never costs a success.
    """

    def run(some: Tensor, confidence: float) -> Tensor:
        random = ImageRandom(
            derive(options.seed, 2), tasks.numbers[some] * 1009 + tasks.classes[some]
        )
        goal = replace(tasks.goal(some, source.device), confidence=confidence)
        clean = tasks.clean(some, source.device)
        drawn = derive(options.seed, 42, int(tasks.numbers[some[0]]))
        own_arithmetic = getattr(options, "precision", "auto") == "fp32"
        with (
            repeatable(drawn, source.device),
            source.exactly() if own_arithmetic else nullcontext(),
            source.averaging(getattr(options, "eot", 1)),
            source.smoothed(getattr(options, "smoothing", 0), _nearby(options, eps)),
        ):
            return attack(source, clean, goal, random, eps, options)

    confidence = getattr(options, "confidence", None) or 0.0
    perturbed = run(chosen, confidence)
    if confidence > 0:
        goal = tasks.goal(chosen, source.device)
        lost = (~goal.reached(source.logits(perturbed))).nonzero().squeeze(1).cpu()
        if len(lost):
            perturbed[lost.to(perturbed.device)] = run(chosen[lost], 0.0)
    return perturbed.cpu()


def _nearby(options: Any, eps: float) -> Callable[[Tensor], Tensor]:
    """What draws a random point of the ball around each image, not clipped to the box."""

    def near(images: Tensor) -> Tensor:
        seed = int(torch.randint(2**62, ()))
        random = ImageRandom(seed, torch.arange(len(images)))
        return images + random_point(random, images, eps, P[options.norm])

    return near


def sweep(
    attack: Attack,
    victim: Victim,
    tasks: Tasks,
    options: Any,
    *,
    surrogate: Victim | None = None,
    stored: Callable[[float], StoredPoint | None] = lambda eps: None,
    elsewhere: Batches | None = None,
    name: str = "",
) -> Iterator[Point]:
    """Run ``attack`` at each eps of ``options.eps``, smallest first, and yield the results.

    Each eps is an attack of its own on the unperturbed images, and gives the same bits as if it
    were the only one. A larger eps may then reach fewer goals than a smaller one: a single step can
    go too far.

    With ``options.keep_broken`` an image that reached its goal at a smaller eps keeps the
    perturbation that did it, which lies in every larger ball too, and is not attacked again. Goals
    reached at eps are then those reached within eps, which cannot become fewer, and sizes are those
    of the smallest eps that reaches each goal.

    At eps 0 nothing is changed, and an image that has reached its goal unperturbed is left as it
    is.

    Args:
        victim: the network that decides whether a goal is reached.
        surrogate: the network that the images are made on, where it is another one; the victim then
            only judges.
        stored: what an interrupted run finished at an eps, or None.
        elsewhere: attacks the batches, by the same attack on the same network, in other processes;
            they are attacked in this one where it is None.
        name: what progress calls the attack, where it is one of several.
    """

    def in_turn(eps: float, batches: Sequence[Tensor]) -> Iterator[tuple[int, AttackedBatch]]:
        for place, chosen in enumerate(batches):
            yield place, attack_batch(attack, source, tasks, chosen, eps, options)

    attacked = elsewhere or in_turn
    everything, cpu = torch.arange(len(tasks)), torch.device("cpu")
    goal = tasks.goal(everything, cpu)
    # Attacks go on until the goal is reached with confidence; figures count it as reached without.
    confident = replace(goal, confidence=getattr(options, "confidence", None) or 0.0)
    clean = tasks.clean(everything, cpu)
    # What an attack starts from: images and the victim's logits on them.
    before = clean, judge(victim, clean)
    source = surrogate or victim
    for eps in sorted(set(options.eps)):
        seconds, gradients = 0.0, GradientCount()
        todo = (~confident.reached(before[1])).nonzero().squeeze(1) if eps > 0 else everything[:0]
        perturbed = before[0]
        earlier = stored(eps)
        if earlier is not None:
            perturbed, seconds = earlier.perturbed, earlier.seconds
            gradients = earlier.gradients
        elif len(todo):
            perturbed, batches = perturbed.clone(), todo.split(options.batch_size)
            what = f"{name}, ε = {eps_text(eps)}" if name else f"ε = {eps_text(eps)}"
            with progress_bar(len(todo), what, "images") as bar:
                for place, batch in attacked(eps, batches):
                    perturbed[batches[place]] = batch.perturbed
                    seconds += batch.seconds
                    gradients += batch.gradients
                    bar.update(len(batches[place]))
        unusable = gradients.unusable if earlier is None else earlier.unusable_gradients
        logits = judge(victim, perturbed, before)
        if options.keep_broken:
            before = perturbed, logits
        reached = goal.reached(logits)
        yield Point(eps, perturbed, logits, reached, seconds, len(todo), unusable, gradients)
