"""The running average of a network's weights."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def average(averaged: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Update the running average of the weights; its decay is smaller in the first steps.

    Args:
        averaged: a copy of ``model``; changed in place.
        step: how many steps were taken before this one.
    """
    weight = 1 - min(decay, (1 + step) / (10 + step))
    for mean, new in zip(averaged.state_dict().values(), model.state_dict().values(), strict=True):
        if mean.dtype.is_floating_point:
            mean.lerp_(new, weight)
        else:
            mean.copy_(new)
