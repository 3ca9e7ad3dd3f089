"""Accuracy under FGSM and PGD, by which a defence is compared with the undefended network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from advlab.components import load_component
from advlab.config.options.run import AttackOptions
from advlab.data.image_set import Images
from advlab.metrics.classification import is_correct
from advlab.perturbation.goal import Goal, Loss
from advlab.perturbation.sweep import Tasks, judge, sweep
from advlab.perturbation.victim import Victim
from advlab.runs.machine import Machine

PGD = "PGD"
ATTACKS = {"FGSM": "fgsm", PGD: "pgd"}


@dataclass(frozen=True)
class Answers:
    """A network's logits on the same images in one situation (clean, under FGSM, ...), float32 (N,
    classes)."""

    situation: str
    logits: Tensor

    def accuracy(self, labels: Tensor) -> float:
        """The share answered rightly."""
        return int(self.correct(labels).sum()) / len(labels)

    def correct(self, labels: Tensor) -> Tensor:
        """Which images are classified correctly, bool (N,)."""
        return is_correct(self.logits, labels)


def strongest(answers: Sequence[Answers], labels: Tensor) -> Answers:
    """The network under the attack that leaves least of it."""
    attacked = [one for one in answers if one.situation != "clean"]
    return min(attacked, key=lambda one: one.accuracy(labels))


def clean(victim: Victim, images: Images) -> Answers:
    """The network on the images as they are."""
    return Answers("clean", judge(victim, images.inputs(slice(None), "cpu")))


def attacked(
    victim: Victim,
    images: Images,
    norm: str,
    eps: float,
    seed: int,
    *,
    surrogate: Victim | None = None,
    suffix: str = "",
) -> list[Answers]:
    """The network under FGSM and under PGD, each with the defaults of ``advlab attack``.

    Args:
        surrogate: the network that the images are made on, where it is another one.
        suffix: added to the situations' names.
    """
    return [
        attacked_by(situation, victim, images, norm, eps, seed, surrogate=surrogate, suffix=suffix)
        for situation in ATTACKS
    ]


def attacked_by(
    situation: str,
    victim: Victim,
    images: Images,
    norm: str,
    eps: float,
    seed: int,
    *,
    surrogate: Victim | None = None,
    suffix: str = "",
) -> Answers:
    """The network under one of ``ATTACKS``; see ``attacked``."""
    module = load_component("advlab.attacks", ATTACKS[situation], "attack")
    options: AttackOptions = module.Options(
        norm=norm, eps=[eps], seed=seed, surrogate="another" if surrogate else None
    )
    tasks = Tasks(images, torch.arange(len(images)), images.labels, targeted=False)
    (point,) = sweep(module.perturb, victim, tasks, options, surrogate=surrogate)
    return Answers(situation + suffix, point.logits)


NAIVE = ",\nnaive loss"


class NaiveVictim(Victim):
    """A network whose gradients are those of the cross-entropy as most programs compute it.

    Where the network is sure of the class, the softmax is 1 in float32 and the gradient zero; see
    ``Goal.loss`` for the loss that other attacks climb.
    """

    def gradient(self, images: Tensor, goal: Goal, loss: Loss) -> tuple[Tensor, Tensor]:
        """As that of ``Victim``, of the cross-entropy of ``goal.classes`` whatever ``loss`` is."""
        return self.gradient_of(
            images, lambda logits: functional.cross_entropy(logits, goal.classes, reduction="none")
        )


def attacked_naively(
    network: nn.Module, images: Images, norm: str, eps: float, seed: int, machine: Machine
) -> list[Answers]:
    """The network under FGSM and PGD that follow the plain cross-entropy, in float32."""
    victim = NaiveVictim(network, Machine(machine.device, "fp32"))
    return attacked(victim, images, norm, eps, seed, suffix=NAIVE)
