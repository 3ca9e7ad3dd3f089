"""Verified accuracy in L∞ by interval bounds (Gowal et al. 2018, arXiv:1810.12715)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from advlab.data.image_set import Images
from advlab.networks.intervals import Box, worst_logits
from advlab.runs.machine import Machine

_BATCH = 100  # images in one pass


@torch.no_grad()
def verified(network: nn.Module, images: Images, eps: float, machine: Machine) -> Tensor:
    """For which images no image within L∞ distance ``eps``, in [0, 1], is misclassified.

    The bounds are computed in float64, where the device has it; they are exact up to its rounding.
    An image that is not verified may be robust all the same.

    Args:
        network: a chain of layers, see ``advlab.networks.intervals``; from images to logits.

    Returns:
        bool (N,) on the CPU.

    Raises:
        UsageError: the network has a layer without known bounds.
    """
    dtype = torch.float32 if machine.device.type == "mps" else torch.float64
    exact = copy.deepcopy(network).eval().to(device=machine.device, dtype=dtype)
    robust = []
    for start in range(0, len(images), _BATCH):
        batch = slice(start, start + _BATCH)
        x = images.inputs(batch, machine.device).to(dtype)
        labels = images.labels[batch].to(machine.device)
        _, worst = worst_logits(exact, Box.around(x, eps), labels)
        others = worst.scatter(1, labels[:, None], -torch.inf)
        robust.append((others < 0).all(1).cpu())
    return torch.cat(robust)
