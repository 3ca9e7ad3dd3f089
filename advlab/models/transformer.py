"""Transformer: an encoder of words by self-attention; the mean of its states is classified.

Vaswani et al. 2017, arXiv:1706.03762. Layer normalisation comes before attention and feed-forward
layers, as in Xiong et al. 2020, arXiv:2002.04745.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

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

    dropout: f.Dropout = 0.3
    embedding: Embedding = 64
    hidden: Annotated[
        int,
        Field(ge=1, le=4096, description="width of the blocks, a multiple of --heads"),
        Flag(group="network"),
    ] = 64
    heads: Annotated[
        int, Field(ge=1, le=64, description="attention heads of a block"), Flag(group="network")
    ] = 4
    blocks: Annotated[
        int,
        Field(ge=1, le=48, description="number of blocks of attention and feed-forward layer"),
        Flag(group="network"),
    ] = 2

    @model_validator(mode="after")
    def _divisible(self) -> Architecture:
        """Refuse a width that heads cannot share equally."""
        if self.hidden % self.heads:
            raise PydanticCustomError(
                "heads",
                "{reason}",
                {
                    "option": "heads",
                    "reason": f"{self.heads} heads cannot share a width of {self.hidden} equally; "
                    "--hidden must be a multiple of --heads",
                },
            )
        return self


class Options(Architecture, WordEmbeddingOptions, TrainOptions):
    """Transformer (texts): a pre-norm encoder; the mean of its states is classified."""

    usual_epochs: ClassVar[int] = 5
    least_steps: ClassVar[int] = 300

    batch_size: f.BatchSize = 128
    lr: f.LearningRate = 1e-3


def build(architecture: Architecture, words: int, classes: int) -> nn.Module:
    """The network from numbers of words (N, L) to logits (N, classes)."""
    from advlab.networks.transformer import Encoder

    a = architecture
    return Encoder(words, classes, a.embedding, a.hidden, a.heads, a.blocks, a.dropout)
