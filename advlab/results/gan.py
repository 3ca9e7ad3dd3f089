"""Results of ``advlab gan``: training, images from a generator, comparisons."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from advlab.results.comparison import Difference, unlike
from advlab.runs.results import (
    Examples,
    Headline,
    NetworkRecord,
    Record,
    Result,
    SplitSizes,
)
from advlab.runs.table import counted

FID = Headline("fid", "FID", fraction=False, lower_is_better=True)


class SampleQuality(Record):
    """How images compare with real ones, by the features and class probabilities of a frozen
    classifier.

    Attributes:
        fid: Fréchet distance, 0 or more.
        kid: kernel distance; its estimate may fall a little below 0.
        kid_std: standard deviation of the kernel distance over random subsets; None where there is
            one subset only.
        precision: fraction of these images that lie within the reach of the real ones.
        recall: fraction of the real images that lie within the reach of these.
        inception_score: from 1 to the number of classes.
        fid_inception: Fréchet distance of Inception v3's features; None where its weights were not
            given.
    """

    fid: float = Field(ge=0)
    kid: float
    kid_std: float | None
    precision: float
    recall: float
    inception_score: float
    fid_inception: float | None = None


class GeneratorQuality(SampleQuality):
    """What a generator's images are worth.

    Attributes:
        modes: classes that get at least a tenth of their fraction among real images.
        modes_touched: classes that get any image at all.
        real_modes: classes that real images are taken for.
        imbalance: the largest deviation of a class's fraction from its real one, relative to that.
        kl: divergence of the generated classes from the real ones, in nats.
    """

    modes: int
    modes_touched: int
    real_modes: int
    imbalance: float
    kl: float


class MeasuredImages(Record):
    """How many images the figures were taken from.

    Attributes:
        reference: real images that both others are compared with.
        generated: images of the generator.
        held_out: real images that are compared in their place.
        generated_for_modes: images of the generator whose classes were counted.
    """

    reference: int
    generated: int
    held_out: int
    generated_for_modes: int


class Indicator(Record):
    """An indicator of collapse: its name, a description, and the epoch in which it was first
    seen."""

    epoch: int
    name: str
    words: str


class NetworkSizes(Record):
    """Trainable numbers of both networks."""

    generator: int
    discriminator: int


class GanTrainResult(GeneratorQuality, Result):
    """A trained generator.

    Attributes:
        adversarial_loss: what the two networks were trained on, as ``--loss`` names it.
        zdim: length of the latent vector.
        real_reference: the same figures of real images that were held out, which a perfect
            generator would reach.
        measured_images: how many images were compared.
        classifier: the network whose features and classes the figures are of.
        classifier_val_accuracy: its accuracy on validation images, a fraction; None where its file
            does not say.
        inception_sha256: hash of Inception v3's weights; None where they were not given.
            generated_class_fractions, real_class_fractions: the fraction of the images that the
            classifier takes for each class.
        collapsed: whether the generator had collapsed in the epoch that was kept. Where training
            was stopped for a collapse, that epoch lies before it, if there is one.
        indicators: what the collapse monitor found.
        stopped: why training ended early; None where it did not.
        epochs: that were trained.
        checkpoint_epoch: the epoch that the checkpoint is of.
        steps: of the discriminator.
        images_per_second: median over the epochs.
        examples: how many images were trained on, and how many were held out for testing.
        split: whether the training split or all images were trained on.
        network_parameters: trainable numbers of both networks; ``parameters`` are the generator's.
            checkpoint, checkpoint_sha256: the file of both networks, and its hash.
    """

    headline: ClassVar[Headline] = FID

    kind: Literal["gan-train"] = "gan-train"
    adversarial_loss: str
    zdim: int
    real_reference: SampleQuality
    measured_images: MeasuredImages
    classifier: NetworkRecord
    classifier_val_accuracy: float | None
    inception_sha256: str | None = None
    generated_class_fractions: list[float]
    real_class_fractions: list[float]
    collapsed: bool
    indicators: list[Indicator]
    stopped: str | None
    epochs: int
    checkpoint_epoch: int
    steps: int
    images_per_second: float
    examples: SplitSizes
    split: Literal["train", "all"]
    network_parameters: NetworkSizes
    checkpoint: str
    checkpoint_sha256: str

    def chosen_by(self) -> Headline:
        """FID: the images that generated ones are compared with were trained on."""
        return FID

    def doubt(self) -> str:
        """Whether the generator had collapsed."""
        return "COLLAPSED" if self.collapsed else ""

    def context(self) -> str:
        """The features and the number of images that the headline holds for."""
        judge = self.classifier
        return (
            f"on the features of {judge.model} {judge.sha256[:12]}, "
            f"{self.measured_images.generated:,} images"
        )

    def measured_on(self) -> Examples:
        """The real images that generated ones are compared with."""
        count = counted(self.measured_images.reference, "real image")
        which = "of all splits" if self.split == "all" else "of the training split"
        return Examples(f"{count} {which}", f"{count} {which}")


class FromGenerator(Record):
    """What was made from a trained generator.

    Attributes:
        generator: the network that made the images.
        weights: the running average of its weights, or the last ones.
        classifier: the network that told the images' classes apart; None where none was asked.
    """

    generator: NetworkRecord
    weights: Literal["average", "last"]
    classifier: NetworkRecord | None = None


class GanSampleResult(FromGenerator, Result):
    """Images of a generator.

    Attributes:
        requested: how many were asked for.
        count: how many there are.
        generated: how many were generated until there were enough of the class.
        of_class: the class by its name, ``each`` for all of them, None for whatever came.
        missing: classes, of all that were asked for, that the generator makes no image of.
        counts: of every class, how many images there are, in the order in which they are stored;
            empty where not all were asked for, and in results of earlier versions.
    """

    kind: Literal["gan-sample"] = "gan-sample"
    requested: int
    count: int
    generated: int
    of_class: str | None
    missing: list[str] = []
    counts: dict[str, int] = {}

    def summary(self) -> str:
        """How many images, and of what."""
        if self.counts:
            present = sum(count > 0 for count in self.counts.values())
            of = f"of {present} of {len(self.counts)} classes"
            return f"{self.count:,} of {self.requested:,} images, {of}"
        which = "" if self.of_class is None else f" of class {self.of_class}"
        return f"{counted(self.count, 'image')}{which}"


class GanInterpolateResult(FromGenerator, Result):
    """Images on the way from one latent vector to another.

    Attributes:
        endpoints: seeds of the latent vectors, one after another.
        frames: images from one to the next, both included.
        paths: ``lerp`` for the straight line, ``slerp`` for the arc.
    """

    kind: Literal["gan-interpolate"] = "gan-interpolate"
    endpoints: list[int]
    frames: int
    paths: list[Literal["lerp", "slerp"]]

    def summary(self) -> str:
        """From where to where."""
        return f"{' and '.join(self.paths)} through {len(self.endpoints)} latent vectors"


class ExplainedVariance(Record):
    """The fraction of the variance in each of the two directions of a map.

    Attributes:
        z: of the latent vectors.
        features: of what the classifier's last hidden layer says of their images; None without a
            classifier.
    """

    z: tuple[float, float]
    features: tuple[float, float] | None = None


class GanLatentResult(FromGenerator, Result):
    """A map of the latent space: how many vectors, and how much of them it shows."""

    kind: Literal["gan-latent"] = "gan-latent"
    count: int
    explained_variance: ExplainedVariance

    def summary(self) -> str:
        """How many latent vectors."""
        return f"a map of {self.count:,} latent vectors"


class ComparedGenerator(Record):
    """One of several trained generators.

    Attributes:
        setting: what tells it from the others.
        folder: of its run.
        quality: its figures.
        sha256: hash of its file.
        doubt: why its figures are not to be taken at their word; empty where nothing speaks against
            them, and in results of earlier versions.
    """

    setting: str
    folder: str
    quality: GeneratorQuality
    sha256: str
    doubt: str = ""


class GanCompareResult(Result):
    """Several trained generators beside each other.

    Attributes:
        differ: what the runs do not share, so that their figures do not compare; empty in results
            of earlier versions.
    """

    kind: Literal["gan-compare"] = "gan-compare"
    runs: list[ComparedGenerator] = Field(min_length=2)
    differ: list[Difference] = []

    def doubt(self) -> str:
        """Of which generators a figure is doubted."""
        doubted = [run.setting for run in self.runs if run.doubt]
        return f"DOUBTED: {', '.join(doubted)}" if doubted else ""

    def summary(self) -> str:
        """The lowest FID; the lowest and highest where they do not compare. What is doubted is
        named."""
        return "; ".join(filter(None, [self._best(), self.doubt()]))

    def _best(self) -> str:
        best, *_, worst = sorted(self.runs, key=lambda run: run.quality.fid)
        lowest = f"{FID.words} {FID.text(best.quality.fid)}"
        if self.differ:
            return f"{lowest} to {FID.text(worst.quality.fid)} {unlike(self.differ)}"
        return f"{lowest}, the lowest of {len(self.runs)} runs ({best.setting})"
