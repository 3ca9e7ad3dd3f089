"""What a view is compared with: the other views of its batch, or a queue of earlier ones."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from advlab.contrastive.loss import queue_similarities, similarities
from advlab.contrastive.networks import Contrast
from advlab.runs.machine import Machine
from advlab.training import distributed

_GROUP = 32  # images that the keys' batch normalisation sees together, about as many

Compared = tuple[Tensor, Tensor]
"""Cosines over τ, a row for each view, and the column that each row should find."""


@dataclass(frozen=True)
class Batch:
    """How a batch is computed.

    Attributes:
        images: in the whole batch, over all processes.
        generator: of the epoch, for what is drawn.
    """

    images: int
    generator: torch.Generator
    machine: Machine


class Candidates(Protocol):
    """What the views of a batch are compared with."""

    def compare(self, network: Contrast, views: Tensor, batch: Batch) -> Compared:
        """Compare the views of this process's part of a batch.

        Args:
            views: (2N, C, H, W), all first views before all second ones.
        """
        ...

    def stepped(self, network: Contrast) -> None:
        """Take notice of a step of the optimiser."""
        ...


class InBatch:
    """The other 2N - 1 views of the batch (SimCLR)."""

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature

    def compare(self, network: Contrast, views: Tensor, batch: Batch) -> Compared:
        """All views with each other, those of the other processes included."""
        with batch.machine.autocast():
            embedded = network(views)
        z1, z2 = (distributed.whole(z, batch.images) for z in embedded.chunk(2))
        return similarities(z1, z2, self.temperature)

    def stepped(self, network: Contrast) -> None:
        """Nothing is kept from step to step."""


class Queue(nn.Module):
    """The second view's key, and the keys of earlier batches (MoCo).

    He, Fan, Wu, Xie and Girshick 2020, arXiv:1911.05722, algorithm 1. Keys come from a copy of the
    network that follows it slowly. By the statistics of a common batch, batch normalisation would
    tell the key of an image from those of others. Section 3.3 shuffles the images between GPUs
    against that; here the copy takes them shuffled, in groups, each normalised by itself.

    Attributes:
        network: the copy.
        keys: unit vectors (size, D), the newest first; drawn at random in the beginning.
    """

    keys: Tensor

    def __init__(
        self,
        network: Contrast,
        size: int,
        momentum: float,
        temperature: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).train().requires_grad_(False)
        self.momentum, self.temperature = momentum, temperature
        last = [layer for layer in network.head if isinstance(layer, nn.Linear)][-1]
        drawn = torch.randn(size, last.out_features, generator=generator)
        keys = nn.functional.normalize(drawn, dim=1)
        self.register_buffer("keys", keys.to(last.weight.device))

    def compare(self, network: Contrast, views: Tensor, batch: Batch) -> Compared:
        """The first view of each image with the key of the second and with the queue, which then
        takes the new keys."""
        first, second = views.chunk(2)
        with batch.machine.autocast():
            queries = network(first)
            keys = self._keys_of(second, batch.generator)
        compared = queue_similarities(queries, keys, self.keys, self.temperature)
        self.keys = torch.cat([keys, self.keys])[: len(self.keys)]
        return compared

    @torch.no_grad()
    def _keys_of(self, views: Tensor, generator: torch.Generator) -> Tensor:
        """The keys of views (N, C, H, W): unit vectors (N, D)."""
        order = torch.randperm(len(views), generator=generator)
        groups = order.tensor_split(max(1, round(len(views) / _GROUP)))
        vectors = torch.cat([self.network(views[group]) for group in groups])
        keys = torch.empty_like(vectors, dtype=self.keys.dtype)
        keys[order] = vectors.to(keys.dtype)
        return nn.functional.normalize(keys, dim=1)

    @torch.no_grad()
    def stepped(self, network: Contrast) -> None:
        """Move the copy a little towards the network."""
        for own, other in zip(self.network.parameters(), network.parameters(), strict=True):
            own.lerp_(other, 1 - self.momentum)


def candidates_of(
    network: Contrast,
    size: int,
    momentum: float,
    temperature: float,
    generator: Callable[[], torch.Generator],
) -> InBatch | Queue:
    """What views are compared with: a queue of that size, or without one the rest of the batch."""
    if size:
        return Queue(network, size, momentum, temperature, generator())
    return InBatch(temperature)
