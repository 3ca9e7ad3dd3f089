"""Logits over a set of examples, in fixed batches for the same bits every time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor, nn

from advlab.networks.layout import arranged, memory_format
from advlab.progress import with_progress
from advlab.runs.machine import Machine

# One size for every evaluation: sums in a matrix product may differ in their last bits between
# batch sizes. Small: in float32 it is what a training needs most memory for, and larger ones are no
# faster.
EVALUATION_BATCH = 100


class Examples(Protocol):
    """Training examples: labels, and inputs by index. Images and texts are examples."""

    @property
    def labels(self) -> Tensor:
        """int64, shape (N,)."""
        ...

    def __len__(self) -> int:
        """N."""
        ...

    def inputs(self, index: Tensor | slice, device: torch.device | str) -> Tensor:
        """What the network takes, for the examples at ``index``, on ``device``."""
        ...

    def sizes(self) -> Tensor | None:
        """The length of each example, (N,), or None if all are equal."""
        ...


@torch.inference_mode()
def logits_of(model: nn.Module, examples: Examples, machine: Machine, title: str = "") -> Tensor:
    """The network's logits, float32 (N, classes) on the CPU. The caller sets the model's mode.

    Args:
        title: of a bar that counts the batches; without one no progress is shown.
    """
    parts, layout = [], memory_format(model)
    starts: Iterable[int] = range(0, len(examples), EVALUATION_BATCH)
    for start in with_progress(starts, title, "batches") if title else starts:
        inputs = arranged(
            examples.inputs(slice(start, start + EVALUATION_BATCH), machine.device), layout
        )
        with machine.autocast():
            parts.append(model(inputs).float().cpu())
    return torch.cat(parts)
