"""The options of ``advlab contrast``: what is trained, on which views, and how what was learnt is
judged."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from advlab.components import component_names
from advlab.config import fields as f
from advlab.config.base import Flag, Options
from advlab.config.options.run import DataOptions, RunOptions

_NETWORK = Flag(group="network")
_VIEWS = Flag(group="views")
_TRAINING = Flag(group="training")
_JUDGING = Flag(group="judging")


def _encoders() -> list[str]:
    return ["auto", *component_names("advlab.contrastive.encoders")]


# --- networks -------------------------------------------------------------------------------------
Encoder = Annotated[
    str,
    Field(
        min_length=1,
        description=(
            "network that gives the features; auto: small for images of one channel, resnet18 "
            "for colour"
        ),
    ),
    Flag(group="network", words=_encoders),
]
Width = Annotated[
    int | None,
    Field(
        ge=2,
        le=1024,
        description=(
            "channels of its first layers; it gives eight times as many features; 64, and 16 of "
            "small"
        ),
    ),
    _NETWORK,
]
Projection = Annotated[
    list[Annotated[int, Field(ge=2, le=65_536)]],
    Field(
        min_length=1,
        max_length=8,
        description=(
            "widths of the projection head's layers, after the features; the last is the loss's"
        ),
    ),
    _NETWORK,
]

# --- views ----------------------------------------------------------------------------------------
LeastCrop = Annotated[
    float | None,
    Field(
        gt=0,
        le=1,
        description=(
            "smallest fraction of an image that a view shows; 0.2 where not given, 0.3 for one "
            "channel"
        ),
    ),
    _VIEWS,
]
Mirror = Annotated[
    float | None,
    Field(
        ge=0,
        le=1,
        description=(
            "fraction of the views mirrored left to right; half where not given, none for one "
            "channel"
        ),
    ),
    _VIEWS,
]
Turn = Annotated[
    float | None,
    Field(
        ge=0,
        le=180,
        description="turn views by up to this many degrees; 0 where not given, 10 for one channel",
    ),
    _VIEWS,
]
Jitter = Annotated[
    float,
    Field(
        ge=0,
        le=1,
        description="strength of the changes of brightness, contrast, saturation and hue",
    ),
    _VIEWS,
]
Grey = Annotated[
    float,
    Field(ge=0, le=1, description="fraction of the views of colour images without their colours"),
    _VIEWS,
]
BlurShare = Annotated[
    float,
    Field(ge=0, le=1, description="fraction of the views that are smoothed"),
    Flag(bare="0.5", group="views"),
]

# --- training -------------------------------------------------------------------------------------
Temperature = Annotated[
    float, Field(gt=0, le=100, description="NT-Xent's τ, which cosines are divided by"), _TRAINING
]
BatchSize = Annotated[
    int,
    Field(ge=1, le=65_536, description="images that are told from each other, two views of each"),
    _TRAINING,
]
Accumulate = Annotated[
    int,
    Field(
        ge=1,
        le=4096,
        description=(
            "batches whose gradients make one step; an image is still told from those of its own "
            "batch only"
        ),
    ),
    _TRAINING,
]
Optimizer = Annotated[
    Literal["adam", "lars"],
    Field(description="adam, or lars (made for batches of thousands)"),
    _TRAINING,
]
LearningRate = Annotated[
    float | None,
    Field(
        gt=0,
        le=1000,
        description=(
            "peak of the learning rate; adam 0.001, lars 0.3 for every 256 images of a step, "
            "where not given"
        ),
    ),
    _TRAINING,
]
Warmup = Annotated[
    float,
    Field(
        ge=0,
        lt=1,
        description="fraction of the training in which the rate rises; half a cosine follows",
    ),
    _TRAINING,
]

# --- judging --------------------------------------------------------------------------------------
Neighbours = Annotated[
    int,
    Field(ge=1, le=100_000, description="training images that vote on a test image's class"),
    _JUDGING,
]
VoteTemperature = Annotated[
    float,
    Field(
        gt=0, le=100, description="a vote weighs exp(cosine / this); large, and all weigh the same"
    ),
    _JUDGING,
]
Supervised = Annotated[
    bool, Field(description="train the same encoder with labels too, to compare with"), _JUDGING
]


class ContrastOptions(DataOptions, RunOptions):
    """SimCLR: learn features without labels by matching two views of each image.

    Chen, Kornblith, Norouzi and Hinton 2020, arXiv:2002.05709.

    Attributes:
        usual_epochs: epochs where none are given and the set is large.
        least_steps: where none are given and the set is small, epochs are added until there are
            this many steps.
    """

    usual_epochs: ClassVar[int] = 10
    least_steps: ClassVar[int] = 200

    encoder: Encoder = "auto"
    width: Width = None
    projection: Projection = [256, 128, 64]
    crop: LeastCrop = None
    flip: Mirror = None
    degrees: Turn = None
    jitter: Jitter = 0.5
    grey: Grey = 0.2
    blur: BlurShare = 0.0
    train_size: f.TrainSize = None
    temperature: Temperature = 0.5
    epochs: f.Epochs = None
    batch_size: BatchSize = 256
    accumulate: Accumulate = 1
    optimizer: Optimizer = "adam"
    lr: LearningRate = None
    warmup: Warmup = 0.1
    weight_decay: f.WeightDecay = 1e-6
    neighbours: Neighbours = 20
    vote_temperature: VoteTemperature = 0.1
    supervised: Supervised = True

    @model_validator(mode="after")
    def _two_images(self) -> ContrastOptions:
        if self.batch_size < 2:
            raise PydanticCustomError(
                "batch",
                "NT-Xent needs two images at least, to tell one from the other",
                {"option": "batch_size"},
            )
        return self

    @property
    def peak(self) -> float:
        """The largest learning rate, once it is settled."""
        usual = 1e-3 if self.optimizer == "adam" else 0.3 * self.batch_size * self.accumulate / 256
        return self.lr or usual


METHODS: dict[str, type[Options]] = {"simclr": ContrastOptions}
"""The methods of contrastive learning, by the word that is typed."""
