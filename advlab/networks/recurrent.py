"""Options and layers that recurrent networks share."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from advlab.config import fields as f
from advlab.config.base import Options as Base
from advlab.config.options.run import TrainOptions
from advlab.config.options.text import (
    Embedding,
    HiddenState,
    Layers,
    Pooling,
    ReadBothWays,
    WordEmbeddingOptions,
)

if TYPE_CHECKING:
    from torch import nn


class Architecture(Base):
    """What the network is made of."""

    dropout: f.Dropout = 0.5
    embedding: Embedding = 64
    hidden: HiddenState = 64
    layers: Layers = 1
    both_ways: ReadBothWays = True
    pooling: Pooling = "mean"


class RecurrentOptions(Architecture, WordEmbeddingOptions, TrainOptions):
    """Defaults that suit both."""

    usual_epochs: ClassVar[int] = 6
    least_steps: ClassVar[int] = 150

    batch_size: f.BatchSize = 128
    lr: f.LearningRate = 3e-3


def built(kind: str, architecture: Architecture, words: int, classes: int) -> nn.Module:
    """A network of that kind, "gru" or "lstm"."""
    from advlab.networks.text import Reader

    a = architecture
    return Reader(
        words,
        classes,
        kind,
        a.embedding,
        a.hidden,
        a.layers,
        a.dropout,
        both=a.both_ways,
        attention=a.pooling == "attention",
    )
