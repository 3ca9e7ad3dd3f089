"""Options of a network that is trained on from the weights of a library or of the user's code."""

from __future__ import annotations

from typing import ClassVar

from advlab.config import fields as f
from advlab.config.base import Options as Base
from advlab.config.options import target_network
from advlab.config.options.run import TrainOptions


class Architecture(Base):
    """How images are prepared for the network; the rest is the library's, or in the user's code."""

    resize: target_network.Resize = None
    mean: target_network.Mean = None
    std: target_network.Std = None


class Options(Architecture, TrainOptions):
    """A network of a library or your own code, trained on from its weights."""

    usual_epochs: ClassVar[int] = 5

    batch_size: f.BatchSize = 64
    lr: f.LearningRate = 1e-3
