"""TextCNN: convolutions over three to five words, each followed by max pooling.

Kim 2014, arXiv:1408.5882.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from advlab.config import fields as f
from advlab.config.base import Flag
from advlab.config.base import Options as Base
from advlab.config.options.run import TrainOptions
from advlab.config.options.text import Embedding, WordEmbeddingOptions

if TYPE_CHECKING:
    from torch import nn

TAKES = "texts"


class Architecture(Base):
    """What the network is made of."""

    dropout: f.Dropout = 0.5
    embedding: Embedding = 64
    filters: Annotated[
        int,
        Field(ge=1, le=4096, description="number of filters of each width"),
        Flag(group=("network")),
    ] = 64


class Options(Architecture, WordEmbeddingOptions, TrainOptions):
    """TextCNN (texts): convolutions over three to five words, each with max pooling."""

    usual_epochs: ClassVar[int] = 8
    least_steps: ClassVar[int] = 150

    batch_size: f.BatchSize = 128
    lr: f.LearningRate = 2e-3


def build(architecture: Architecture, words: int, classes: int) -> nn.Module:
    """The network from numbers of words (N, L) to logits (N, classes)."""
    from torch import nn

    from advlab.networks.text import Convolved

    a, widths = architecture, (3, 4, 5)
    return nn.Sequential(
        Convolved(words, a.embedding, a.filters, widths, a.dropout / 2),
        nn.Dropout(a.dropout),
        nn.Linear(len(widths) * a.filters, classes),
    )
