"""LSTM (Hochreiter and Schmidhuber 1997): reads the words in order, from both ends, and judges by
the mean of its states."""

from __future__ import annotations

from typing import TYPE_CHECKING

from advlab.networks.recurrent import Architecture, RecurrentOptions, built

if TYPE_CHECKING:
    from torch import nn

TAKES = "texts"


class Options(RecurrentOptions):
    """LSTM: reads the words in order, from both ends, and judges by the mean of its states. Reads
    texts."""


def build(architecture: Architecture, words: int, classes: int) -> nn.Module:
    """The network from numbers of words (N, L) to logits (N, classes)."""
    return built("lstm", architecture, words, classes)
