"""GRU: a bidirectional recurrent network; the mean of its states is classified.

Cho et al. 2014, arXiv:1406.1078.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from advlab.networks.recurrent import Architecture, RecurrentOptions, built

if TYPE_CHECKING:
    from torch import nn

TAKES = "texts"


class Options(RecurrentOptions):
    """GRU (texts): a bidirectional recurrent network; the mean of its states is classified."""


def build(architecture: Architecture, words: int, classes: int) -> nn.Module:
    """The network from numbers of words (N, L) to logits (N, classes)."""
    return built("gru", architecture, words, classes)
