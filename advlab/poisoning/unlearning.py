"""Losses of anti-backdoor learning, and the isolation of suspected images.

Li et al. 2021, arXiv:2110.11571.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from advlab.data.image_set import Images
from advlab.training.objective import Objective

THRESHOLD = 0.5
"""Loss in nats below which an image is not learned any further (γ of the paper)."""


class LocalAscent(Objective):
    """The mean of ``sign(l - γ) * l`` over a batch, l being the cross-entropy of an image: where it
    is below γ it rises. Images with a trigger are learned so fast that they fall below all the
    same."""

    def __init__(self, threshold: float = THRESHOLD) -> None:
        """With this γ, in nats; labels are not smoothed."""
        super().__init__()
        self.threshold = threshold

    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """That mean."""
        losses = functional.cross_entropy(logits, labels, reduction="none")
        return ((losses.detach() - self.threshold).sign() * losses).mean()


class GlobalAscent(Objective):
    """The mean cross-entropy of a batch, less that of as many isolated images, which are drawn
    anew for every batch."""

    def __init__(self, isolated: Images, label_smoothing: float) -> None:
        """With these isolated images; the labels of the others are smoothed."""
        super().__init__(label_smoothing)
        self.isolated = isolated

    def __call__(
        self, model: nn.Module, inputs: Tensor, labels: Tensor, done: float
    ) -> tuple[Tensor, Tensor]:
        """The difference, and the logits of the batch.

        Both go through the network together, so that batch normalisation never sees a batch of
        isolated images alone.
        """
        rows = torch.randperm(len(self.isolated))[: len(labels)]
        suspected = self.isolated.inputs(rows, inputs.device)
        logits = model(torch.cat((inputs, suspected))).float()
        own, others = logits[: len(labels)], logits[len(labels) :]
        wrong = functional.cross_entropy(others, self.isolated.labels[rows].to(inputs.device))
        return self.cross_entropy(own, labels) - wrong, own


def isolated_rows(logits: Tensor, labels: Tensor, fraction: float) -> tuple[Tensor, Tensor]:
    """The numbers of the images of smallest cross-entropy, and those of all others, each ascending.

    Args:
        logits: (N, classes).
        fraction: of the images, at least one and not all of them. Of equal losses the first are
            taken.
    """
    losses = functional.cross_entropy(logits.double(), labels, reduction="none")
    count = min(max(1, round(fraction * len(labels))), len(labels) - 1)
    order = losses.argsort(stable=True)
    return order[:count].sort().values, order[count:].sort().values
