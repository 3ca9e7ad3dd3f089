"""Goals of attacks: untargeted or a target class, when they are reached, and their losses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from advlab.metrics.classification import is_correct

Loss = Literal["ce", "margin", "dlr"]


@dataclass(frozen=True)
class Goal:
    """The goals of a batch: for each image a class (int64, (N,)) to leave or, targeted, to reach.

    Attributes:
        others: the one other class that the losses look at, for each image; the strongest of all
            others where not given. It does not change when the goal is reached.
        confidence: the probability that the class to reach must have, or that some other class
            than the one to leave must have; 0 for being the most likely one.
    """

    classes: Tensor
    targeted: bool = False
    others: Tensor | None = None
    confidence: float = 0.0

    def select(self, index: Tensor) -> Goal:
        """The goals of the images at ``index``."""
        others = None if self.others is None else self.others[index]
        return replace(self, classes=self.classes[index], others=others)

    def reached(self, logits: Tensor) -> Tensor:
        """Which images reached their goal; bool (N,).

        A tie counts against the network in an untargeted attack, and against the attack in a
        targeted one.
        """
        won = is_correct(logits, self.classes)
        reached = won if self.targeted else ~won
        if self.confidence > 0:
            own = logits.softmax(dim=1).gather(1, self.classes[:, None]).squeeze(1)
            others = logits.softmax(dim=1).scatter(1, self.classes[:, None], 0.0).amax(dim=1)
            reached &= (own if self.targeted else others) >= self.confidence
        return reached

    def loss(self, logits: Tensor, kind: Loss) -> Tensor:
        """The loss that attacks increase, per image (N,), larger when nearer to the goal.

        ``ce`` climbs the cross-entropy of the class by its log-odds u, the log of the other
        classes' probability over the class's: cross-entropy is log(1 + exp(u)), so the direction is
        the same (and descends it when targeted). The cross-entropy's own gradient carries a factor
        that a network sure of itself rounds to nothing, in float32 from a margin of about 17
        between the logits on, which looks like robustness; u's does not.

        ``margin`` is how far the best other logit stands above the class's (Carlini and Wagner,
        arXiv:1608.04644), or the class's above the best other.

        ``dlr`` is the margin over the distance from the largest logit to the third, so that it does
        not change when all logits are scaled (Croce and Hein, arXiv:2003.01690). With ``others`` or
        a target, the distance is from the largest to the mean of the third and fourth. It needs
        three classes, or four.
        """
        own = logits.gather(1, self.classes[:, None]).squeeze(1)
        others = logits.scatter(1, self.classes[:, None], -torch.inf)
        if self.others is not None:
            other = logits.gather(1, self.others[:, None]).squeeze(1)
        else:
            other = others.logsumexp(dim=1) if kind == "ce" else others.amax(dim=1)
        margin = own - other if self.targeted else other - own
        return margin / self._spread(logits) if kind == "dlr" else margin

    def _spread(self, logits: Tensor) -> Tensor:
        """The largest logit minus the third, or minus the mean of third and fourth."""
        top = logits.topk(3 if self.others is None and not self.targeted else 4, dim=1).values
        return (top[:, 0] - top[:, 2:].mean(dim=1)).clamp_min(1e-12)
