"""Every option that more than one command knows, once: its type, range and help. Classes elsewhere
give defaults."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from advlab.components import component_names, load_component
from advlab.config.base import Flag
from advlab.config.radii import ACCEPTED, EachOnce, Fraction

_RUN = Flag(group="run")
_PLACE = Flag(group="run", grid=False, identity=False)
_DATA = Flag(group="data")
_TRAINING = Flag(group="training")
_VICTIM = Flag(group="victim")
PERTURBATION = Flag(group="perturbation")
_DEFENCE = Flag(group="defence")
_AUGMENTATION = Flag(group="augmentation")


def _datasets() -> list[str]:
    return ["auto", *component_names("advlab.data.images"), "folder:"]


def image_models() -> list[str]:
    """Names of the networks that take images, not texts."""
    known = component_names("advlab.models")
    return [
        name
        for name in known
        if getattr(load_component("advlab.models", name, "model"), "TAKES", "images") == "images"
    ]


def target_models() -> list[str]:
    """What ``--model`` takes where it names a trained network."""
    return ["auto", *image_models()]


# --- run ------------------------------------------------------------------------------------------
Seed = Annotated[int, Field(ge=0, lt=2**31, description="seed of everything that is drawn"), _RUN]
Seeds = Annotated[
    int,
    Field(
        ge=1,
        le=1000,
        description="how many seeds, counted up from --seed; each is a run of its own",
    ),
    Flag(group="run", grid=False, identity=False),
]
Out = Annotated[str, Field(min_length=1, description="folder that runs are written under"), _PLACE]
Name = Annotated[
    str | None,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._+=-]{0,150}$",
        description="name of the run's folder; made from the settings where not given",
    ),
    replace(
        _PLACE,
        form=(
            "made of letters, digits and . _ + = -, start with a letter or digit, and have at "
            "most 151 characters"
        ),
    ),
]
Overwrite = Annotated[bool, Field(description="start over where a run of this name exists"), _PLACE]
Resume = Annotated[
    bool, Field(description="go on where an interrupted run of the same settings stopped"), _PLACE
]
Device = Annotated[
    str,
    Field(
        pattern=r"^(auto|cpu|mps|cuda(:\d{1,2})?)$", description="auto, cpu, cuda, cuda:N or mps"
    ),
    Flag(group="run", grid=False, form="auto, cpu, cuda, cuda:N or mps"),
]
Threads = Annotated[
    int,
    Field(
        ge=0, le=1024, description="processor threads, 0 for all; the bits of a run depend on it"
    ),
    Flag(group="run", grid=False),
]
Workers = Annotated[
    int,
    Field(
        ge=1,
        le=256,
        description="runs of a grid carried out side by side, each with its share of the processor",
    ),
    Flag(group="run", grid=False, identity=False),
]
Precision = Annotated[
    Literal["auto", "fp32", "bf16", "fp16"],
    Field(
        description=(
            "arithmetic of the heavy parts; auto takes bf16 where the processor multiplies it "
            "natively"
        )
    ),
    _RUN,
]

# --- data -----------------------------------------------------------------------------------------
Dataset = Annotated[
    str,
    Field(
        min_length=1,
        description=(
            "a data set's name, folder:PATH, or auto: MNIST where it can be had, else digits"
        ),
    ),
    Flag(group="data", words=_datasets),
]
DataDir = Annotated[
    str,
    Field(min_length=1, description="folder that data sets lie in"),
    Flag(group="data", grid=False, identity=False),
]
ImageSize = Annotated[
    int | None,
    Field(
        ge=8,
        le=512,
        description=(
            "side of the images of folder:PATH and flowers102, in pixels (64 where not given)"
        ),
    ),
    _DATA,
]
SplitSeed = Annotated[
    int,
    Field(
        ge=0, lt=2**31, description="seed of the split into training, validation and test images"
    ),
    _DATA,
]
TrainSize = Annotated[
    int | None,
    Field(
        ge=2, description="train on this many images only, drawn by class from the training split"
    ),
    _DATA,
]
Limit = Annotated[int | None, Field(ge=1, description="only the first N test images"), _DATA]

Timeout = Annotated[
    float,
    Field(gt=0, le=3600, description="seconds that a connection may stay silent"),
    Flag(group="data", grid=False, identity=False),
]

# --- training -------------------------------------------------------------------------------------
Epochs = Annotated[
    int | None,
    Field(
        ge=1,
        le=100_000,
        description=(
            "passes over the training images; where not given as many as suit the network, and "
            "more on small sets"
        ),
    ),
    _TRAINING,
]
BatchSize = Annotated[
    int,
    Field(ge=2, le=65_536, description="images in a batch; batch normalisation needs two at least"),
    _TRAINING,
]
LearningRate = Annotated[
    float,
    Field(gt=0, le=100, description="learning rate; the peak where the schedule has one"),
    _TRAINING,
]
Optimizer = Annotated[
    Literal["adam", "adamw", "sgd"],
    Field(description="adam, adamw, or sgd with momentum"),
    _TRAINING,
]
Momentum = Annotated[float, Field(ge=0, lt=1, description="momentum of sgd"), _TRAINING]
Schedule = Annotated[
    Literal["constant", "step", "cosine", "one-cycle"],
    Field(description="how the learning rate goes over the epochs"),
    _TRAINING,
]
StepEpochs = Annotated[
    int, Field(ge=1, description="schedule step: epochs between two cuts"), _TRAINING
]
StepGamma = Annotated[
    float, Field(gt=0, le=1, description="schedule step: factor of each cut"), _TRAINING
]
WeightDecay = Annotated[float, Field(ge=0, le=10, description="weight decay"), _TRAINING]
LabelSmoothing = Annotated[
    float,
    Field(ge=0, lt=1, description="fraction of the target spread over all classes"),
    _TRAINING,
]
ClipNorm = Annotated[
    float | None, Field(gt=0, description="cut gradients to this L2 norm"), _TRAINING
]
AverageDecay = Annotated[
    float,
    Field(
        ge=0,
        lt=1,
        description=(
            "decay per step of a running average of the weights, which is what is then kept; 0 "
            "for none"
        ),
    ),
    _TRAINING,
]
Patience = Annotated[
    int | None,
    Field(ge=1, description="stop after this many epochs without a better validation accuracy"),
    _TRAINING,
]

# --- models ---------------------------------------------------------------------------------------
Dropout = Annotated[
    float,
    Field(ge=0, lt=1, description="fraction of hidden units dropped while training"),
    Flag(bare="0.5", group="network"),
]

# --- attacks --------------------------------------------------------------------------------------
Eps = Annotated[
    list[Annotated[float, Field(ge=0, le=1e6), Fraction]],
    Field(
        min_length=1,
        max_length=100,
        description=(
            "radius of the ball, in pixel units (0 to 1 a pixel); several, each given once, "
            f"give the curve; {ACCEPTED}"
        ),
    ),
    EachOnce,
    PERTURBATION,
]
KeepBroken = Annotated[
    bool,
    Field(
        description=(
            "several radii: attack an image at larger ones only until it breaks, and keep it as "
            "it broke; images and "
            "sizes at a radius are then those of the smallest one that breaks each image, not "
            "those of an attack at that radius"
        )
    ),
    PERTURBATION,
]
Norm = Annotated[
    Literal["linf", "l2", "l1"], Field(description="norm that eps is measured in"), PERTURBATION
]
StepSize = Annotated[
    float | None,
    Field(
        gt=0,
        le=1e6,
        description=(
            "length of the first step, in the norm of eps; made from eps and steps where not "
            f"given; {ACCEPTED}"
        ),
    ),
    Fraction,
    PERTURBATION,
]
Steps = Annotated[int, Field(ge=1, le=100_000, description="gradient steps"), PERTURBATION]
Target = Annotated[
    str | None,
    Field(
        min_length=1,
        description=(
            "class to push towards: a number or name, each, next, or least-likely; away from the "
            "truth where not given"
        ),
    ),
    PERTURBATION,
]
Checkpoint = Annotated[
    str | None,
    Field(
        min_length=1,
        description=(
            "the victim: a checkpoint or a run's folder; the newest run of --model on the data "
            "set where not given"
        ),
    ),
    _VICTIM,
]
VictimModel = Annotated[
    str,
    Field(
        min_length=1,
        description=(
            "target model where no checkpoint is given: the newest finished training of this "
            "network on the data set; auto: of any network. Without one, it is trained first (cnn "
            "for auto)"
        ),
    ),
    Flag(group="victim", words=target_models),
]
Surrogate = Annotated[
    str | None,
    Field(
        min_length=1,
        description=(
            "make the images on this other checkpoint, then show them to the victim (black-box "
            "transfer)"
        ),
    ),
    _VICTIM,
]
Quantize = Annotated[
    bool,
    Field(description="round the images to 8 bits within the ball, as a saved PNG holds them"),
    PERTURBATION,
]
AttackLoss = Annotated[
    Literal["ce", "margin"],
    Field(description="what is climbed: cross-entropy, or the margin between logits"),
    PERTURBATION,
]
StepSchedule = Annotated[
    Literal["constant", "cosine"],
    Field(description="steps of one length, or shrinking to nothing along half a cosine"),
    PERTURBATION,
]
StepMomentum = Annotated[
    float,
    Field(
        ge=0,
        le=10,
        description="how much of the earlier gradients a step keeps; 1 for MI-FGSM, 0 for none",
    ),
    PERTURBATION,
]
RandomStart = Annotated[
    bool,
    Field(description="start from a random point of the ball, not from the image"),
    PERTURBATION,
]
Restarts = Annotated[
    int,
    Field(
        ge=1,
        le=10_000,
        description="tries with fresh random starts, for the images that withstood the ones before",
    ),
    PERTURBATION,
]
Sparsity = Annotated[
    float,
    Field(gt=0, le=1, description="L1: fraction of the pixels, the steepest, that a step moves"),
    PERTURBATION,
]
TargetClasses = Annotated[
    int | None,
    Field(
        ge=1,
        le=100_000,
        description=(
            "head for this many other classes in turn, the likeliest first; 9 or all there are "
            "where not given"
        ),
    ),
    PERTURBATION,
]
Minimal = Annotated[
    bool,
    Field(description="go on to the smallest perturbation, not just to one within eps"),
    PERTURBATION,
]
Queries = Annotated[
    int,
    Field(ge=1, le=10_000_000, description="questions put to the network for each image"),
    PERTURBATION,
]
ScoreQueries = Annotated[
    int,
    Field(
        ge=1,
        le=10_000_000,
        description=(
            "Square: questions put to the network for each image, which answers with its logits"
        ),
    ),
    PERTURBATION,
]
DecisionQueries = Annotated[
    int,
    Field(
        ge=1,
        le=10_000_000,
        description=(
            "HopSkipJump: questions put to the network for each image, which answers with a class"
        ),
    ),
    PERTURBATION,
]
AttackBatch = Annotated[int, Field(ge=1, le=65_536, description="images attacked at a time"), _RUN]

# --- augmentation ---------------------------------------------------------------------------------
Degrees = Annotated[
    float,
    Field(ge=0, le=180, description="turn by up to this many degrees either way"),
    _AUGMENTATION,
]
Translate = Annotated[
    float, Field(ge=0, lt=1, description="shift by up to this fraction of the sides"), _AUGMENTATION
]
Scale = Annotated[
    float, Field(ge=0, lt=1, description="enlarge or shrink by up to this fraction"), _AUGMENTATION
]
Shear = Annotated[
    float, Field(ge=0, le=60, description="slant by up to this many degrees"), _AUGMENTATION
]
Crop = Annotated[
    int,
    Field(
        ge=0, le=64, description="pad by this many black pixels, and crop back at a random place"
    ),
    _AUGMENTATION,
]
ResizedCrop = Annotated[
    float,
    Field(
        gt=0,
        le=1,
        description=(
            "crop to a random box of this fraction of the area or more, enlarged; 1 for none"
        ),
    ),
    _AUGMENTATION,
]
FlipVertical = Annotated[
    float,
    Field(ge=0, le=1, description="mirror this fraction of the images top to bottom"),
    _AUGMENTATION,
]
Saturation = Annotated[
    float,
    Field(ge=0, le=1, description="change saturation by up to this fraction (colour images)"),
    _AUGMENTATION,
]
Hue = Annotated[
    float,
    Field(
        ge=0,
        le=0.5,
        description="turn the hue by up to this fraction of the circle (colour images)",
    ),
    _AUGMENTATION,
]
Grey = Annotated[
    float,
    Field(ge=0, le=1, description="take the colours from this fraction of the images"),
    _AUGMENTATION,
]
Flip = Annotated[
    float,
    Field(ge=0, le=1, description="mirror this fraction of the images left to right"),
    _AUGMENTATION,
]
Elastic = Annotated[
    float,
    Field(ge=0, le=200, description="bend by random displacements of this strength, in pixels"),
    _AUGMENTATION,
]
Erase = Annotated[
    float,
    Field(ge=0, le=1, description="black out a random rectangle in this fraction of the images"),
    _AUGMENTATION,
]
Noise = Annotated[
    float,
    Field(
        ge=0,
        le=1,
        description=(
            f"add Gaussian noise of a standard deviation up to this, in pixel units; {ACCEPTED}"
        ),
    ),
    Fraction,
    _AUGMENTATION,
]
Blur = Annotated[
    float,
    Field(ge=0, le=10, description="smooth by a Gaussian of up to this many pixels"),
    _AUGMENTATION,
]
Brightness = Annotated[
    float, Field(ge=0, le=1, description="change brightness by up to this fraction"), _AUGMENTATION
]
Contrast = Annotated[
    float, Field(ge=0, le=1, description="change contrast by up to this fraction"), _AUGMENTATION
]

# --- defences -------------------------------------------------------------------------------------
DefendedModel = Annotated[
    str,
    Field(min_length=1, description="the network to defend; its own flags may be given too"),
    Flag(group="network", grid=False, words=image_models),
]
Radius = Annotated[
    float,
    Field(
        gt=0,
        le=1e6,
        description=(
            "radius of the ball to withstand, and to be judged at, in pixel units (0 to 1 a "
            f"pixel); {ACCEPTED}"
        ),
    ),
    Fraction,
    _DEFENCE,
]
Warmup = Annotated[
    float,
    Field(ge=0, le=1, description="fraction of the training over which eps grows from 0"),
    _DEFENCE,
]
CheckImages = Annotated[
    int,
    Field(
        ge=0,
        description=(
            "validation images that PGD attacks after every epoch, to choose the epoch by; 0 for "
            "none"
        ),
    ),
    _DEFENCE,
]
CheckSteps = Annotated[int, Field(ge=1, le=10_000, description="steps of that PGD"), _DEFENCE]
OnOverfitting = Annotated[
    Literal["stop", "warn"],
    Field(
        description=(
            "when robustness to PGD collapses while that to FGSM stays (catastrophic overfitting)"
        )
    ),
    _DEFENCE,
]

# --- evaluation -----------------------------------------------------------------------------------
Factory = Annotated[
    str | None,
    Field(
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
        description=(
            "your own network: package.module:function, which is imported, called, and returns a "
            "torch module"
        ),
    ),
    Flag(
        group="victim",
        grid=False,
        code=True,
        form="module:function or package.module:function, as in mine:make",
    ),
]
TransferFrom = Annotated[
    str | None,
    Field(
        min_length=1,
        description=(
            "the network that transferred images are made on; the newest other one on the data "
            "set where not given"
        ),
    ),
    _VICTIM,
]
SuiteAttacks = Annotated[
    list[str] | None,
    Field(min_length=1, description="only these attacks of the suite, by the names in its table"),
    PERTURBATION,
]
Bpda = Annotated[
    bool,
    Field(
        description=(
            "pass input filters backwards as if they were not there; without it their hidden "
            "gradients mislead"
        )
    ),
    PERTURBATION,
]
