"""LSTM: reads the words in order, from both ends, and judges by the mean of its states."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from advlab.config import fields as f
from advlab.config.base import Options as Base
from advlab.config.commands import TrainOptions
from advlab.config.text import Embedding, HiddenState, Layers, ReadBothWays, TextOptions, WordVectors

if TYPE_CHECKING:
    from torch import nn

TAKES = "texts"


class Architecture(Base):
    """What the network is made of."""

    dropout: f.Dropout = 0.5
    embedding: Embedding = 64
    hidden: HiddenState = 64
    layers: Layers = 1
    both_ways: ReadBothWays = True


class Options(Architecture, TextOptions, TrainOptions):
    """LSTM: reads the words in order, from both ends, and judges by the mean of its states. Reads texts."""

    usual_epochs: ClassVar[int] = 6
    least_steps: ClassVar[int] = 150

    vectors: WordVectors = None
    batch_size: f.BatchSize = 128
    lr: f.LearningRate = 3e-3


def build(architecture: Architecture, words: int, classes: int) -> nn.Module:
    """The network from numbers of words (N, L) to logits (N, classes)."""
    from advlab.models._text import Reader

    a = architecture
    return Reader(words, classes, "lstm", a.embedding, a.hidden, a.layers, a.dropout, a.both_ways)
