"""Several networks as one: the mean of their probabilities (Lakshminarayanan, Pritzel and Blundell
2017, arXiv:1612.01474)."""

from __future__ import annotations

from collections.abc import Iterable
from math import log

import torch
from torch import Tensor, nn


def log_mean_probability(logits: Iterable[Tensor]) -> Tensor:
    """The logarithm of the mean of several networks' probabilities.

    It is taken from logarithms throughout, so that probabilities too small for the dtype still
    have gradients.

    Args:
        logits: of each network, (N, classes).

    Returns:
        (N, classes). Their softmax is the mean itself, so that they serve as logits.
    """
    each = torch.stack([one.log_softmax(dim=1) for one in logits])
    return each.logsumexp(dim=0) - log(len(each))


class Ensemble(nn.Module):
    """The mean of the probabilities of networks that take the same images: images (N, C, H, W) in
    [0, 1] to its logarithm, (N, classes)."""

    def __init__(self, networks: Iterable[nn.Module]) -> None:
        """Of networks from images in [0, 1] to logits, each with its own preprocessing."""
        super().__init__()
        self.members = nn.ModuleList(networks)

    def forward(self, images: Tensor) -> Tensor:
        """The logarithm of the mean probability of each class."""
        return log_mean_probability(member(images) for member in self.members)
