"""The options of ``advlab contrast``: the encoder, the views, the training and its evaluation."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from advlab.components import component_names
from advlab.config import fields as f
from advlab.config.base import Flag, Options
from advlab.config.options import target_network
from advlab.config.options.run import DataOptions, RunOptions, SearchOptions
from advlab.config.radii import EachOnce, Fraction
from advlab.config.references import LIBRARIES, is_reference, names_code

_NETWORK = Flag(group="network")
_VIEWS = Flag(group="views")
_TRAINING = Flag(group="training")
_EVALUATION = Flag(group="evaluation")


def _encoders() -> list[str]:
    return ["auto", *component_names("advlab.contrastive.encoders"), *f.image_models(), *LIBRARIES]


# --- networks -------------------------------------------------------------------------------------
Encoder = Annotated[
    str,
    Field(
        min_length=1,
        description=(
            "encoder; auto: small for images of one channel, resnet18 for colour; or a classifier "
            "without its last layer: a network such as cnn, torchvision:NAME, timm:NAME, "
            "robustbench:NAME, your own code as FILE.py:FUNCTION or package.module:FUNCTION, a "
            "checkpoint or the folder of a run"
        ),
    ),
    Flag(
        group="network",
        words=_encoders,
        accepts=is_reference,
        others="a checkpoint, the folder of a run, FILE.py:FUNCTION or package.module:FUNCTION",
        code=names_code,
        place=True,
    ),
]
Width = Annotated[
    int | None,
    Field(
        ge=2,
        le=1024,
        description=(
            "channels of the first layers; the features are eight times as many (default 64, "
            "small: 16); not of other encoders"
        ),
    ),
    _NETWORK,
]
Projection = Annotated[
    list[Annotated[int, Field(ge=2, le=65_536)]],
    Field(
        min_length=1,
        max_length=8,
        description=("widths of the projection head's layers, first to last"),
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
            "smallest fraction of the image's area in a view (default 0.2, one channel: 0.3)"
        ),
    ),
    _VIEWS,
]
Mirror = Annotated[
    float | None,
    Field(
        ge=0,
        le=1,
        description=("fraction of the views flipped horizontally (default 0.5, one channel: 0)"),
    ),
    _VIEWS,
]
Turn = Annotated[
    float | None,
    Field(
        ge=0,
        le=180,
        description="rotate views by up to this many degrees (default 0, one channel: 10)",
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
    Field(ge=0, le=1, description="fraction of the views of colour images converted to grey"),
    _VIEWS,
]
BlurShare = Annotated[
    float,
    Field(ge=0, le=1, description="fraction of the views that are blurred"),
    Flag(bare="0.5", group="views"),
]

# --- training -------------------------------------------------------------------------------------
Temperature = Annotated[
    float,
    Field(gt=0, le=100, description="temperature τ of the loss, by which cosines are divided"),
    _TRAINING,
]
BatchSize = Annotated[
    int,
    Field(
        ge=1,
        le=65_536,
        description=("images in a batch, two views of each; the other images are the negatives"),
    ),
    _TRAINING,
]
Accumulate = Annotated[
    int,
    Field(
        ge=1,
        le=4096,
        description=(
            "batches whose gradients make one step; negatives come from the same batch only"
        ),
    ),
    _TRAINING,
]
Queue = Annotated[
    int,
    Field(
        ge=0,
        le=1_000_000,
        description=(
            "compare each view with this many keys of earlier batches instead of the views of its "
            "own batch (MoCo); 0: SimCLR"
        ),
    ),
    _TRAINING,
]
Momentum = Annotated[
    float | None,
    Field(
        ge=0,
        lt=1,
        description=(
            "of the encoder that makes the keys of --queue: the fraction of its weights that it "
            "keeps at each step (default 0.99)"
        ),
    ),
    _TRAINING,
]
Optimizer = Annotated[
    Literal["adam", "lars"],
    Field(description="adam, or lars for batches of thousands of images"),
    _TRAINING,
]
LearningRate = Annotated[
    float | None,
    Field(
        gt=0,
        le=1000,
        description=("peak learning rate (default: adam 0.001, lars 0.3 per 256 images of a step)"),
    ),
    _TRAINING,
]
Warmup = Annotated[
    float,
    Field(
        ge=0,
        lt=1,
        description=(
            "fraction of the training in which the learning rate rises; it then falls along half "
            "a cosine"
        ),
    ),
    _TRAINING,
]

# --- judging --------------------------------------------------------------------------------------
Neighbours = Annotated[
    int,
    Field(
        ge=1,
        le=100_000,
        description=(
            "k of the k-NN evaluation: training images that vote on the class of a test image"
        ),
    ),
    _EVALUATION,
]
VoteTemperature = Annotated[
    float,
    Field(
        gt=0,
        le=100,
        description=("k-NN evaluation: the weight of a vote is exp(cosine / temperature)"),
    ),
    _EVALUATION,
]
Supervised = Annotated[
    bool, Field(description="also train the same encoder with labels, as a baseline"), _EVALUATION
]
LabelFractions = Annotated[
    list[Annotated[float, Field(gt=0, le=1), Fraction]],
    Field(
        max_length=10,
        description=(
            "fractions of the training labels, such as 0.01 0.1: on each, fine-tune the encoder "
            "with a new last layer, and train the same network from scratch to compare with"
        ),
    ),
    EachOnce,
    Flag(group="evaluation", grid=False),
]


class ContrastOptions(SearchOptions, DataOptions, RunOptions):
    """SimCLR, or MoCo with a queue: learn features without labels by matching two views of each
    image.

    Chen, Kornblith, Norouzi and Hinton 2020, arXiv:2002.05709; He, Fan, Wu, Xie and Girshick 2020,
    arXiv:1911.05722.

    Attributes:
        usual_epochs: epochs where none are given and the set is large.
        least_steps: where none are given and the set is small, epochs are added until there are
            this many steps.
    """

    usual_epochs: ClassVar[int] = 10
    least_steps: ClassVar[int] = 200

    encoder: Encoder = "auto"
    weights: f.StartingWeights = None
    resize: target_network.Resize = None
    mean: target_network.Mean = None
    std: target_network.Std = None
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
    queue: Queue = 0
    momentum: Momentum = None
    optimizer: Optimizer = "adam"
    lr: LearningRate = None
    warmup: Warmup = 0.1
    weight_decay: f.WeightDecay = 1e-6
    neighbours: Neighbours = 20
    vote_temperature: VoteTemperature = 0.1
    supervised: Supervised = True
    label_fractions: LabelFractions = []

    @model_validator(mode="after")
    def _batch_and_queue(self) -> ContrastOptions:
        if self.batch_size < 2:
            raise PydanticCustomError(
                "batch",
                "NT-Xent needs two images at least, to tell one from the other",
                {"option": "batch_size"},
            )
        if self.momentum is not None and not self.queue:
            raise PydanticCustomError(
                "queue",
                "is of the encoder that fills the queue; --queue N makes one",
                {"option": "momentum"},
            )
        return self

    @property
    def queue_momentum(self) -> float:
        """The momentum of the encoder that makes keys, once it is settled."""
        return 0.99 if self.momentum is None else self.momentum

    @property
    def peak(self) -> float:
        """The largest learning rate, once it is settled."""
        usual = 1e-3 if self.optimizer == "adam" else 0.3 * self.batch_size * self.accumulate / 256
        return self.lr or usual


METHODS: dict[str, type[Options]] = {"simclr": ContrastOptions}
"""The methods of contrastive learning, by the word that is typed."""
