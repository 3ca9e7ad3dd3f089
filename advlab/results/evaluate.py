"""Results of ``advlab evaluate``: of suites of attacks, of corruptions, and of detectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field, JsonValue

from advlab.config.radii import norm_name
from advlab.results.attack import ball
from advlab.results.smoothing import AVERAGE_RADIUS, smoothed, votes
from advlab.runs.results import (
    CertifiedNetwork,
    Examples,
    Headline,
    NetworkRecord,
    Record,
    Result,
    RobustnessCurve,
    images_from,
    not_believed,
)
from advlab.runs.table import percent


class RobustPoint(Record):
    """Robust accuracy, a fraction, at one ε: of all images, those that no attack broke within
    it."""

    eps: float
    robust_accuracy: float


class SuiteAttack(Record):
    """One attack of the suite at one ε, on the images that no attack before it had broken.

    Attributes:
        eps: radius, in pixel units of the norm.
        attack: its name in the suite.
        knowledge: ``white`` with gradients of the network itself, ``black`` without them,
            ``control`` for noise.
        attacked: how many images it attacked: all that were still robust, or those of them which
            were nearest to being broken.
        broken: how many of them it broke.
        robust_accuracy: fraction of all images that are robust after it.
        seconds: that it took; where several processes shared the images, the sum of theirs.
        settings: options that differ from the attack's own defaults.
        gradients: how many gradients it asked for, one per image and step; 0 in results of earlier
            versions.
        missing_gradients: how often an image had no gradient; the attack then stood still.
        non_finite_gradients: how often a gradient held NaN or infinity, which were set to zero.
        zero_gradients: how often a gradient was zero in every pixel; the attack then stood still.
    """

    eps: float
    attack: str
    knowledge: Literal["control", "white", "black"]
    attacked: int
    broken: int
    robust_accuracy: float
    seconds: float
    settings: dict[str, JsonValue]
    gradients: int = 0
    missing_gradients: int = 0
    non_finite_gradients: int = 0
    zero_gradients: int = 0

    def robust_before(self, images: int) -> int:
        """How many of all ``images`` were still robust before it."""
        return round(self.robust_accuracy * images) + self.broken

    def on_fewer(self, images: int) -> bool:
        """Whether it was run on fewer of all ``images`` than were robust."""
        return self.attacked < self.robust_before(images)

    def left_alone(self, images: int) -> bool:
        """Whether it was not run on any of all ``images`` though some were robust."""
        return self.attacked == 0 and self.on_fewer(images)


class EvaluateResult(Result):
    """A suite of attacks on one network: the worst case for each image.

    Attributes:
        variant: the version of the suite; None where it has one only, and in results of earlier
            versions.
        norm: ``linf``, ``l2`` or ``l1``.
        eps: every radius, ascending.
        images: how many were evaluated.
        classes: how many there are.
        clean_accuracy: fraction that is classified correctly unattacked.
        robust_accuracy: at the largest ε.
        broken_at: that an image counts as broken at ε where a smaller ε broke it.
        points: at every ε.
        checks_failed: why the figure is not to be believed, a sentence by the name of each failed
            check.
        believable: whether no check failed.
        attacks: every attack at every ε, in the order in which they ran.
        left_out: why attacks of the suite were not run, by name.
        bpda: whether input filters were passed backwards.
        network: the network that was evaluated.
        surrogate: the network that transferred images were made on; None where none were.
    """

    headline: ClassVar[Headline] = Headline("robust_accuracy", "robust accuracy", over="images")

    kind: Literal["evaluate"] = "evaluate"
    variant: str | None = None
    norm: str
    eps: list[float] = Field(min_length=1)
    images: int
    classes: int
    clean_accuracy: float
    robust_accuracy: float
    broken_at: Literal["eps or less"] = "eps or less"
    points: list[RobustPoint] = Field(min_length=1)
    checks_failed: dict[str, str]
    believable: bool
    attacks: list[SuiteAttack]
    left_out: dict[str, str]
    bpda: bool
    network: NetworkRecord
    surrogate: NetworkRecord | None

    def at_largest_eps(self) -> list[SuiteAttack]:
        """The attacks at the largest ε, in the order in which they ran."""
        return [row for row in self.attacks if row.eps == self.eps[-1]]

    def context(self) -> str:
        """The ball that the headline holds for."""
        return ball(self.eps[-1], self.norm)

    def threat_model(self) -> str:
        """The kind of ball."""
        return f"{norm_name(self.norm)} ball"

    def measured_on(self) -> Examples:
        """The images that were evaluated."""
        return images_from(0, self.images)

    def doubt(self) -> str:
        """The checks that failed."""
        return "" if self.believable else f"NOT TO BE BELIEVED ({', '.join(self.checks_failed)})"

    def summary(self) -> str:
        """The headline, said to be an upper bound."""
        assert self.headline is not None
        held = ", ".join(filter(None, [self.context(), f"{self.component} suite", self.doubt()]))
        return f"{self.headline.words} ≤ {self.headline.text(self.robust_accuracy)} {held}"

    def robustness_curve(self) -> RobustnessCurve:
        """Robust accuracy by ε."""
        points = [(point.eps, point.robust_accuracy) for point in self.points]
        return RobustnessCurve(self.norm, self.classes, points, within=True)


_FEW = 3  # corruptions that a sentence names; more of them are counted


def _severities(severities: Sequence[int]) -> str:
    """Ascending severities in words, such as ``severities 1 to 5``."""
    first, last = severities[0], severities[-1]
    if len(severities) == 1:
        return f"severity {first}"
    if len(severities) == last - first + 1:
        return f"severities {first} to {last}"
    return f"severities {', '.join(map(str, severities))}"


class CorruptedPoint(Record):
    """Accuracy on the images under one corruption at one severity.

    Attributes:
        corruption: its name.
        severity: from 1 to 5.
        accuracy: fraction that is classified correctly.
        low: lower limit of its exact 95 % interval (Clopper and Pearson).
        high: upper limit of it.
        reference_accuracy: the accuracy of the reference network; None where there is none.
    """

    corruption: str
    severity: int = Field(ge=1, le=5)
    accuracy: float
    low: float
    high: float
    reference_accuracy: float | None = None


class CorruptionError(Record):
    """The error under one corruption, over its severities.

    Attributes:
        corruption: its name.
        group: what it belongs to, such as noise.
        error: mean over the severities of the fraction that is misclassified.
        relative_error: that over the same of the reference network (the paper's CE); None where
            there is no reference, or where it makes no error.
    """

    corruption: str
    group: str
    error: float
    relative_error: float | None = None


class CorruptionResult(Result):
    """One network under common corruptions, without an adversary.

    The headline is the mean corruption error: the mean over corruptions of the mean error over
    severities, not divided by that of another network; with a reference, the paper's mCE.

    Attributes:
        images: how many were corrupted.
        image_sort: whose corruptions they are: ``natural images`` or ``digits``.
        classes: how many there are.
        clean_accuracy: fraction of the uncorrupted images that is classified correctly.
        mean_corruption_error: as above, a fraction in [0, 1].
        relative_mce: mean over corruptions of the relative errors, 1 where the network is as good
            as the reference; None without one, or where it makes no error under some corruption.
        severities: those that were measured, ascending.
        corruptions: the error under each.
        points: the accuracy under each corruption at each severity.
        network: the network that was evaluated.
        reference: the network whose errors divide; None where there is none.
        reference_clean_accuracy: its accuracy on the uncorrupted images.
        checks_failed: why the figures are doubted, a sentence by the name of each check.
    """

    headline: ClassVar[Headline] = Headline(
        "mean_corruption_error", "mean corruption error (unnormalised)", lower_is_better=True
    )

    kind: Literal["corruptions"] = "corruptions"
    images: int
    image_sort: Literal["natural images", "digits"]
    classes: int
    clean_accuracy: float
    mean_corruption_error: float
    relative_mce: float | None
    severities: list[int] = Field(min_length=1)
    corruptions: list[CorruptionError] = Field(min_length=1)
    points: list[CorruptedPoint] = Field(min_length=1)
    network: NetworkRecord
    reference: NetworkRecord | None
    reference_clean_accuracy: float | None
    checks_failed: dict[str, str] = {}

    def doubt(self) -> str:
        """The checks that failed."""
        return not_believed(self.checks_failed)

    def headline_of(self) -> Headline:
        """The mCE relative to the reference where there is one, else the mean error itself."""
        if self.relative_mce is None:
            return self.headline
        return Headline("relative_mce", "mCE relative to the reference", lower_is_better=True)

    def context(self) -> str:
        """The corruptions, by name where they are few, and their severities."""
        names = [one.corruption for one in self.corruptions]
        kinds = ", ".join(names) if len(names) <= _FEW else f"{len(names)} corruptions"
        context = f"over {kinds} of {self.image_sort} at {_severities(self.severities)}"
        if self.relative_mce is None or self.reference is None:
            return context
        return f"{context}, relative to {self.reference.model} {self.reference.sha256[:12]}"

    def measured_on(self) -> Examples:
        """The images as they were corrupted, where the context does not say how."""
        images = images_from(0, self.images)
        if len(self.corruptions) <= _FEW:
            return images
        names = sorted(one.corruption for one in self.corruptions)
        kinds = f"{', '.join(names)} at {_severities(self.severities)}"
        return Examples(f"{images.words} under {kinds}", f"{images.which} under {kinds}")

    def summary(self) -> str:
        """The headline with its context, and the clean error."""
        return f"{super().summary()}, clean error {percent(1 - self.clean_accuracy)}"


class CertifiedRadius(Record):
    """Certified accuracy at an L2 radius: the fraction of the images that are classified correctly
    and certified to it, with the exact 95 % confidence interval over the choice of images."""

    radius: float
    accuracy: float
    low: float
    high: float


class CertificationResult(Result):
    """A network smoothed by Gaussian noise, and the L2 radii that it is certified to.

    Cohen, Rosenfeld and Kolter 2019, arXiv:1902.02918.

    Attributes:
        sigma: standard deviation of the noise, in pixel units.
        samples: noisy copies of an image that vote.
        select: noisy copies from which its class is chosen.
        alpha: probability that a certificate is wrong, for each image.
        images: how many were certified, the first ones of the test set.
        classes: how many there are.
        clean_accuracy: of the network without noise, on the same images.
        certified_accuracy: of the smoothed network: at radius 0, images without an answer counted
            as misclassified.
        average_radius: mean of the certified radii, 0 where an image is misclassified or without
            an answer (arXiv:2001.02378).
        abstained: images without an answer.
        without_vote: the fraction of noisy copies whose logits are NaN, infinite or tied.
        points: certified accuracy by radius.
        network: the network.
        checks_failed: why the figures are doubted, a sentence by the name of each check.
    """

    headline: ClassVar[Headline] = Headline("average_radius", AVERAGE_RADIUS, fraction=False)

    kind: Literal["certification"] = "certification"
    sigma: float
    samples: int
    select: int
    alpha: float
    images: int
    classes: int
    clean_accuracy: float
    certified_accuracy: float
    average_radius: float
    abstained: int
    without_vote: float
    points: list[CertifiedRadius] = Field(min_length=1)
    network: NetworkRecord
    checks_failed: dict[str, str] = {}

    def doubt(self) -> str:
        """The checks that failed."""
        return not_believed(self.checks_failed)

    def context(self) -> str:
        """The noise, and the chance of an error."""
        return smoothed(self.sigma, self.samples, self.alpha)

    def compared_under(self) -> str:
        """How much a certificate rests on; which noise is best is what comparisons are about."""
        return votes(self.samples, self.alpha)

    def certified_network(self) -> CertifiedNetwork:
        """The average radius and the accuracy of the smoothed network."""
        return CertifiedNetwork(
            self.average_radius,
            self.certified_accuracy,
            self.clean_accuracy,
            self.sigma,
            self.abstained,
            self.images,
        )

    def measured_on(self) -> Examples:
        """The first test images."""
        return images_from(0, self.images)


class DetectedAttack(Record):
    """One attack on a network that a detector guards.

    Attributes:
        attack: its name in the table.
        knows_detector: whether it follows the gradient of the detector's score as well.
        attacked: how many images: those that are classified correctly unattacked.
        broken: how many of them were misclassified after it, detected or not.
        auroc: area under the ROC curve of the broken images' scores beside those of all clean test
            images; None where none were broken.
        detected: fraction of the broken images whose score exceeds the threshold; None where none
            were broken.
        low: lower limit of its exact 95 % interval (Clopper and Pearson).
        high: upper limit of it.
        robust_accuracy: fraction of all images that it leaves robust, were there no detector.
        robust_accuracy_with_detector: fraction of all images that are classified correctly
            unattacked, and are not both misclassified and undetected after it.
        seconds: that it took.
        settings: options that differ from the attack's own defaults.
    """

    attack: str
    knows_detector: bool
    attacked: int
    broken: int
    auroc: float | None
    detected: float | None
    low: float | None
    high: float | None
    robust_accuracy: float
    robust_accuracy_with_detector: float
    seconds: float
    settings: dict[str, JsonValue]


class DetectionResult(Result):
    """A network with a detector of adversarial images, under attacks that do and do not know it.

    The headline is the fraction of all images that are classified correctly unattacked and that no
    attack makes both misclassified and undetected. Clean images that raise a false alarm count as
    they are classified; ``false_alarm_rate`` and ``clean_accuracy_with_detector`` say what the
    detector costs.

    Attributes:
        detector: its name.
        detector_settings: what it was made of.
        norm: ``linf``, ``l2`` or ``l1``.
        eps: radius, in pixel units of the norm.
        images: how many test images there were.
        classes: how many there are.
        validation_images: how many clean ones set the threshold.
        false_alarms: the fraction of them that may exceed it.
        threshold: above which an image is taken for adversarial, in the detector's own units.
        false_alarm_rate: fraction of the clean test images that exceed it.
        clean_accuracy: fraction that is classified correctly unattacked, without the detector.
        clean_accuracy_with_detector: fraction that is classified correctly and raises no alarm.
        robust_accuracy: without the detector, after all attacks: an upper bound.
        robust_accuracy_unaware: with the detector, after those that do not know it.
        robust_accuracy_with_detector: with the detector, after all attacks: an upper bound.
        attacks: every attack, in the order in which they ran.
        network: the network that was evaluated.
        checks_failed: why the figures are doubted, a sentence by the name of each check.
    """

    headline: ClassVar[Headline] = Headline(
        "robust_accuracy_with_detector", "robust accuracy with a detector"
    )

    kind: Literal["detection"] = "detection"
    detector: str
    detector_settings: dict[str, JsonValue]
    norm: str
    eps: float
    images: int
    classes: int
    validation_images: int
    false_alarms: float
    threshold: float
    false_alarm_rate: float
    clean_accuracy: float
    clean_accuracy_with_detector: float
    robust_accuracy: float
    robust_accuracy_unaware: float
    robust_accuracy_with_detector: float
    attacks: list[DetectedAttack] = Field(min_length=1)
    network: NetworkRecord
    checks_failed: dict[str, str] = {}

    def measured_on(self) -> Examples:
        """The first test images."""
        return images_from(0, self.images)

    def context(self) -> str:
        """The ball, and the detector."""
        return f"{ball(self.eps, self.norm)}, {self.detector} at {self._alarms()}"

    def compared_under(self) -> str:
        """The ball and the false alarms: it is detectors that are compared."""
        return f"{ball(self.eps, self.norm)}, at {self._alarms()}"

    def _alarms(self) -> str:
        return f"{percent(self.false_alarms)} false alarms"

    def threat_model(self) -> str:
        """The kind of ball."""
        return f"{norm_name(self.norm)} ball"

    def doubt(self) -> str:
        """The checks that failed, and that an attack which does not know the detector beats the
        one that does."""
        aware = [one for one in self.attacks if one.knows_detector]
        best = min((one.robust_accuracy_with_detector for one in aware), default=1.0)
        better = [one.attack for one in self.attacks if one.robust_accuracy_with_detector < best]
        reasons = list(self.checks_failed)
        if better:
            reasons.append(f"{', '.join(better)} beats the adaptive attack")
        return not_believed(reasons)
