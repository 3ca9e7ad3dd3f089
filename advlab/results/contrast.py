"""Results of ``advlab contrast``."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from advlab.runs.results import Headline, Record, Result, SplitSizes


class FeatureAccuracies(Record):
    """What frozen features are worth on test images.

    Attributes:
        knn_accuracy: fraction of the images whose class the nearest training images vote for.
        probe_accuracy: fraction that a linear probe on the features gets right.
        probe_penalty: weight of the probe's L2 penalty, chosen on validation images.
        silhouette: mean silhouette of the classes by cosine distance, in [-1, 1]; None where there
            are fewer than two classes, or no class has two images.
        cluster_agreement: normalised mutual information of the classes and as many clusters of
            k-means, in [0, 1]; None where there are too few classes or images.
    """

    knn_accuracy: float
    probe_accuracy: float
    probe_penalty: float
    silhouette: float | None = Field(default=None, ge=-1, le=1)
    cluster_agreement: float | None = None


class SupervisedBaseline(FeatureAccuracies):
    """The same encoder, trained with labels.

    Attributes:
        accuracy: fraction of the test images that its own last layer gets right.
        seconds: that its training took.
    """

    accuracy: float
    seconds: float = Field(ge=0)


class PixelBaseline(Record):
    """Nearest neighbours among the images themselves.

    Attributes:
        knn_accuracy: fraction of the test images whose class they vote for.
        neighbours_among: how many training images they were looked for among.
    """

    knn_accuracy: float
    neighbours_among: int


class ViewRecord(Record):
    """What views were drawn with.

    Attributes:
        crop: smallest fraction of an image that a view shows.
        flip, grey, blur: fractions of the views that are mirrored, without colours, smoothed.
        degrees: largest turn.
        jitter: strength of the changes of colour, from 0 to 1.
    """

    crop: float
    flip: float
    degrees: float
    jitter: float
    grey: float
    blur: float


class FewLabels(Record):
    """Training on a fraction of the labels, from the trained encoder and from scratch.

    Attributes:
        fraction: of the training labels, in (0, 1].
        images: how many labelled images that is, drawn by class.
        epochs: of each training; the best one on validation images counts.
        fine_tuned_accuracy: on test images, of the network that starts from the trained encoder.
        scratch_accuracy: on test images, of the same network with the encoder's first weights.
        seconds: that both trainings took.
    """

    fraction: float = Field(gt=0, le=1)
    images: int
    epochs: int
    fine_tuned_accuracy: float
    scratch_accuracy: float
    seconds: float = Field(ge=0)


class ContrastResult(FeatureAccuracies, Result):
    """An encoder trained without labels, beside what it is compared with.

    Attributes:
        weights: file, library's network or code whose weights the training started from; None where
            they were random.
        width: of the encoder, which ``model`` names; None for a classifier without its last layer.
        projection: widths of the projection head's layers.
        val_knn_accuracy: k-NN accuracy on validation images; None in results of earlier versions.
        neighbours: how many training images vote.
        untrained: the encoder with its first weights, its batch normalisation settled on views as
            the trained one's is.
        untrained_raw: the encoder with its first weights, as it was made.
        pixels: no encoder at all.
        supervised: the encoder trained with labels; None where it was not asked for.
        few_labels: trainings on fractions of the labels, in the order of ``--label-fractions``.
        cosine_same_class, cosine_other_class: mean cosine of test images' features with others of
            their class and of other classes; None where there are none.
        contrastive_loss: NT-Xent, with a queue InfoNCE, mean of the last epoch.
        first_contrastive_loss: of the first batch.
        contrastive_loss_bound: below which it cannot go.
        contrastive_loss_uninformed: what it is where nothing is known.
        matched_fraction: of the views of the last epoch that found their partner.
        temperature: that cosines are divided by.
        batch_size: images in a batch, two views of each.
        accumulate: batches in a step.
        queue: keys that a view is compared with (MoCo); 0 for SimCLR.
        momentum: of the encoder that makes the keys; None without a queue.
        epochs: that were trained.
        batches: that were trained on.
        images_per_second: median over the epochs.
        views_time_fraction: fraction of the time that making views took, median over the epochs.
        views: how views were drawn.
        examples: how many were trained on, validated on and tested on.
        encoder_sha256_before, encoder_sha256_after: hash of the encoder's parameters before and
            after the evaluation.
        checkpoint, checkpoint_sha256: the file of encoder and projection head, and its hash.
    """

    headline: ClassVar[Headline] = Headline("knn_accuracy", "k-NN accuracy")

    kind: Literal["contrast"] = "contrast"
    val_knn_accuracy: float | None = None
    weights: str | None = None
    width: int | None
    projection: list[int]
    neighbours: int
    untrained: FeatureAccuracies
    untrained_raw: FeatureAccuracies
    pixels: PixelBaseline
    supervised: SupervisedBaseline | None
    few_labels: list[FewLabels] = Field(default_factory=list)
    cosine_same_class: float | None
    cosine_other_class: float | None
    contrastive_loss: float
    first_contrastive_loss: float
    contrastive_loss_bound: float
    contrastive_loss_uninformed: float
    matched_fraction: float
    temperature: float
    batch_size: int
    accumulate: int
    queue: int = 0
    momentum: float | None = None
    epochs: int
    batches: int
    images_per_second: float
    views_time_fraction: float
    views: ViewRecord
    examples: SplitSizes
    encoder_sha256_before: str
    encoder_sha256_after: str
    checkpoint: str
    checkpoint_sha256: str

    def chosen_by(self) -> Headline | None:
        """k-NN accuracy on validation images; None in results of earlier versions."""
        if self.val_knn_accuracy is None:
            return None
        return Headline("val_knn_accuracy", "validation k-NN accuracy")

    @property
    def before(self) -> str:
        """What the encoder with its first weights is called."""
        return "untrained" if self.weights is None else f"before {self.method}"

    @property
    def method(self) -> str:
        """What the training is called."""
        return "MoCo" if self.queue else "SimCLR"

    @property
    def loss(self) -> str:
        """What its loss is called."""
        return "InfoNCE" if self.queue else "NT-Xent"

    def context(self) -> str:
        """How many neighbours the headline holds for."""
        return f"with {self.neighbours} neighbour{'' if self.neighbours == 1 else 's'}"
