"""The distribution of the smallest perturbations that change an image's class."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_STEPS = 200  # of an accuracy curve: more cannot be told apart in a figure


def quantile(norms: Tensor, fraction: float) -> float | None:
    """The smallest of the norms within which at least ``fraction`` of them lie.

    Args:
        norms: (N,), infinity for an image that was never broken.
        fraction: in (0, 1].

    Returns:
        None where it is infinite, or where there are no norms.
    """
    if len(norms) == 0:
        return None
    norm = float(norms.sort().values[max(0, math.ceil(fraction * len(norms)) - 1)])
    return norm if math.isfinite(norm) else None


def accuracy_by_norm(norms: Tensor, images: int) -> list[tuple[float, float]]:
    """The accuracy that is left under perturbations of at most some norm, as a step function.

    Args:
        norms: of the images that are classified correctly, (N,), infinity for one that was never
            broken.
        images: how many images there are in all, at least N.

    Returns:
        Pairs of norm and accuracy, a fraction that holds from that norm to the next one. The first
        norm is 0. Where more than 200 images were broken, only as many of the steps.
    """
    broken = norms[norms.isfinite()].sort().values
    places = torch.arange(len(broken))
    if len(broken) > _STEPS:
        places = torch.linspace(0, len(broken) - 1, _STEPS).round().long()
    # Of equal norms the last counts: all of them are broken there.
    accuracies = {float(broken[place]): (len(norms) - int(place) - 1) / images for place in places}
    return list(({0.0: len(norms) / images} | accuracies).items())
