"""What an attack wants of each image: away from its label, or towards a class; when it is reached; the loss that leads there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from advlab.metrics.classification import is_correct

Loss = Literal["ce", "margin"]


@dataclass(frozen=True)
class Goal:
    """A class for each image of a batch (int64, shape (N,)), to be left (untargeted) or reached (targeted)."""

    classes: Tensor
    targeted: bool = False

    def select(self, index: Tensor) -> Goal:
        """The goals of the images at ``index``."""
        return Goal(self.classes[index], self.targeted)

    def reached(self, logits: Tensor) -> Tensor:
        """Which images got there; bool (N,). A tie counts against the network when fleeing, against the attack when seeking."""
        won = is_correct(logits, self.classes)
        return won if self.targeted else ~won

    def loss(self, logits: Tensor, kind: Loss) -> Tensor:
        """What the attack climbs, per image (N,), the larger the nearer to the goal.

        ``ce`` is the cross-entropy of the class (its negative when targeted); ``margin`` is how far the best other
        logit stands above the class's (Carlini and Wagner, arXiv:1608.04644), or the class's above the best other.

        The cross-entropy is taken in float64: for a network that is sure of itself float32 rounds the probability to
        1 and the gradient to nothing, which looks like robustness.
        """
        if kind == "ce":
            wide = logits if logits.device.type == "mps" else logits.double()
            value = functional.cross_entropy(wide, self.classes, reduction="none")
            return -value if self.targeted else value
        own = logits.gather(1, self.classes[:, None]).squeeze(1)
        others = logits.scatter(1, self.classes[:, None], -torch.inf).amax(dim=1)
        return own - others if self.targeted else others - own
