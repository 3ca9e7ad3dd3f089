"""The losses of contrastive learning: NT-Xent of SimCLR, and InfoNCE with a queue of MoCo.

Chen, Kornblith, Norouzi and Hinton 2020, arXiv:2002.05709, algorithm 1; He, Fan, Wu, Xie and
Girshick 2020, arXiv:1911.05722, equation 1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

_TIED = 1e-5  # relative difference of cosines that rounding may make in float32


def similarities(z1: Tensor, z2: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """How alike every two of 2N views are, and which of them belong together.

    Args:
        z1: embeddings (N, D) of one view of each of N images; any length.
        z2: of the other view, in the same order.
        temperature: τ > 0.

    Returns:
        Cosines over τ, (2N, 2N), each view's with itself -∞, so that it is no candidate; and the
        column (2N,) that each row should find: the other view of its image. In float32, or float64
        where the embeddings are.
    """
    count = len(z1)
    z = torch.cat([z1, z2])
    z = functional.normalize(z if z.dtype == torch.float64 else z.float(), dim=1)
    with torch.autocast(z.device.type, enabled=False):
        sim = z @ z.T / temperature
    sim.fill_diagonal_(-math.inf)
    target = (torch.arange(2 * count, device=z.device) + count) % (2 * count)
    return sim, target


def nt_xent(z1: Tensor, z2: Tensor, temperature: float) -> Tensor:
    """Mean cross-entropy of finding each view's partner among the 2N - 1 other views; a scalar. See
    ``similarities``."""
    return functional.cross_entropy(*similarities(z1, z2, temperature))


def lower_bound(count: int, temperature: float) -> float:
    """What NT-Xent of N images cannot go below: log(1 + (2N - 2) · exp(-(1 + 1 / (N - 1)) / τ)).

    Reached where the two views of an image coincide and the N images stand as far from each other
    as N points can, the corners of a simplex with cosines of -1 / (N - 1), which takes N - 1
    dimensions. By Jensen's inequality nothing does better.
    """
    if count == 1:
        return 0.0
    return math.log1p((2 * count - 2) * math.exp(-(1 + 1 / (count - 1)) / temperature))


def queue_similarities(
    queries: Tensor, keys: Tensor, queue: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """How alike each query is to its own key and to those of a queue.

    Args:
        queries: embeddings (N, D) of one view of each of N images; any length.
        keys: unit vectors (N, D) of the other view, in the same order.
        queue: unit vectors (K, D) of other images.
        temperature: τ > 0.

    Returns:
        Cosines over τ, (N, 1 + K), the own key in column 0; and the column (N,) that each row
        should find, 0. In the type of the keys.
    """
    with torch.autocast(queries.device.type, enabled=False):
        unit = functional.normalize(queries.to(keys.dtype), dim=1)
        own = (unit * keys).sum(1, keepdim=True)
        sim = torch.cat([own, unit @ queue.T], 1) / temperature
    return sim, torch.zeros(len(unit), dtype=torch.int64, device=unit.device)


def partners_found(sim: Tensor, target: Tensor) -> Tensor:
    """Which rows are most alike to their partner, and not as alike to another one but for rounding,
    as embeddings that are all the same are; bool (N,).

    Args:
        sim: cosines over τ, (N, M).
        target: the column of each row's partner, (N,).
    """
    partner = sim.gather(1, target[:, None])
    others = sim.scatter(1, target[:, None], -torch.inf).amax(1, keepdim=True)
    tied = _TIED * partner.abs().clamp_min(torch.finfo(sim.dtype).tiny)
    return (partner > others + tied).squeeze(1)


def queue_lower_bound(size: int, temperature: float) -> float:
    """What InfoNCE with ``size`` keys in the queue cannot go below: log(1 + K · exp(-2 / τ)), where
    each query equals its key and is opposite to all others."""
    return math.log1p(size * math.exp(-2 / temperature))


def queue_uninformed(size: int) -> float:
    """InfoNCE where all keys are equally alike: log(1 + K)."""
    return math.log(1 + size)


def uninformed(count: int) -> float:
    """NT-Xent where all views are equally alike: log(2N - 1)."""
    return math.log(2 * count - 1)
