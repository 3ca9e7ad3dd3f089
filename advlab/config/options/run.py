"""The options of each command, before a component (a model, an attack) adds its own and changes
defaults."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, get_args

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from advlab.config import fields as f
from advlab.config.base import Conditions, Options
from advlab.config.options import target_network
from advlab.config.options.text import not_beside_subwords
from advlab.config.radii import GREY_LEVELS, eps_text, norm_name
from advlab.config.robustbench import benchmark_of

LARGEST_SEARCHED = 8 / GREY_LEVELS
"""The largest radius of ``--smallest-eps`` where ``--eps`` does not say."""

DEFAULT_PIXELS = 10.0
"""How many pixels may change in L0 where ``--eps`` does not say."""


Sees = Literal["gradients", "logits", "predicted class", "nothing"]


class RunOptions(Options):
    """Options of every run."""

    seed: f.Seed = 0
    seeds: f.Seeds = 1
    device: f.Device = "auto"
    threads: f.Threads = 0
    workers: f.Workers = 1
    cluster: f.Cluster = None
    precision: f.Precision = "auto"
    out: f.Out = "samples"
    name: f.Name = None
    overwrite: f.Overwrite = False
    resume: f.Resume = True
    track: f.Track = None


class DataOptions(Options):
    """Options that choose a data set of images."""

    dataset: f.Dataset = "auto"
    data_dir: f.DataDir = "data"
    image_size: f.ImageSize = None
    image_column: f.ImageColumn = None
    label_column: f.LabelColumn = None
    split_seed: f.SplitSeed = 0


class TrainOptions(DataOptions, RunOptions):
    """Options of ``advlab train``. A model's file derives from it and sets its own defaults.

    Attributes:
        usual_epochs: epochs where none are given and the set is large.
        least_steps: where none are given and the set is small, epochs are added until there are
            this many steps.
    """

    usual_epochs: ClassVar[int] = 10
    least_steps: ClassVar[int] = 300
    goes_with: ClassVar[Conditions] = {
        "momentum": ("optimizer", ("sgd",)),
        "step_epochs": ("schedule", ("step",)),
        "step_gamma": ("schedule", ("step",)),
    }

    train_size: f.TrainSize = None
    epochs: f.Epochs = None
    batch_size: f.BatchSize = 256
    lr: f.LearningRate = 1e-3
    optimizer: f.Optimizer = "adam"
    momentum: f.Momentum = 0.9
    schedule: f.Schedule = "one-cycle"
    step_epochs: f.StepEpochs = 5
    step_gamma: f.StepGamma = 0.5
    weight_decay: f.WeightDecay = 0.0
    label_smoothing: f.LabelSmoothing = 0.0
    clip_norm: f.ClipNorm = None
    average_decay: f.AverageDecay = 0.0
    patience: f.Patience = None
    weights: f.StartingWeights = None
    layers: f.Layers = "all"


class TargetOptions(DataOptions, RunOptions):
    """Options that name a target network and the images that it is shown."""

    model: target_network.Model = "auto"
    checkpoint: target_network.Checkpoint = None
    factory: target_network.Factory = None
    weights: target_network.Weights = None
    classes: target_network.ClassNames = None
    output: target_network.Output = None
    mean: target_network.Mean = None
    std: target_network.Std = None
    resize: target_network.Resize = None
    crop: target_network.Crop = None

    @model_validator(mode="before")
    @classmethod
    def _as_its_benchmark(cls, values: Any) -> Any:
        """A network of RobustBench is judged on its data set, in its norm and radius where nothing
        else is given; a photo has no data set."""
        benchmark = benchmark_of(values.get("model")) if isinstance(values, dict) else {}
        if not benchmark:
            return values
        if (image := values.get("image")) is not None and not str(image).isdecimal():
            benchmark.pop("dataset", None)
        norm, eps = cls.model_fields.get("norm"), cls.model_fields.get("eps")
        norms = () if norm is None else get_args(norm.annotation)
        fits = values.get("norm", benchmark.get("norm")) == benchmark.get("norm")
        if eps is None or benchmark.get("norm") not in norms or not fits:
            benchmark = {key: one for key, one in benchmark.items() if key == "dataset"}
        else:
            several = isinstance(eps.default, list)
            benchmark["eps"] = [benchmark["eps"]] if several else benchmark["eps"]
        return {**benchmark, **values}


class LoadForModelOptions(TargetOptions):
    """Options of a data set that is loaded from Python for a network."""

    limit: f.Limit = None


class ImageAttackOptions(TargetOptions):
    """Options of every attack on images, whatever it may do to them.

    An attack within an Lp ball derives from ``AttackOptions``. One that may do anything else
    derives from this class, and its ``threat`` says what.

    Attributes:
        sees: what of the network the attack uses.
        checked_against: what its tests compare it with.
        instead_of_eps: of an attack in no ball, the options that limit it, in words.
    """

    sees: ClassVar[Sees] = "gradients"
    checked_against: ClassVar[str]
    instead_of_eps: ClassVar[str] = ""

    surrogate: target_network.Surrogate = None
    target: f.Target = None
    limit: f.Limit = None
    image: target_network.Image = None
    batch_size: f.AttackBatch = 250


class AttackOptions(ImageAttackOptions):
    """Options of every attack within an Lp ball of radius ε around each image. An attack's file
    derives from it and adds its own."""

    eps: f.Eps = [0.1]
    keep_broken: f.KeepBroken = False
    smallest_eps: f.SmallestEps = False
    quantize: f.Quantize = False

    @model_validator(mode="before")
    @classmethod
    def _largest_searched(cls, values: Any) -> Any:
        """A search without a radius goes up to 8/255; the default of other attacks is visible."""
        if isinstance(values, dict) and values.get("smallest_eps") is True:
            return {"eps": [LARGEST_SEARCHED], **values}
        return values

    @model_validator(mode="before")
    @classmethod
    def _pixels(cls, values: Any) -> Any:
        """A radius in L0 is a number of pixels: ten where none is given, and not a tenth."""
        norm = cls.model_fields.get("norm")
        usual = norm is None or norm.default == "l0"
        if isinstance(values, dict) and values.get("norm") == "l0" and not usual:
            return {"eps": [DEFAULT_PIXELS], **values}
        return values

    @model_validator(mode="after")
    def _several_to_keep(self) -> AttackOptions:
        """Refuse to keep what smaller radii broke where there is one radius."""
        if self.keep_broken and len(self.eps) == 1 and not self.smallest_eps:
            reason = "goes with several radii, such as --eps 0.1 0.2"
            raise PydanticCustomError(
                "keep_broken", "{reason}", {"option": "keep_broken", "reason": reason}
            )
        return self

    @model_validator(mode="after")
    def _searchable(self) -> AttackOptions:
        """Refuse a search for the smallest radius where there is nothing to search."""
        reason = self._no_search() if self.smallest_eps else None
        if reason is not None:
            raise PydanticCustomError(
                "smallest_eps", "{reason}", {"option": "smallest_eps", "reason": reason}
            )
        return self

    def _no_search(self) -> str | None:
        """Why there is no smallest radius to search; None where there is one."""
        if self.image is None or self.image.isdecimal():
            return "is for one photo; name its file, such as --image photo.jpg"
        if len(self.eps) > 1:
            return "takes one --eps, the largest radius of the search"
        if norm_of(self) != "linf":
            return (
                f"counts grey levels, the radii of L∞; the norm here is {norm_name(norm_of(self))}"
            )
        if self.keep_broken:
            return "each radius is an attack of its own; leave out --keep-broken"
        if self.eps[0] < 1 / GREY_LEVELS:
            return f"--eps {eps_text(self.eps[0])} is below 1/255, one grey level of the saved file"
        return None

    @property
    def minimum_norm(self) -> bool:
        """Whether the attack looks for the smallest perturbation, however large ε is."""
        return False


class MinimumNormOptions(AttackOptions):
    """Options of attacks that look for the smallest perturbation, however large ε is.

    Gradients are in float32 by default: such an attack is after the place of the decision boundary,
    and not just the way there.
    """

    precision: f.Precision = "fp32"

    @property
    def minimum_norm(self) -> bool:
        """True."""
        return True


class OneForAllOptions(ImageAttackOptions):
    """Options of attacks that make one thing on training images and put it on all others.

    Such an attack does not look at the images that it is judged on. It therefore has no ``perturb``
    and owes none of what that owes for each image; it has a ``made`` instead.
    """

    train_size: f.TrainSize = None

    @model_validator(mode="after")
    def _one_target(self) -> OneForAllOptions:
        """Refuse targets that depend on the image."""
        if self.target in ("each", "next", "least-likely"):
            raise PydanticCustomError(
                "one_target",
                "{reason}",
                {
                    "option": "target",
                    "reason": f"{self.target} is another class for each image; what is made for "
                    "all of them takes one class, by number or name",
                },
            )
        return self


class SharedPerturbationOptions(OneForAllOptions, AttackOptions):
    """Options of attacks that make one perturbation within an Lp ball for all images."""


def norm_of(options: AttackOptions) -> str:
    """The norm that eps is measured in: ``linf``, ``l2``, ``l1``, ``l0``, or ``l3`` and the
    like."""
    values = options.model_dump()
    return str(values["norm"]) if "norm" in values else f"l{values['p']:g}"


class SearchOptions(Options):
    """Options of commands whose runs can be chosen by a figure that no test data enter.

    Attributes:
        measuring: options that change what the figure is measured on or with. Figures that differ
            in them do not compare, so that a search cannot choose between them.
        lower_is_better: whether the lowest figure is the best one.
    """

    lower_is_better: ClassVar[bool] = False

    measuring: ClassVar[frozenset[str]] = frozenset(
        {
            "dataset",
            "split_seed",
            "image_size",
            "norm",
            "eps",
            "check_images",
            "check_steps",
            "images",
            "samples",
            "feature_classifier",
            "inception",
        }
    )

    search: f.Search = None
    sampler: f.Sampler = "random"
    storage: f.Storage = None

    def settled(self) -> dict[str, object]:
        """The values of a single run of the search, for the options that are about the search."""
        searching = ("search", "sampler", "storage", "pruner")
        fields = type(self).model_fields
        return {key: fields[key].default for key in searching if key in fields}

    @property
    def studies(self) -> bool:
        """Whether the search keeps a study of its trials, which a random one can do without."""
        return self.search is not None and any(
            getattr(self, key) != value for key, value in self.settled().items() if key != "search"
        )

    @model_validator(mode="after")
    def _only_with_a_search(self) -> SearchOptions:
        """Refuse what says how to search where nothing is searched."""
        for key, value in self.settled().items():
            if self.search is None and getattr(self, key) != value:
                raise PydanticCustomError(
                    "no_search",
                    "{reason}",
                    {"option": key, "reason": "goes with --search N, which is the number of runs"},
                )
        return self

    @model_validator(mode="after")
    def _something_to_choose_by(self) -> SearchOptions:
        """Refuse a search whose figure is switched off."""
        if self.search is not None and getattr(self, "check_images", None) == 0:
            raise PydanticCustomError(
                "nothing_to_choose_by",
                "{reason}",
                {
                    "option": "check_images",
                    "reason": "a search chooses by what is measured on these validation images; "
                    "give more than 0",
                },
            )
        return self


class PrunableOptions(SearchOptions):
    """Options of commands whose trainings report the figure that a search chooses by after every
    epoch, so that it can end some of them early."""

    pruner: f.Pruner = "none"

    @model_validator(mode="after")
    def _single_runs(self) -> PrunableOptions:
        """Refuse to prune means over seeds: half a mean compares with no other."""
        if self.pruner != "none" and getattr(self, "seeds", 1) > 1:
            raise PydanticCustomError(
                "prunes_means",
                "{reason}",
                {
                    "option": "pruner",
                    "reason": "compares single runs, epoch by epoch; leave --seeds out",
                },
            )
        return self


class AugmentOptions(Options):
    """Random transformations of training images. By default none is applied."""

    degrees: f.Degrees = 0.0
    translate: f.Translate = 0.0
    scale: f.Scale = 0.0
    shear: f.Shear = 0.0
    crop: f.Crop = 0
    resized_crop: f.ResizedCrop = 1.0
    flip: f.Flip = 0.0
    flip_vertical: f.FlipVertical = 0.0
    elastic: f.Elastic = 0.0
    blur: f.Blur = 0.0
    brightness: f.Brightness = 0.0
    contrast: f.Contrast = 0.0
    saturation: f.Saturation = 0.0
    hue: f.Hue = 0.0
    grey: f.Grey = 0.0
    noise: f.Noise = 0.0
    erase: f.Erase = 0.0


class TrainImagesOptions(PrunableOptions, AugmentOptions):
    """What ``advlab train`` adds to the options of a network of images."""

    class_weights: f.ClassWeights = "none"


class TrainTextsOptions(PrunableOptions):
    """What ``advlab train`` adds to the options of a network that reads texts."""

    class_weights: f.ClassWeights = "none"
    word_dropout: f.WordDropout = 0.0
    word_swap: f.WordSwap = 0.0
    word_synonyms: f.WordSynonyms = 0.0

    @model_validator(mode="after")
    def _near_in_something(self) -> TrainTextsOptions:
        """Refuse synonyms where there are no vectors in which words are near each other, and
        changes of whole words in texts of subwords."""
        for name in ("word_swap", "word_synonyms"):
            if getattr(self, name) and getattr(self, "subwords", 0):
                raise not_beside_subwords(name, "changes whole words")
        if self.word_synonyms and getattr(self, "vectors", None) is None:
            reason = "goes with --vectors, which tell words that are near each other"
            raise PydanticCustomError(
                "no_vectors", "{reason}", {"option": "word_synonyms", "reason": reason}
            )
        return self


class DefendOptions(Options):
    """Options of every defence, joined by those of the network that ``model`` names."""

    model: f.DefendedModel = "cnn"
    norm: f.Norm = "linf"
    eps: f.Radius = 0.1
    limit: f.Limit = None
    verdict: f.Verdict = None


class AdversarialOptions(PrunableOptions, DefendOptions):
    """Options of defences that train on perturbed images."""

    check_images: f.CheckImages = 1000
    check_steps: f.CheckSteps = 10
    on_overfitting: f.OnOverfitting = "stop"
    label_smoothing: f.LabelSmoothing = 0.0


class PgdTrainingOptions(AdversarialOptions):
    """Options of defences that train on what PGD finds."""

    steps: f.Steps = 7
    step_size: f.StepSize = None
    warmup: f.Warmup = 0.3
    awp: f.WeightPerturbation = 0.0


class EvaluateOptions(TargetOptions):
    """Options of a suite of attacks: the network, the norm and radii, and the attacks."""

    revision: ClassVar[int] = 3  # groups grow by what they win, and batches by the network

    surrogate: target_network.TransferFrom = None
    norm: f.Norm = "linf"
    eps: f.Eps = [0.1]
    attacks: f.SuiteAttacks = None
    eot: f.SuiteGradientSamples = None
    bpda: f.Bpda = True
    limit: f.Limit = None
    batch_size: f.AttackBatch = 250


class CorruptionOptions(TargetOptions):
    """Options of ``advlab evaluate corruptions``: the networks, the corruptions and the images."""

    reference: target_network.Reference = None
    corruptions: f.Corruptions = None
    severities: f.Severities = [1, 2, 3, 4, 5]
    limit: f.Limit = None


class DataCommandOptions(Options):
    """Options of ``advlab data``."""

    data_dir: f.DataDir = "data"
    out: f.Out = "samples"
    image_size: f.ImageSize = None
    split_seed: f.SplitSeed = 0
    timeout: f.Timeout = 20.0
    overwrite: f.Overwrite = False


class DemoOptions(Options):
    """Options of ``advlab demo``.

    One thread is the default, since the networks are so small that a second thread slows them.
    """

    seed: f.Seed = 0
    device: f.Device = "auto"
    threads: f.Threads = 1
    precision: f.Precision = "auto"
    out: f.Out = "samples"
    overwrite: f.Overwrite = False
