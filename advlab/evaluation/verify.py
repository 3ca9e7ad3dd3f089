"""Verified accuracy in L∞ by interval bounds (Gowal et al. 2018, arXiv:1810.12715)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from advlab.data.image_set import Images
from advlab.errors import UsageError
from advlab.networks.intervals import Box, worst_logits
from advlab.runs.machine import Machine

_BATCH = 100  # images in one pass
_SAME = 1e-3  # of the largest logit: by so much may rounding in float32 inside a network differ


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
        logits, worst = worst_logits(exact, Box.around(x, eps), labels)
        _check_same(logits, exact, x)
        others = worst.scatter(1, labels[:, None], -torch.inf)
        robust.append((others < 0).all(1).cpu())
    return torch.cat(robust)


@torch.no_grad()
def _check_same(logits: Tensor, network: nn.Module, images: Tensor) -> None:
    """Refuse a network that computes something else than its layers one after the other.

    Args:
        logits: what the layers compute, of which the bounds are.

    Raises:
        UsageError: the network itself computes something else, or what is not finite.
    """
    own = network(images)
    if not bool(own.isfinite().all()):
        raise UsageError(
            "the network's outputs are NaN or infinite for some images, so that nothing is verified"
        )
    scale = logits.abs().amax().clamp_min(1)
    if own.shape != logits.shape or not bool(((own - logits).abs() <= _SAME * scale).all()):
        raise UsageError(
            "the network computes something else than its layers one after the other, so that "
            "interval bounds of the layers say nothing about it"
        )
