"""The options of ``advlab gan``: of training a generator, and of what is then made from one."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from advlab.components import component_names
from advlab.config import fields as f
from advlab.config.base import Flag, Options
from advlab.config.options.run import DataOptions, RunOptions

_GAME = Flag(group="game")
_NETWORK = Flag(group="network")
_MEASURING = Flag(group="measuring")
_PICTURES = Flag(group="pictures")
_GENERATOR = Flag(group="generator")


def _architectures() -> list[str]:
    return component_names("advlab.gan.generators")


# --- networks -------------------------------------------------------------------------------------
Arch = Annotated[
    str,
    Field(min_length=1, description="generator and discriminator: dcgan or mlp"),
    Flag(group="network", words=_architectures),
]
ZDim = Annotated[
    int,
    Field(
        ge=1, lt=2**40, description="length of the latent vector z, drawn from a standard normal"
    ),
    _NETWORK,
]
Width = Annotated[
    int | None,
    Field(
        ge=1,
        le=4096,
        description=(
            "dcgan: channels next to the image; mlp: units of the hidden layers; the "
            "architecture's own where not given"
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

# --- the game -------------------------------------------------------------------------------------
Loss = Annotated[
    Literal["bce", "nonsaturating", "wgan-gp", "hinge"],
    Field(description="what the two networks play for"),
    _GAME,
]
Epochs = Annotated[
    int | None,
    Field(
        ge=1,
        le=100_000,
        description="passes over the training images; where not given 15, and more on small sets",
    ),
    _GAME,
]
BatchSize = Annotated[
    int,
    Field(ge=2, le=65_536, description="images in a batch; batch normalisation needs two at least"),
    _GAME,
]
LearningRate = Annotated[
    float, Field(gt=0, le=10, description="Adam's learning rate, of the generator"), _GAME
]
CriticRate = Annotated[
    float | None,
    Field(gt=0, le=10, description="that of the discriminator; null for the generator's"),
    _GAME,
]
Beta1 = Annotated[float, Field(ge=0, lt=1, description="Adam's decay of the mean gradient"), _GAME]
Beta2 = Annotated[
    float, Field(ge=0, lt=1, description="Adam's decay of the mean squared gradient"), _GAME
]
CriticSteps = Annotated[
    int, Field(ge=1, le=100, description="discriminator steps for each of the generator's"), _GAME
]
Penalty = Annotated[
    float | None,
    Field(
        ge=0,
        le=1e4,
        description=(
            "weight of the gradient penalty: wgan-gp's own (10 where not given), R1 for the "
            "other losses (0 where not given)"
        ),
    ),
    _GAME,
]
Smoothing = Annotated[
    float,
    Field(
        ge=0,
        lt=0.5,
        description="bce: how far below 1 the label of real images is (one-sided label smoothing)",
    ),
    Flag(bare="0.1", group="game"),
]
Packing = Annotated[
    int,
    Field(ge=1, le=16, description="images that the discriminator sees at a time, as one (PacGAN)"),
    _GAME,
]
DiffAug = Annotated[
    list[Literal["brightness", "saturation", "contrast", "translation", "cutout"]] | None,
    Field(
        min_length=1,
        max_length=5,
        description="transformations before the discriminator, of real and generated images alike",
    ),
    _GAME,
]
EmaDecay = Annotated[
    float,
    Field(
        ge=0,
        lt=1,
        description=(
            "decay per step of the running average of the generator's weights, which makes the "
            "pictures; 0 for none"
        ),
    ),
    _GAME,
]
Images = Annotated[
    Literal["train", "all"],
    Field(
        description=(
            "train on the training split, and measure against it; or on every image that the set "
            "has"
        )
    ),
    Flag(group="data"),
]
OnCollapse = Annotated[
    Literal["stop", "warn"],
    Field(description="when the generator collapses and stays so: stop, or go on"),
    _GAME,
]

# --- measuring and drawing ------------------------------------------------------------------------
Samples = Annotated[
    int,
    Field(
        ge=50,
        le=1_000_000,
        description="generated images that the final figures are taken from, at most",
    ),
    _MEASURING,
]
LookSamples = Annotated[
    int,
    Field(ge=50, le=50_000, description="generated images at each look while it trains"),
    _MEASURING,
]
LookEvery = Annotated[
    int | None,
    Field(
        ge=1,
        description=(
            "epochs between two looks for collapse; where not given at least 150 steps lie between"
        ),
    ),
    _MEASURING,
]
FeatureClassifier = Annotated[
    str | None,
    Field(
        min_length=1,
        description=(
            "the classifier whose features are measured on: a checkpoint or run's folder; one is "
            "trained where not given"
        ),
    ),
    Flag(group="measuring", grid=False),
]
Inception = Annotated[
    str | None,
    Field(
        min_length=1,
        description=(
            "a file with torchvision's Inception v3 weights, for FID on its features as well"
        ),
    ),
    Flag(group="measuring", grid=False),
]
GridEvery = Annotated[
    int | None,
    Field(
        ge=1, description="epochs between two sample grids; where not given about twenty are drawn"
    ),
    _PICTURES,
]

# --- from a generator -----------------------------------------------------------------------------
GeneratorPlace = Annotated[
    str | None,
    Field(
        min_length=1,
        description=(
            "the generator: its file or its run's folder; the newest finished one where not given"
        ),
    ),
    _GENERATOR,
]
Weights = Annotated[
    Literal["average", "last"],
    Field(description="the running average of its weights, or the last ones"),
    _GENERATOR,
]


class GanOptions(DataOptions, RunOptions):
    """Train a generator and a discriminator, with a collapse monitor and measurements."""

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
            max_length=20,
            description="folders of finished runs; all under --out where not given",
        ),
        _PICTURES,
    ] = None


class SampleOptions(GeneratorOptions):
    """Sample images: a grid, single files, or only images of one class."""

    count: Annotated[int, Field(ge=1, le=1_000_000, description="how many images"), _PICTURES] = 64
    of_class: Annotated[
        str | None,
        Field(
            min_length=1,
            description=(
                "only images that the frozen classifier takes for this class, by name or number; "
                "or each"
            ),
        ),
        _PICTURES,
    ] = None
    files: Annotated[
        bool, Field(description="write every image to a PNG of its own as well"), _PICTURES
    ] = False


class InterpolateOptions(GeneratorOptions):
    """Interpolate between latent vectors, as a strip of images and an animation."""

    endpoints: Annotated[
        list[Annotated[int, Field(ge=0, lt=2**31)]],
        Field(
            min_length=2,
            max_length=20,
            description="seeds of the z to go through, one after another",
        ),
        _PICTURES,
    ] = [0, 1, 2, 3]
    frames: Annotated[
        int,
        Field(ge=2, le=1000, description="images from one to the next, both included"),
        _PICTURES,
    ] = 12
    path: Annotated[
        Literal["both", "lerp", "slerp"],
        Field(description="straight through z, along the sphere, or each"),
        _PICTURES,
    ] = "both"


class LatentOptions(GeneratorOptions):
    """Map latent vectors in two dimensions (PCA), with the images drawn at their places."""

    count: Annotated[int, Field(ge=10, le=20_000, description="how many z"), _PICTURES] = 1000
    drawn: Annotated[
        int,
        Field(ge=1, le=2000, description="how many of them as images, spread over the map"),
        _PICTURES,
    ] = 100


ACTIONS: dict[str, type[Options]] = {
    "compare": CompareOptions,
    "interpolate": InterpolateOptions,
    "latent": LatentOptions,
    "sample": SampleOptions,
    "train": GanOptions,
}
"""What ``advlab gan`` can do, by the word that is typed."""
