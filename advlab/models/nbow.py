"""Naive Bayes n-grams: a linear layer on words and phrases weighted by naive Bayes.

Wang and Manning 2012.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from advlab.config import fields as f
from advlab.config.base import Flag
from advlab.config.base import Options as Base
from advlab.config.options.run import TrainOptions
from advlab.config.options.text import MinCount, TextOptions

if TYPE_CHECKING:
    from torch import nn

TAKES = "texts"


class Architecture(Base):
    """What the network is made of."""

    ngrams: Annotated[
        int,
        Field(ge=1, le=5, description="words of the longest phrase that is a feature"),
        Flag(group="network"),
    ] = 3
    buckets: Annotated[
        int,
        Field(
            ge=1,
            le=2**24,
            description="hash buckets for phrases of several words",
        ),
        Flag(group="network"),
    ] = 2**18


class Options(Architecture, TextOptions, TrainOptions):
    """Naive Bayes n-grams (texts): a linear layer on weighted words and phrases; fast."""

    usual_epochs: ClassVar[int] = 8
    least_steps: ClassVar[int] = 1

    min_count: MinCount = 1
    batch_size: f.BatchSize = 256
    lr: f.LearningRate = 1e-3
    schedule: f.Schedule = "constant"
    optimizer: f.Optimizer = "adamw"
    weight_decay: f.WeightDecay = 1.0


def build(architecture: Architecture, words: int, classes: int) -> nn.Module:
    """The network from numbers of words (N, L) to logits (N, classes). Its weighting is made from
    the training texts."""
    from advlab.networks.text import WeightedPhrases

    return WeightedPhrases(words, classes, architecture.ngrams, architecture.buckets)
