"""Loss: rows with a large loss although the model was trained on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from advlab.poisoning.evidence import Evidence


def suspicion(evidence: Evidence) -> Tensor:
    """Cross-entropy of each row, (N,). Fails where the model has memorised the poisoned rows: then
    no row is hard."""
    from torch.nn.functional import cross_entropy

    return cross_entropy(evidence.logits, evidence.labels, reduction="none")
