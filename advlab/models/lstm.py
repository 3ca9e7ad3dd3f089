"""LSTM: a bidirectional recurrent network; the mean of its states is classified.

Hochreiter and Schmidhuber 1997.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from advlab.networks.recurrent import Architecture, RecurrentOptions, built

if TYPE_CHECKING:
    from torch import nn

TAKES = "texts"


class Options(RecurrentOptions):
    """LSTM (texts): a bidirectional recurrent network; the mean of its states is classified."""


def build(architecture: Architecture, words: int, classes: int) -> nn.Module:
    """The network from numbers of words (N, L) to logits (N, classes)."""
    return built("lstm", architecture, words, classes)
