"""The options of ``advlab gan``: of training a generator, and of what is then made from one."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from advlab.components import component_names
from advlab.config import fields as f
from advlab.config.base import Conditions, Flag, Options, always
from advlab.config.options.run import DataOptions, RunOptions, SearchOptions

MOST_COMPARED = 20  # runs
_TRAINING = Flag(group="training")
_NETWORK = Flag(group="network")
_EVALUATION = Flag(group="evaluation")
_FIGURES = Flag(group="figures")
_GENERATOR = Flag(group="generator")


def _architectures() -> list[str]:
    return component_names("advlab.gan.generators")


# --- networks -------------------------------------------------------------------------------------
Arch = Annotated[
    str,
    Field(min_length=1, description="architecture of generator and discriminator: dcgan or mlp"),
    Flag(group="network", words=_architectures),
]
ZDim = Annotated[
    int,
    Field(
        ge=1,
        lt=2**40,
        description=("length of the latent vector z, drawn from a standard normal distribution"),
    ),
    _NETWORK,
]
Width = Annotated[
    int | None,
    Field(
        ge=1,
        le=4096,
        description=(
            "dcgan: channels of the layer next to the image; mlp: units of the hidden layers; by "
            "default the architecture's own"
        ),
    ),
    _NETWORK,
]
CriticNorm = Annotated[
    Literal["auto", "batch", "layer", "spectral", "none"],
    Field(
        description=(
            "normalisation of the discriminator; auto: spectral for hinge, layer for wgan-gp, "
            "else the architecture's own"
        )
    ),
    _NETWORK,
]

# --- training -------------------------------------------------------------------------------------
Loss = Annotated[
    Literal["bce", "nonsaturating", "wgan", "wgan-gp", "hinge"],
    Field(
        description=(
            "loss of generator and discriminator; wgan clips the discriminator's weights and is "
            "trained by RMSProp, the others by Adam"
        )
    ),
    _TRAINING,
]
Epochs = Annotated[
    int | None,
    Field(
        ge=1,
        le=100_000,
        description="passes over the training images (default 15, more on small sets)",
    ),
    _TRAINING,
]
BatchSize = Annotated[
    int,
    Field(ge=2, le=65_536, description="images in a batch, at least two for batch normalisation"),
    _TRAINING,
]
LearningRate = Annotated[
    float,
    Field(gt=0, le=10, description="learning rate of the generator (default 0.001, wgan 5e-5)"),
    _TRAINING,
]
CriticRate = Annotated[
    float | None,
    Field(
        gt=0,
        le=10,
        description=(
            "learning rate of the discriminator (default 0.0005, wgan 5e-5); in a file null for "
            "that of the generator"
        ),
    ),
    _TRAINING,
]
Beta1 = Annotated[
    float, Field(ge=0, lt=1, description="Adam's β1, the decay of the mean gradient"), _TRAINING
]
Beta2 = Annotated[
    float,
    Field(ge=0, lt=1, description="Adam's β2, decay of the mean squared gradient"),
    _TRAINING,
]
CriticSteps = Annotated[
    int,
    Field(ge=1, le=100, description="discriminator steps per generator step (default 1, wgan 5)"),
    _TRAINING,
]
WeightClip = Annotated[
    float,
    Field(
        gt=0,
        le=100,
        description="wgan: largest absolute value of the discriminator's weights after each step",
    ),
    _TRAINING,
]
Penalty = Annotated[
    float | None,
    Field(
        ge=0,
        le=1e4,
        description=(
            "weight of the gradient penalty: of wgan-gp (default 10), or R1 for the other losses "
            "(default 0)"
        ),
    ),
    _TRAINING,
]
Smoothing = Annotated[
    float,
    Field(
        ge=0,
        lt=0.5,
        description="bce: one-sided label smoothing, how far the label of real images is below 1",
    ),
    Flag(bare="0.1", group="training"),
]
Packing = Annotated[
    int,
    Field(ge=1, le=16, description="images that the discriminator judges together (PacGAN)"),
    _TRAINING,
]
DiffAug = Annotated[
    list[Literal["brightness", "saturation", "contrast", "translation", "cutout"]] | None,
    Field(
        min_length=1,
        max_length=5,
        description=(
            "differentiable augmentation of real and generated images before the discriminator"
        ),
    ),
    _TRAINING,
]
EmaDecay = Annotated[
    float,
    Field(
        ge=0,
        lt=1,
        description=(
            "decay per step of the running average of the generator's weights, which draws the "
            "figures; 0 for none"
        ),
    ),
    _TRAINING,
]
Images = Annotated[
    Literal["train", "all"],
    Field(
        description=(
            "train on the training split and measure against it, or use all images of the set"
        )
    ),
    Flag(group="data"),
]
OnCollapse = Annotated[
    Literal["stop", "warn"],
    Field(description="what to do if the generator collapses and does not recover"),
    _TRAINING,
]

# --- measuring and drawing ------------------------------------------------------------------------
Samples = Annotated[
    int,
    Field(
        ge=50,
        le=1_000_000,
        description="largest number of generated images for the final figures",
    ),
    _EVALUATION,
]
LookSamples = Annotated[
    int,
    Field(ge=50, le=50_000, description="generated images at each evaluation during training"),
    _EVALUATION,
]
LookEvery = Annotated[
    int | None,
    Field(
        ge=1,
        description=(
            "epochs between two evaluations during training; by default at least 150 steps lie "
            "between"
        ),
    ),
    _EVALUATION,
]
FeatureClassifier = Annotated[
    str | None,
    Field(
        min_length=1,
        description=(
            "classifier whose features are measured: a checkpoint or the folder of a run; by "
            "default one is trained"
        ),
    ),
    Flag(group="evaluation", grid=False, place=True, by_content=always),
]
Inception = Annotated[
    str | None,
    Field(
        min_length=1,
        description=(
            "file with torchvision's Inception v3 weights, to measure FID on its features as well"
        ),
    ),
    Flag(group="evaluation", grid=False, place=True, by_content=always),
]
GridEvery = Annotated[
    int | None,
    Field(
        ge=1, description="epochs between two grids of samples; by default about twenty are drawn"
    ),
    _FIGURES,
]

# --- from a generator -----------------------------------------------------------------------------
GeneratorPlace = Annotated[
    str | None,
    Field(
        min_length=1,
        description=(
            "generator: its file or the folder of its run; by default the newest finished one"
        ),
    ),
    Flag(group="generator", place=True, by_content=always),
]
Weights = Annotated[
    Literal["average", "last"],
    Field(description="running average of the generator's weights, or the last ones"),
    _GENERATOR,
]


_BY_ADAM = ("bce", "nonsaturating", "wgan-gp", "hinge")
_OF_WGAN = {"lr": 5e-5, "lr_critic": 5e-5, "critic_steps": 5}
"""Defaults of the authors of WGAN, where they are others."""


class GanOptions(SearchOptions, DataOptions, RunOptions):
    """Train a generator and a discriminator, with a collapse monitor and measurements."""

    lower_is_better = True  # the Fréchet distance
    # Generated images are compared with those that were trained on.
    measuring: ClassVar[frozenset[str]] = SearchOptions.measuring | {"train_size"}
    goes_with: ClassVar[Conditions] = {
        "label_smoothing": ("loss", ("bce",)),
        "weight_clip": ("loss", ("wgan",)),
        "beta1": ("loss", _BY_ADAM),
        "beta2": ("loss", _BY_ADAM),
    }

    arch: Arch = "dcgan"
    zdim: ZDim = 100
    width: Width = None
    critic_norm: CriticNorm = "auto"
    loss: Loss = "nonsaturating"
    epochs: Epochs = None
    batch_size: BatchSize = 64
    lr: LearningRate = 1e-3
    lr_critic: CriticRate = 5e-4
    beta1: Beta1 = 0.5
    beta2: Beta2 = 0.999
    critic_steps: CriticSteps = 1
    weight_clip: WeightClip = 0.01
    penalty: Penalty = None
    label_smoothing: Smoothing = 0.0
    packing: Packing = 1
    diffaug: DiffAug = None
    ema_decay: EmaDecay = 0.999
    images: Images = "train"
    train_size: f.TrainSize = None
    on_collapse: OnCollapse = "stop"
    samples: Samples = 10_000
    evaluation_samples: LookSamples = 1000
    evaluate_every: LookEvery = None
    grid_every: GridEvery = None
    feature_classifier: FeatureClassifier = None
    inception: Inception = None

    @model_validator(mode="before")
    @classmethod
    def _of_the_loss(cls, values: Any) -> Any:
        """Where nothing else is given, rates and steps that suit the loss."""
        if isinstance(values, dict) and values.get("loss") == "wgan":
            return {**_OF_WGAN, **values}
        return values


class GeneratorOptions(RunOptions):
    """Options of actions that start from a trained generator; its training data are not needed."""

    generator: GeneratorPlace = None
    weights: Weights = "average"


class CompareOptions(RunOptions):
    """Compare finished runs: figures, losses per step and epoch, images of the same epochs."""

    runs: Annotated[
        list[str] | None,
        Field(
            min_length=2,
            max_length=MOST_COMPARED,
            description="folders of finished runs; by default all under --out",
        ),
        _FIGURES,
    ] = None


class SampleOptions(GeneratorOptions):
    """Sample images: a grid, single files, or only images of one class."""

    count: Annotated[
        int,
        Field(
            ge=1,
            le=1_000_000,
            description="number of images; with --of-class each, of each class",
        ),
        _FIGURES,
    ] = 64
    of_class: Annotated[
        str | None,
        Field(
            min_length=1,
            description=(
                "only images that the feature classifier assigns to this class, by name or "
                "number; or each"
            ),
        ),
        _FIGURES,
    ] = None
    files: Annotated[bool, Field(description="also write every image to a PNG file"), _FIGURES] = (
        False
    )


class InterpolateOptions(GeneratorOptions):
    """Interpolate between latent vectors, as a strip of images and an animation."""

    endpoints: Annotated[
        list[Annotated[int, Field(ge=0, lt=2**31)]],
        Field(
            min_length=2,
            max_length=20,
            description="seeds of the latent vectors, in order",
        ),
        _FIGURES,
    ] = [0, 1, 2, 3]
    frames: Annotated[
        int,
        Field(ge=2, le=1000, description="images between two endpoints, both included"),
        _FIGURES,
    ] = 12
    path: Annotated[
        Literal["both", "lerp", "slerp"],
        Field(description="linear interpolation, spherical interpolation, or both"),
        _FIGURES,
    ] = "both"


class LatentOptions(GeneratorOptions):
    """Map latent vectors in two dimensions (PCA), with the images drawn at their places."""

    count: Annotated[
        int, Field(ge=10, le=20_000, description="number of latent vectors"), _FIGURES
    ] = 1000
    drawn: Annotated[
        int,
        Field(ge=1, le=2000, description="number of latent vectors drawn as images"),
        _FIGURES,
    ] = 100


ACTIONS: dict[str, type[Options]] = {
    "compare": CompareOptions,
    "interpolate": InterpolateOptions,
    "latent": LatentOptions,
    "sample": SampleOptions,
    "train": GanOptions,
}
"""What ``advlab gan`` can do, by the word that is typed."""
