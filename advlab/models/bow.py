"""Bag of words: the presence of each word, and one hidden layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from advlab.config import fields as f
from advlab.config.base import Flag
from advlab.config.base import Options as Base
from advlab.config.options.run import TrainOptions
from advlab.config.options.text import TextOptions

if TYPE_CHECKING:
    from torch import nn

TAKES = "texts"


class Architecture(Base):
    """What the network is made of."""

    dropout: f.Dropout = 0.0
    hidden: Annotated[
        int, Field(ge=1, le=65_536, description="units in the hidden layer"), Flag(group="network")
    ] = 16


class Options(Architecture, TextOptions, TrainOptions):
    """Bag of words (texts): the presence of each word, and one hidden layer."""

    usual_epochs: ClassVar[int] = 20
    least_steps: ClassVar[int] = 1

    batch_size: f.BatchSize = 256
    lr: f.LearningRate = 1e-2
    schedule: f.Schedule = "constant"


def build(architecture: Architecture, words: int, classes: int) -> nn.Module:
    """The network from numbers of words (N, L) to logits (N, classes)."""
    from torch import nn

    from advlab.networks.text import BagOfWords

    drop = [nn.Dropout(architecture.dropout)] if architecture.dropout else []
    return nn.Sequential(
        BagOfWords(words),
        nn.Linear(words, architecture.hidden),
        nn.ReLU(),
        *drop,
        nn.Linear(architecture.hidden, classes),
    )
