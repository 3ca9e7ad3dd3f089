"""Verified accuracy on validation images after every epoch; it chooses the epoch that is kept."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from advlab.data.image_set import Images
from advlab.networks.intervals import Box, worst_logits
from advlab.runs.machine import Machine
from advlab.training.objective import Watch

_BATCH = 250


class VerifiedWatch(Watch):
    """The fraction of some validation images that interval bounds verify, after every epoch."""

    selects = "val_verified_accuracy"

    def __init__(self, images: Images, count: int, eps: float, machine: Machine) -> None:
        """Look at the first ``count`` of the images, within L∞ distance ``eps``."""
        self.images = images.select(torch.arange(min(count, len(images))))
        self.eps, self.machine = eps, machine

    @torch.no_grad()
    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        """The verified accuracy, in the network's own arithmetic."""
        right = 0
        for start in range(0, len(self.images), _BATCH):
            batch = slice(start, start + _BATCH)
            x = self.images.inputs(batch, self.machine.device)
            labels = self.images.labels[batch].to(self.machine.device)
            _, worst = worst_logits(model, Box.around(x, self.eps), labels)
            others = worst.scatter(1, labels[:, None], -torch.inf)
            right += int((others < 0).all(1).sum())
        return {"val_verified_accuracy": right / len(self.images)}
