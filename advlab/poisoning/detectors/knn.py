"""k-NN: rows whose most similar texts have other labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from advlab.poisoning.evidence import Evidence

_NEIGHBOURS = 10


def suspicion(evidence: Evidence) -> Tensor:
    """Share of the ten most similar texts, weighted by how similar they are, that have another
    label: (N,).

    Fails where the entity's reviews are each other's neighbours and most of them are turned.
    """
    import torch

    similar = torch.from_numpy(evidence.similar).clone()
    similar.fill_diagonal_(-1.0)
    weight, near = similar.topk(min(_NEIGHBOURS, len(similar) - 1), dim=1)
    weight = weight.clamp(min=1e-9)
    other = (evidence.labels[near] != evidence.labels[:, None]).double()
    return (weight * other).sum(dim=1) / weight.sum(dim=1)
