"""Options that several commands share: their types, ranges and help texts.

Defaults are set by the classes that use them.
"""

from __future__ import annotations

import functools
import os
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from advlab.components import component_names, load_component
from advlab.config.base import Flag, always
from advlab.config.radii import ACCEPTED, EachOnce, Fraction
from advlab.config.references import is_reference, names_code

_RUN = Flag(group="run")
_PLACE = Flag(group="run", grid=False, identity=False)
_DATA = Flag(group="data")
_TRAINING = Flag(group="training")
PERTURBATION = Flag(group="perturbation")
_DEFENCE = Flag(group="defence")
_AUGMENTATION = Flag(group="augmentation")


def _datasets() -> list[str]:
    return [
        "auto",
        *component_names("advlab.data.images"),
        *("folder:", "npz:", "parquet:", "hf:", "torchvision:"),
    ]


def _text_datasets() -> dict[str, str]:
    names = ("csv:", *component_names("advlab.data.texts"))
    return dict.fromkeys(names, ", which names texts; images are taken here")


def image_models() -> list[str]:
    """Names of the networks that take images, not texts."""
    return list(_models_of("images"))


def text_models() -> list[str]:
    """Names of the networks that read texts."""
    return list(_models_of("texts"))


@functools.cache
def _models_of(data: str) -> tuple[str, ...]:
    """Names of the networks that take such data."""
    known = component_names("advlab.models")
    return tuple(
        name
        for name in known
        if getattr(load_component("advlab.models", name, "model"), "TAKES", "images") == data
    )


# --- run ------------------------------------------------------------------------------------------
Seed = Annotated[int, Field(ge=0, lt=2**31, description="seed of all random numbers"), _RUN]
Seeds = Annotated[
    int,
    Field(
        ge=1,
        le=1000,
        description="number of seeds, counted up from --seed; each is a separate run",
    ),
    Flag(group="run", grid=False, identity=False),
]
Search = Annotated[
    int | None,
    Field(
        ge=2,
        le=1000,
        description=(
            "search: draw so many settings from the values of options and from ranges such "
            "as --lr 1e-4..1e-1, by orders of magnitude where the ends differ by a factor of 10, "
            "and name the best one without test data"
        ),
    ),
    Flag(group="run", grid=False, identity=False),
]
_STUDY = Flag(group="run", grid=False, identity=False)
Sampler = Annotated[
    Literal["random", "tpe"],
    Field(
        description=(
            "how a search draws its settings: random, or tpe, Optuna's tree-structured Parzen "
            "estimator, which learns from the runs that are finished"
        )
    ),
    _STUDY,
]
Pruner = Annotated[
    Literal["none", "median"],
    Field(
        description=(
            "median: a search ends a training early if its validation figure is below the median "
            "of the finished ones at the same epoch (Optuna's median pruner)"
        )
    ),
    _STUDY,
]
Storage = Annotated[
    str | None,
    Field(
        pattern=r"^[a-z][a-z0-9+_]*://\S+$",
        description=(
            "database in which a search keeps its study, such as sqlite:///studies.db; by default "
            "a file in the folder of the search"
        ),
    ),
    replace(
        _STUDY,
        form="the URL of a database, such as sqlite:///studies.db",
        code=lambda url: True,  # whoever answers there would draw the settings
        code_is="names a database to connect to",
    ),
]
# A shell replaces ~ in what is typed, and nobody does in a file.
_HOME = AfterValidator(os.path.expanduser)
Out = Annotated[str, Field(min_length=1, description="folder for all runs"), _HOME, _PLACE]
Name = Annotated[
    str | None,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._+=-]{0,150}$",
        description="name of the run's folder; by default made from the settings",
    ),
    replace(
        _PLACE,
        form=(
            "made of letters, digits and . _ + = -, start with a letter or digit, and have at "
            "most 151 characters"
        ),
    ),
]
Overwrite = Annotated[bool, Field(description="start over if a run of this name exists"), _PLACE]
Track = Annotated[
    Literal["tensorboard", "wandb", "mlflow", "trackio"] | None,
    Field(
        description=(
            "show the run in this tracker while it is under way; its files are in a folder of that "
            "name under --out"
        )
    ),
    _PLACE,
]
Resume = Annotated[
    bool, Field(description="continue an interrupted run of the same settings"), _PLACE
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
        ge=0,
        le=1024,
        description=("processor threads, 0 for all; results depend on it in their last bits"),
    ),
    Flag(group="run", grid=False),
]
Workers = Annotated[
    int,
    Field(
        ge=1,
        le=256,
        description=(
            "processes that share the work, each with its part of the processor's threads: the "
            "runs of a grid or, of a single run of attack or evaluate, the batches of images"
        ),
    ),
    Flag(group="run", grid=False, identity=False),
]
Cluster = Annotated[
    str | None,
    Field(
        pattern=r"^(tcp|tls)://[^\s/:]+:\d{1,5}$",
        description=(
            "Dask cluster whose workers share the work as the processes of workers do: "
            "tcp://HOST:PORT"
        ),
    ),
    Flag(
        group="run",
        grid=False,
        identity=False,
        form="the address of a Dask scheduler, such as tcp://host:8786",
        code=lambda address: True,  # what a cluster answers is unpickled
        code_is="names a cluster whose answers can run code",
    ),
]
Precision = Annotated[
    Literal["auto", "fp32", "bf16", "fp16"],
    Field(
        description=(
            "floating-point format of training and gradients; auto: bf16 where the processor "
            "multiplies it natively"
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
            "name of a data set, folder:PATH, npz:FILE, parquet:PATH, hf:NAME of the Hugging Face "
            "Hub, torchvision:NAME, or auto (MNIST if present, else digits)"
        ),
    ),
    Flag(
        group="data",
        words=_datasets,
        hints=_text_datasets,
    ),
]
DataDir = Annotated[
    str,
    Field(min_length=1, description="folder for data sets"),
    _HOME,
    Flag(group="data", grid=False, identity=False),
]
ImageSize = Annotated[
    int | None,
    Field(
        ge=8,
        le=512,
        description=(
            "side of the images in pixels, for folder:PATH, parquet:PATH, hf:NAME, flowers102 and "
            "torchvision:NAME (default 64; at most that of the first image for parquet and hf; for "
            "torchvision the images' own where all have one)"
        ),
    ),
    _DATA,
]
ImageColumn = Annotated[
    str | None,
    Field(min_length=1, description="parquet, hf: column of the images; by default detected"),
    _DATA,
]
LabelColumn = Annotated[
    str | None,
    Field(min_length=1, description="csv, parquet, hf: column of the labels; by default detected"),
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
    Field(ge=2, description="number of training images, drawn by class from the training split"),
    _DATA,
]
Limit = Annotated[int | None, Field(ge=1, description="use only the first N test images"), _DATA]

Timeout = Annotated[
    float,
    Field(gt=0, le=3600, description="seconds without data after which a connection is given up"),
    Flag(group="data", grid=False, identity=False),
]

# --- training -------------------------------------------------------------------------------------
Epochs = Annotated[
    int | None,
    Field(
        ge=1,
        le=100_000,
        description=(
            "passes over the training data; by default as many as suit the network, and more on "
            "small sets"
        ),
    ),
    _TRAINING,
]
BatchSize = Annotated[
    int,
    Field(ge=2, le=65_536, description="examples in a batch, at least two for batch normalisation"),
    _TRAINING,
]
LearningRate = Annotated[
    float,
    Field(gt=0, le=100, description="learning rate; the peak if the schedule has one"),
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
    Field(description="schedule of the learning rate"),
    _TRAINING,
]
StepEpochs = Annotated[
    int,
    Field(ge=1, description="schedule step: epochs between two reductions of the learning rate"),
    _TRAINING,
]
StepGamma = Annotated[
    float, Field(gt=0, le=1, description="schedule step: factor of each reduction"), _TRAINING
]
WeightDecay = Annotated[float, Field(ge=0, le=10, description="weight decay"), _TRAINING]
LabelSmoothing = Annotated[
    float,
    Field(
        ge=0,
        lt=1,
        description=("fraction of each label's probability that is spread over all classes"),
    ),
    _TRAINING,
]
ClipNorm = Annotated[
    float | None, Field(gt=0, description="clip gradients to this L2 norm"), _TRAINING
]
AverageDecay = Annotated[
    float,
    Field(
        ge=0,
        lt=1,
        description=(
            "decay per step of a running average of the weights, which is then the network; 0 "
            "for none"
        ),
    ),
    _TRAINING,
]
ClassWeights = Annotated[
    Literal["none", "balanced"],
    Field(
        description=(
            "weights of the classes in the training loss: balanced gives every class the same "
            "total weight, however many examples it has"
        )
    ),
    _TRAINING,
]
WordDropout = Annotated[
    float,
    Field(
        ge=0,
        lt=1,
        description="probability that a word of a training text is replaced by the unknown word",
    ),
    _AUGMENTATION,
]
WordSynonyms = Annotated[
    float,
    Field(
        ge=0,
        lt=1,
        description=(
            "probability that a word of a training text is replaced by one of its five nearest "
            "among the word vectors of --vectors, at a cosine of at least 0.5"
        ),
    ),
    _AUGMENTATION,
]
WordSwap = Annotated[
    float,
    Field(
        ge=0,
        le=1,
        description=(
            "pairs of words of a training text that change places, as a fraction of its words "
            "(arXiv:1901.11196)"
        ),
    ),
    _AUGMENTATION,
]
Patience = Annotated[
    int | None,
    Field(ge=1, description="stop after this many epochs without a better validation accuracy"),
    _TRAINING,
]
StartingWeights = Annotated[
    str | None,
    Field(
        min_length=1,
        description=(
            "checkpoint or folder of a run whose weights the training starts from, instead of "
            "random ones; for a network of a library or of your own code also a file of its state "
            "dict, .pt, .pth or .safetensors"
        ),
    ),
    Flag(group="training", grid=False, place=True, by_content=always),
]
Layers = Annotated[
    Literal["all", "last"],
    Field(
        description=(
            "layers that are trained; last: the last layer alone, on the fixed features before it"
        )
    ),
    _TRAINING,
]

# --- models ---------------------------------------------------------------------------------------
Dropout = Annotated[
    float,
    Field(ge=0, lt=1, description="fraction of hidden units dropped during training"),
    Flag(bare="0.5", group="network"),
]

# --- attacks --------------------------------------------------------------------------------------
Eps = Annotated[
    list[Annotated[float, Field(ge=0, le=1e6), Fraction]],
    Field(
        min_length=1,
        max_length=100,
        description=(
            "radius of the ball, in pixel units (pixels lie in [0, 1]), in L0 a number of pixels; "
            f"several values give a curve; {ACCEPTED}"
        ),
    ),
    EachOnce,
    PERTURBATION,
]
KeepBroken = Annotated[
    bool,
    Field(
        description=(
            "several radii: report for each image the smallest radius that breaks it; an image "
            "is then attacked at larger radii only until it breaks"
        )
    ),
    PERTURBATION,
]
SmallestEps = Annotated[
    bool,
    Field(
        description=(
            "a photo: search the smallest radius, in whole grey levels up to eps (default here "
            "8/255), at which the saved file reaches the goal with the confidence asked for"
        )
    ),
    PERTURBATION,
]
Norm = Annotated[
    Literal["linf", "l2", "l1"], Field(description="norm in which eps is measured"), PERTURBATION
]
NormOrL0 = Annotated[
    Literal["linf", "l2", "l1", "l0"],
    Field(description="norm in which eps is measured; l0 is the number of changed pixels"),
    PERTURBATION,
]
NormL0 = Annotated[
    Literal["l0"],
    Field(description="norm in which eps is measured: the number of changed pixels"),
    PERTURBATION,
]
NormLinfOrL2 = Annotated[
    Literal["linf", "l2"], Field(description="norm in which eps is measured"), PERTURBATION
]
NormLinf = Annotated[
    Literal["linf"], Field(description="norm in which eps is measured"), PERTURBATION
]
NormL1 = Annotated[Literal["l1"], Field(description="norm in which eps is measured"), PERTURBATION]
NormL2 = Annotated[Literal["l2"], Field(description="norm in which eps is measured"), PERTURBATION]
StepSize = Annotated[
    float | None,
    Field(
        gt=0,
        le=1e6,
        description=(
            "length of the first step, in the norm of eps; by default set from eps and steps; "
            f"{ACCEPTED}"
        ),
    ),
    Fraction,
    PERTURBATION,
]
Steps = Annotated[
    int, Field(ge=1, le=100_000, description="number of gradient steps"), PERTURBATION
]
Target = Annotated[
    str | None,
    Field(
        min_length=1,
        description=(
            "target class of every image: a number or name, each, next or least-likely; by "
            "default the attack is untargeted"
        ),
    ),
    PERTURBATION,
]
Quantize = Annotated[
    bool,
    Field(description="round the images to 8 bits within the ball, as a PNG file stores them"),
    PERTURBATION,
]
AttackLoss = Annotated[
    Literal["ce", "margin"],
    Field(
        description="loss that the attack increases: cross-entropy, or the margin between logits"
    ),
    PERTURBATION,
]
Confidence = Annotated[
    float | None,
    Field(
        ge=0,
        lt=1,
        description=(
            "go on until the target class, or untargeted another class, has this probability; 0: "
            "stop at the first success; default 0.95 for a photo, else 0"
        ),
    ),
    PERTURBATION,
]
SearchSteps = Annotated[
    int,
    Field(ge=1, le=100, description="weights of the margin that are tried, a descent each"),
    PERTURBATION,
]
Margin = Annotated[
    float,
    Field(
        ge=0,
        le=1e6,
        description="by how much another class's logit must exceed the label's (kappa)",
    ),
    PERTURBATION,
]
StepSchedule = Annotated[
    Literal["constant", "cosine"],
    Field(description="constant steps, or steps that shrink along half a cosine"),
    PERTURBATION,
]
StepMomentum = Annotated[
    float,
    Field(
        ge=0,
        le=10,
        description="decay of the accumulated gradient; 1 for MI-FGSM, 0 for none",
    ),
    PERTURBATION,
]
Diversity = Annotated[
    float,
    Field(
        ge=0,
        le=1,
        description=(
            "probability that a gradient is taken with the image shrunk by up to a tenth, at a "
            "random place on black (DI); 0 for never"
        ),
    ),
    Flag(bare="0.5", group="perturbation"),
]


def _odd(value: int) -> int:
    """The side of a kernel that has a middle."""
    if value % 2 == 0:
        raise PydanticCustomError("even_kernel", "must be an odd number")
    return value


TranslationKernel = Annotated[
    int,
    Field(
        ge=1,
        le=255,
        description=(
            "side in pixels, an odd number, of the Gaussian kernel that smooths the gradients "
            "(TI); 1 for none"
        ),
    ),
    AfterValidator(_odd),
    Flag(bare="15", group="perturbation"),
]
ScaleCopies = Annotated[
    int,
    Field(
        ge=1,
        le=30,
        description=(
            "copies of the image, each half as bright as the one before, that a gradient is the "
            "average over (SI); 1 for the image alone"
        ),
    ),
    Flag(bare="5", group="perturbation"),
]
Nesterov = Annotated[
    bool,
    Field(description="take each gradient where the momentum alone would lead (NI)"),
    PERTURBATION,
]
VarianceSamples = Annotated[
    int,
    Field(
        ge=0,
        le=10_000,
        description=(
            "random points around the image whose average gradient corrects the next step "
            "(variance tuning, VMI); 0 for none"
        ),
    ),
    Flag(bare="20", group="perturbation"),
]
RandomStart = Annotated[
    bool,
    Field(description="start from a random point of the ball instead of the image"),
    PERTURBATION,
]
Restarts = Annotated[
    int,
    Field(
        ge=1,
        le=10_000,
        description="number of random starts; images that are robust so far are attacked again",
    ),
    PERTURBATION,
]
GradientSamples = Annotated[
    int,
    Field(
        ge=1,
        le=10_000,
        description=(
            "passes through the network that each gradient is the average of (expectation over "
            "transformation); more than 1 for networks that are random"
        ),
    ),
    PERTURBATION,
]
SuiteGradientSamples = Annotated[
    int | None,
    Field(
        ge=1,
        le=10_000,
        description=(
            "passes through the network that each gradient is the average of (expectation over "
            "transformation); default 1, for AutoAttack's rand version 20"
        ),
    ),
    PERTURBATION,
]
Sparsity = Annotated[
    float,
    Field(
        gt=0,
        le=1,
        description=(
            "l1: fraction of the pixels, those with the largest gradients, that a step changes"
        ),
    ),
    PERTURBATION,
]
TargetClasses = Annotated[
    int | None,
    Field(
        ge=1,
        le=100_000,
        description=(
            "number of other classes attacked in turn, the most likely first; by default 9 (all "
            "with --nearest-class), or all if there are fewer"
        ),
    ),
    PERTURBATION,
]
NearestClass = Annotated[
    bool,
    Field(
        description=(
            "every step heads for the nearest of all other classes, at one gradient for each "
            "(FAB), instead of for one class after another (FAB-T)"
        )
    ),
    PERTURBATION,
]
Minimal = Annotated[
    bool,
    Field(
        description=(
            "search for the smallest perturbation instead of stopping at the first one within eps"
        )
    ),
    PERTURBATION,
]
Queries = Annotated[
    int,
    Field(ge=1, le=10_000_000, description="queries per image"),
    PERTURBATION,
]
Samples = Annotated[
    int,
    Field(
        ge=1,
        le=1_000_000,
        description="pairs of queries from which each gradient is estimated",
    ),
    PERTURBATION,
]
ScoreQueries = Annotated[
    int,
    Field(
        ge=1,
        le=10_000_000,
        description=("Square: queries per image, answered with logits"),
    ),
    PERTURBATION,
]
DecisionQueries = Annotated[
    int,
    Field(
        ge=1,
        le=10_000_000,
        description=("HopSkipJump: queries per image, answered with the predicted class"),
    ),
    PERTURBATION,
]
AttackBatch = Annotated[int, Field(ge=1, le=65_536, description="images attacked at a time"), _RUN]

# --- augmentation ---------------------------------------------------------------------------------
Degrees = Annotated[
    float,
    Field(ge=0, le=180, description="rotate by up to this many degrees in either direction"),
    _AUGMENTATION,
]
Translate = Annotated[
    float, Field(ge=0, lt=1, description="shift by up to this fraction of the side"), _AUGMENTATION
]
Scale = Annotated[
    float, Field(ge=0, lt=1, description="enlarge or shrink by up to this fraction"), _AUGMENTATION
]
Shear = Annotated[
    float, Field(ge=0, le=60, description="shear by up to this many degrees"), _AUGMENTATION
]
Crop = Annotated[
    int,
    Field(ge=0, le=64, description="pad by this many black pixels and crop at a random place"),
    _AUGMENTATION,
]
ResizedCrop = Annotated[
    float,
    Field(
        gt=0,
        le=1,
        description=(
            "crop a random box of at least this fraction of the area and resize it; 1 for none"
        ),
    ),
    _AUGMENTATION,
]
FlipVertical = Annotated[
    float,
    Field(ge=0, le=1, description="fraction of the images flipped vertically"),
    _AUGMENTATION,
]
Saturation = Annotated[
    float,
    Field(ge=0, le=1, description="change the saturation by up to this fraction (colour images)"),
    _AUGMENTATION,
]
Hue = Annotated[
    float,
    Field(
        ge=0,
        le=0.5,
        description="rotate the hue by up to this fraction of the circle (colour images)",
    ),
    _AUGMENTATION,
]
Grey = Annotated[
    float,
    Field(ge=0, le=1, description="fraction of the images converted to grey"),
    _AUGMENTATION,
]
Flip = Annotated[
    float,
    Field(ge=0, le=1, description="fraction of the images flipped horizontally"),
    _AUGMENTATION,
]
Elastic = Annotated[
    float,
    Field(ge=0, le=200, description="elastic deformation of up to this many pixels"),
    _AUGMENTATION,
]
Erase = Annotated[
    float,
    Field(
        ge=0,
        le=1,
        description=("fraction of the images in which a random rectangle is set to black"),
    ),
    _AUGMENTATION,
]
Noise = Annotated[
    float,
    Field(
        ge=0,
        le=1,
        description=(
            f"Gaussian noise of up to this standard deviation, in pixel units; {ACCEPTED}"
        ),
    ),
    Fraction,
    _AUGMENTATION,
]
Blur = Annotated[
    float,
    Field(ge=0, le=10, description="Gaussian blur of up to this many pixels"),
    _AUGMENTATION,
]
Brightness = Annotated[
    float,
    Field(ge=0, le=1, description="change the brightness by up to this fraction"),
    _AUGMENTATION,
]
Contrast = Annotated[
    float,
    Field(ge=0, le=1, description="change the contrast by up to this fraction"),
    _AUGMENTATION,
]

# --- defences -------------------------------------------------------------------------------------
DefendedModel = Annotated[
    str,
    Field(
        min_length=1,
        description=(
            "network to defend, whose own options may be given too: a network such as cnn; "
            "torchvision:NAME, timm:NAME, robustbench:NAME or your own code as "
            "FILE.py:FUNCTION or package.module:FUNCTION; a checkpoint or the folder of a run, to "
            "start from its weights"
        ),
    ),
    Flag(
        group="network",
        grid=False,
        words=image_models,
        accepts=is_reference,
        others=(
            "torchvision:NAME, timm:NAME, robustbench:NAME, FILE.py:FUNCTION, "
            "package.module:FUNCTION, a run"
        ),
        code=names_code,
        place=True,
    ),
]
Radius = Annotated[
    float,
    Field(
        gt=0,
        le=1e6,
        description=(
            "radius of training and of the comparison, in pixel units (pixels lie in [0, 1]); "
            f"{ACCEPTED}"
        ),
    ),
    Fraction,
    _DEFENCE,
]
WeightPerturbation = Annotated[
    float,
    Field(
        ge=0,
        le=1,
        description=(
            "adversarial weight perturbation (arXiv:2004.05884): how far weights move up the loss "
            "in each step, relative to the norm of each tensor; 0 for none, the paper takes .005"
        ),
    ),
    _DEFENCE,
]
PenaltyWeight = Annotated[
    float,
    Field(ge=0, le=1000, description="weight of the penalty on changed predictions"),
    _DEFENCE,
]
Warmup = Annotated[
    float,
    Field(ge=0, le=1, description="fraction of the training during which eps grows from 0"),
    _DEFENCE,
]
Verdict = Annotated[
    str | None,
    Field(
        description=(
            "suite of advlab evaluate that gives the verdict on the defended network after "
            "training: quick, standard or autoattack; default none"
        )
    ),
    _DEFENCE,
]
CheckImages = Annotated[
    int,
    Field(
        ge=0,
        description=(
            "validation images attacked by PGD after every epoch, to choose the best epoch; 0 "
            "for none"
        ),
    ),
    _DEFENCE,
]
CheckSteps = Annotated[int, Field(ge=1, le=10_000, description="steps of that PGD"), _DEFENCE]
OnOverfitting = Annotated[
    Literal["stop", "warn"],
    Field(
        description=(
            "what to do on catastrophic overfitting: robust accuracy under PGD collapses and "
            "under FGSM does not"
        )
    ),
    _DEFENCE,
]

# --- evaluation -----------------------------------------------------------------------------------
SuiteAttacks = Annotated[
    list[str] | None,
    Field(
        min_length=1, description="run only these attacks of the suite, by the names in its table"
    ),
    PERTURBATION,
]
Corruptions = Annotated[
    list[str] | None,
    Field(
        min_length=1,
        description="only these corruptions, such as fog; by default all that suit the images",
    ),
    Flag(group="corruptions", grid=False),
]
Severities = Annotated[
    list[Annotated[int, Field(ge=1, le=5)]],
    Field(min_length=1, description="severities of each corruption, from 1 to 5"),
    Flag(group="corruptions", grid=False),
]
Bpda = Annotated[
    bool,
    Field(
        description=(
            "BPDA: pass gradients straight through input filters; without it their gradients "
            "mislead the attacks"
        )
    ),
    PERTURBATION,
]
