"""The options of ``advlab memorize``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from advlab.config import fields as f
from advlab.config.base import Flag, Options

RandomLabels = Annotated[
    list[Annotated[float, Field(ge=0, le=1)]],
    Field(
        min_length=1,
        max_length=50,
        description=("fraction of the images with random labels; several values give a curve"),
    ),
    Flag(group="labels"),
]


class MemorizeOptions(Options):
    """Options of ``advlab memorize``, joined by those of the model.

    The defaults train on one batch that holds every image, by plain Adam, and regularise nothing.
    """

    seeds: f.Seeds = 5
    train_size: f.TrainSize = 128
    random_labels: RandomLabels = [1.0]
    epochs: f.Epochs = 100
    batch_size: f.BatchSize = 128
    lr: f.LearningRate = 1e-3
    optimizer: f.Optimizer = "adam"
    schedule: f.Schedule = "constant"
    weight_decay: f.WeightDecay = 0.0
    label_smoothing: f.LabelSmoothing = 0.0
