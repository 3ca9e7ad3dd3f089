"""Results of ``advlab attack``, on images of a data set, on a photo and on texts."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from advlab.config.radii import eps_text, norm_name
from advlab.config.threats import ColourShift, Displacement, PatchAnywhere, RigidMotion, Threat
from advlab.runs.results import (
    Examples,
    Headline,
    NetworkRecord,
    Record,
    Result,
    RobustnessCurve,
    images_from,
    not_believed,
)
from advlab.runs.table import counted

MadeAt = Literal["each eps", "the smallest eps that breaks"]


def ball(eps: float, norm: str) -> str:
    """An ε-ball in words, such as ``at ε = 0.1 (L∞)``."""
    return f"at ε = {eps_text(eps)} ({norm_name(norm)})"


def _goal(target: str | None) -> str:
    """The class that an attack aims at, in words; empty without one."""
    return "" if target is None else f"targeted at {target}"


def _towards(target: str | None) -> str:
    """What a target adds to a threat model: a network may withstand attacks towards one class and
    no others."""
    return "" if target is None else " towards a class"


def _made_on(surrogate: NetworkRecord | None) -> str:
    """What it adds to the context of a figure that its images were made on another network."""
    return "" if surrogate is None else f", images made on {surrogate.model}"


def _transferred(surrogate: NetworkRecord | None) -> str:
    """The same in a threat model: the attacker does not see the network."""
    return "" if surrogate is None else ", images made on another network"


class AttackPoint(Record):
    """What an attack reached at one ε. Sizes are in pixel units, over the images that it changed;
    None where it changed none.

    Attributes:
        eps: radius of the ball, in pixel units of the norm.
        robust_accuracy: fraction of all images that the network still classifies correctly.
        success_rate: of the images that it classified correctly (with a target: of all that were to
            be brought to it), the fraction that the attack brought to its goal.
        changed: how many images differ from the original. linf_mean, linf_max, l2_mean, l2_max,
            l1_mean, l1_max: sizes of the perturbations. l0_mean, l0_max: how many pixels of an
            image differ in any channel.
        psnr_mean: peak signal-to-noise ratio in dB.
        ssim_mean: structural similarity; None for images with a side below 11 pixels too.
        attacked: how many images had to be attacked.
        seconds: that the attack took; where several processes shared the images, the sum of theirs.
        images_per_second: attacked images by those seconds; None where there were none.
        unusable_gradients: how often an image had no gradient, or one with NaN or infinity; the
            attack then stood still, and its figure says little.
        gradients: how many gradients the attack asked for, one per image and step; 0 in results of
            earlier versions.
        zero_gradients: how many of them were zero in every pixel; the attack then stood still.
    """

    eps: float
    robust_accuracy: float
    success_rate: float
    changed: int
    linf_mean: float | None = None
    linf_max: float | None = None
    l2_mean: float | None = None
    l2_max: float | None = None
    l1_mean: float | None = None
    l1_max: float | None = None
    l0_mean: float | None = None
    l0_max: float | None = None
    psnr_mean: float | None = None
    ssim_mean: float | None = None
    attacked: int
    seconds: float
    images_per_second: float | None
    unusable_gradients: int = 0
    gradients: int = 0
    zero_gradients: int = 0


class SmallestPerturbations(Record):
    """The smallest perturbations that an attack found, in the norm of ε and pixel units.

    They are over the attacked images that the network classifies correctly, also with a target: an
    image of the target class is not attacked. One with several targets counts with the nearest. A
    figure is None where it is infinite: fewer images than that were broken within ``eps``.

    Attributes:
        eps: the largest radius; what was not broken within it counts as infinitely far.
        images: how many of the attacked images are classified correctly.
        broken: how many of them were broken within ``eps``.
        lower_quartile, median, upper_quartile: the norms within which a quarter, half and three
            quarters of these images are broken.
        curve: pairs of a norm and the fraction of all images, as of ``robust_accuracy``, that is
            classified correctly under perturbations of at most that norm; the fraction holds up to
            the next norm. The first norm is 0. At most 201 pairs.
    """

    eps: float
    images: int
    broken: int
    lower_quartile: float | None
    median: float | None
    upper_quartile: float | None
    curve: list[tuple[float, float]] = Field(min_length=1)


class SharedPerturbation(Record):
    """What one perturbation for all images does, beside random ones of the same norm.

    Rates and accuracies are fractions, over the images of the run with the perturbation on all of
    them, also on those that are misclassified without it.

    Attributes:
        eps: norm of the perturbation at most, in pixel units.
        fooling_rate: fraction of the images whose predicted class the perturbation changes.
        training_fooling_rate: the same of the images that it was made on, by the network that it
            was made on.
        random_fooling_rate: the mean over ``draws`` random perturbations.
        accuracy: fraction of the images that the network still classifies correctly.
        random_accuracy: the mean over the random perturbations.
        target_rate: of the images of other classes than the target, the fraction that is taken for
            the target; None without a target, and in results of earlier versions.
        random_target_rate: the mean over the random perturbations; None as before.
    """

    eps: float
    fooling_rate: float
    training_fooling_rate: float
    random_fooling_rate: float
    accuracy: float
    random_accuracy: float
    target_rate: float | None = None
    random_target_rate: float | None = None


class SharedPerturbations(Record):
    """One perturbation for all images at every ε.

    Attributes:
        training_images: how many images it was made on.
        draws: how many random perturbations it is compared with.
        points: at every ε.
    """

    training_images: int
    draws: int
    points: list[SharedPerturbation] = Field(min_length=1)


class AttackResult(Result):
    """An attack on images of a data set.

    Attributes:
        norm: ``linf``, ``l2``, ``l1``, ``l0`` or ``l3`` and the like. The radius of ``l0`` is a
            number of changed pixels.
        eps: every radius, ascending.
        images_made_at: whether the images of each ε were made at it, or an image that a smaller ε
            broke was kept as it broke; then every figure at an ε is of the smallest ε that breaks
            each image.
        target: the class that images were to be taken for, ``each``, ``next`` or ``least-likely``;
            None without one.
        clean_accuracy: fraction of the images that the network classifies correctly unattacked.
            robust_accuracy, success_rate: at the largest ε.
        points: at every ε.
        smallest: the distribution of the smallest perturbations; None for attacks that do not look
            for them, and for images that were made on another network.
        shared: of an attack that makes one perturbation for all images, on training images: what it
            does beside random ones; None for others. ``robust_accuracy`` counts an image that is
            misclassified without it as broken; so do other attacks.
        images: how many images were attacked.
        first_image: the number of the first of them among the test images, in whose order the
            others follow; None in results of earlier versions.
        classes: how many there are.
        tasks: pairs of image and goal.
        network: the network that was attacked.
        surrogate: the network that the images were made on, where it is another one.
        checks_failed: why the figure is not to be believed, a sentence by the name of each failed
            check; empty in results of earlier versions.
    """

    headline: ClassVar[Headline] = Headline(
        "robust_accuracy", "robust accuracy", lower_is_better=True, over="images"
    )

    kind: Literal["attack"] = "attack"
    norm: str
    eps: list[float] = Field(min_length=1)
    images_made_at: MadeAt
    target: str | None
    clean_accuracy: float
    robust_accuracy: float
    success_rate: float
    points: list[AttackPoint] = Field(min_length=1)
    smallest: SmallestPerturbations | None = None
    shared: SharedPerturbations | None = None
    images: int
    first_image: int | None = None
    classes: int
    tasks: int
    network: NetworkRecord
    surrogate: NetworkRecord | None
    checks_failed: dict[str, str] = {}

    def headline_of(self) -> Headline | None:
        """Robust accuracy; of an attack for the smallest perturbation, the median of their norms
        where it is finite."""
        if self.smallest is None or self.smallest.median is None:
            return self.headline
        words = f"median {norm_name(self.norm)} norm"
        return Headline("smallest.median", words, fraction=False, lower_is_better=True)

    def context(self) -> str:
        """The ball that the headline holds for, whether all images share a perturbation, and
        whether they were made on another network."""
        return ball(self.eps[-1], self.norm) + self._for_all() + _made_on(self.surrogate)

    def compared_under(self) -> str:
        """The same, whatever the other network is: which one serves best is compared too."""
        return ball(self.eps[-1], self.norm) + self.besides_radius()

    def besides_radius(self) -> str:
        """Whether all images share a perturbation or were made on another network, and the
        target."""
        goal = f", {self.goal()}" if self.goal() else ""
        return self._for_all() + _transferred(self.surrogate) + goal

    def doubt(self) -> str:
        """The checks that failed."""
        return not_believed(self.checks_failed)

    def threat_model(self) -> str:
        """The kind of ball, whether there is a target, whether all images share a perturbation, and
        whether they were made on another network."""
        kind = f"{norm_name(self.norm)} ball{_towards(self.target)}{self._for_all()}"
        return kind + _transferred(self.surrogate)

    def goal(self) -> str:
        """The target."""
        return _goal(self.target)

    def measured_on(self) -> Examples:
        """The images that were attacked."""
        return images_from(self.first_image, self.images)

    def _for_all(self) -> str:
        return "" if self.shared is None else ", one perturbation for all images"

    def robustness_curve(self) -> RobustnessCurve:
        """Robust accuracy by ε."""
        points = [(point.eps, point.robust_accuracy) for point in self.points]
        return RobustnessCurve(self.norm, self.classes, points, self.images_made_at != "each eps")


class TransformedResult(Result):
    """What results of attacks on images of a data set have in common that transform each image in
    no Lp ball. It is no kind of result by itself.

    Attributes:
        threat: what the attack may do, and how much of it.
        queries: mean number of images that the network was asked about for each attacked image; a
            gradient counts as one.
        target: as of ``AttackResult``. clean_accuracy: fraction of the images that the network
            classifies correctly as they are.
        robust_accuracy, success_rate: as of ``AttackPoint``.
        changed: how many images differ from the original. An image that did not reach the goal is
            transformed as it came nearest to it.
        l2_mean, psnr_mean, ssim_mean, attacked, images_per_second, unusable_gradients: as of
            ``AttackPoint``.
        images, first_image, classes, tasks, network, surrogate, checks_failed: as of
            ``AttackResult``.
    """

    headline: ClassVar[Headline] = Headline(
        "robust_accuracy", "robust accuracy", lower_is_better=True, over="images"
    )

    threat: Threat
    queries: float
    target: str | None
    clean_accuracy: float
    robust_accuracy: float
    success_rate: float
    changed: int
    l2_mean: float | None = None
    psnr_mean: float | None = None
    ssim_mean: float | None = None
    attacked: int
    images_per_second: float | None
    unusable_gradients: int = 0
    images: int
    first_image: int | None = None
    classes: int
    tasks: int
    network: NetworkRecord
    surrogate: NetworkRecord | None
    checks_failed: dict[str, str] = {}

    def context(self) -> str:
        """The limits that the headline holds for, and whether the images were made on another
        network."""
        return f"under {self.threat.kind}, {self.threat.text()}{_made_on(self.surrogate)}"

    def compared_under(self) -> str:
        """The same, whatever the other network is."""
        limits = f"under {self.threat.kind}, {self.threat.text()}{_transferred(self.surrogate)}"
        return ", ".join(filter(None, [limits, self.goal()]))

    def doubt(self) -> str:
        """The checks that failed."""
        return not_believed(self.checks_failed)

    def threat_model(self) -> str:
        """The kind of transformation, whether there is a target, and whether the images were made
        on another network."""
        return f"{self.threat.kind}{_towards(self.target)}{_transferred(self.surrogate)}"

    def goal(self) -> str:
        """The target."""
        return _goal(self.target)

    def measured_on(self) -> Examples:
        """The images that were attacked."""
        return images_from(self.first_image, self.images)


class SpatialAttackResult(TransformedResult):
    """An attack on images of a data set that rotates and shifts them. It is in no Lp ball.

    Attributes:
        threat: the largest rotation, in degrees, and the largest translation, in pixels.
        search: ``grid`` or ``random``: where the motions that were tried come from.
        candidates: how many motions there were to try on each image, none at all among them.
        degrees_mean: over the images that were moved, broken or not, mean size of their
            rotations, in degrees; shift_mean: mean length of their translations, in pixels; None
            where none was moved.
    """

    kind: Literal["attack-spatial"] = "attack-spatial"
    threat: RigidMotion
    search: Literal["grid", "random"]
    candidates: int = Field(ge=1)
    degrees_mean: float | None
    shift_mean: float | None


class FlowAttackResult(TransformedResult):
    """An attack on images of a data set that displaces each of their pixels. It is in no Lp ball.

    Attributes:
        threat: the largest displacement of a pixel along each side, in pixels.
        flow_weight: the weight of the flow's roughness beside the margin between logits.
        shift_mean: over all pixels of the images that were changed, broken or not, mean length of
            the displacements, in pixels; shift_max: their largest length, up to √2 times the limit;
            None where none was changed.
        roughness_mean: over these images, the sum over pixels and their neighbours of the distance
            between their displacements, in pixels.
    """

    kind: Literal["attack-stadv"] = "attack-stadv"
    threat: Displacement
    flow_weight: float
    shift_mean: float | None
    shift_max: float | None
    roughness_mean: float | None


class ColourAttackResult(TransformedResult):
    """An attack on images of a data set that shifts their colours. It is in no Lp ball.

    Attributes:
        threat: the largest shifts; of grey images, which have no hue and no saturation, those are
            0.
        search: ``grid`` or ``random``: where the shifts that were tried come from.
        candidates: how many shifts there were to try on each image, none at all among them.
        brightness_mean, contrast_mean, saturation_mean: over the images that were changed, broken
            or not, mean size of the shifts, as fractions; hue_mean: the same in degrees; None where
            none was changed, and saturation and hue for grey images.
    """

    kind: Literal["attack-colour"] = "attack-colour"
    threat: ColourShift
    search: Literal["grid", "random"]
    candidates: int = Field(ge=1)
    brightness_mean: float | None
    contrast_mean: float | None
    saturation_mean: float | None = None
    hue_mean: float | None = None


class PatchControl(Record):
    """What patches do that were not made to fool a network, in the same places.

    Attributes:
        robust_accuracy, success_rate: as of ``PatchAttackResult``, the mean over ``draws`` patches.
    """

    draws: int
    robust_accuracy: float
    success_rate: float


class PatchAttackResult(Result):
    """An attack on images of a data set with one patch, at a place that is drawn for each. It is in
    no Lp ball.

    Attributes:
        threat: size of the patch, where it is put, and its largest rotation and change of scale.
        training_images: how many images it was made on.
        training_success_rate: on these images, in places drawn anew, by the network that it was
            made on.
        target: as of ``AttackResult``. clean_accuracy: fraction of the images that the network
            classifies correctly as they are.
        robust_accuracy: fraction of all images that the network classifies correctly both without
            the patch and with it, at one place for each image. No place is searched for, so that it
            is an estimate over places and no bound over all of them. Images of the target class get
            no patch, and any wrong class counts as broken.
        success_rate: of the images that it classified correctly (with a target: of all that are of
            other classes), the fraction that the patch brings to its goal.
        attacked: how many images that rate is of; of none, it is 0 and says nothing.
        noise: what patches of uniform noise do, whose pixels are independent.
        training_image: what patches do that show a whole training image, with a target one of that
            class.
        unusable_gradients: as of ``AttackPoint``.
        images, first_image, classes, tasks, network, surrogate, checks_failed: as of
            ``AttackResult``.
    """

    headline: ClassVar[Headline] = Headline("success_rate", "success")

    kind: Literal["attack-patch"] = "attack-patch"
    threat: PatchAnywhere
    training_images: int
    training_success_rate: float
    target: str | None
    clean_accuracy: float
    robust_accuracy: float
    success_rate: float
    attacked: int
    noise: PatchControl
    training_image: PatchControl
    unusable_gradients: int = 0
    images: int
    first_image: int | None = None
    classes: int
    tasks: int
    network: NetworkRecord
    surrogate: NetworkRecord | None
    checks_failed: dict[str, str] = {}

    def doubt(self) -> str:
        """The checks that failed."""
        return not_believed(self.checks_failed)

    def headline_of(self) -> Headline | None:
        """Success; None where it is of no image."""
        return self.headline if self.attacked else None

    def context(self) -> str:
        """The patch that the headline holds for, its target, and whether it was made on another
        network."""
        return self._patch() + _made_on(self.surrogate)

    def compared_under(self) -> str:
        """The same, whatever the other network is."""
        return self._patch() + _transferred(self.surrogate)

    def _patch(self) -> str:
        aim = f" towards {self.target}" if self.target else ""
        return f"under {self.threat.kind}{aim}, {self.threat.text()}"

    def threat_model(self) -> str:
        """One patch for all images, whether it has a target, since success is another figure then,
        and whether it was made on another network."""
        kind = f"{self.threat.kind} for all images{_towards(self.target)}"
        return kind + _transferred(self.surrogate)

    def measured_on(self) -> Examples:
        """The images that were attacked."""
        return images_from(self.first_image, self.images)


class ClassProbability(Record):
    """A class and its probability, a fraction."""

    number: int
    name: str
    probability: float

    def text(self) -> str:
        """Both in words, such as ``red house (98.0 %)``; 100 % is certainty and no rounding."""
        percentage = 100 * self.probability
        text = f"{percentage:.1f}" if percentage < 99.95 else f"{min(percentage, 99.99):.2f}"
        return f"{self.name} ({text if self.probability < 1 else 100} %)"


class PhotoPoint(Record):
    """What an attack on a photo reached at one ε; all but the first two figures are of the saved
    8-bit file.

    Attributes:
        success_before_rounding: whether it reached its goal before the photo was rounded to 8 bits.
        before_rounding: the likeliest classes then.
        success: whether the saved file reaches the goal.
        after: the likeliest classes of the saved file.
        robust_accuracy: 1 where the network still takes it for what it took the photo for, 0 else.
        tries_to_survive_rounding: further attacks that this took. linf, l2, l1: size of the
            perturbation, in pixel units. l0: how many pixels differ in any channel; None in
            results of earlier versions.
        confident: whether the saved file reaches the goal with the probability that was asked for;
            None in results of earlier versions.
        psnr: in dB; None where nothing changed.
        ssim: structural similarity; None for a photo with a side below 11 pixels.
        file: name of the saved photo; None for a try of a search that was not the smallest.
    """

    eps: float
    success_before_rounding: bool
    before_rounding: list[ClassProbability]
    success: bool
    confident: bool | None = None
    after: list[ClassProbability]
    robust_accuracy: float
    tries_to_survive_rounding: int
    linf: float
    l2: float
    l1: float
    l0: float | None = None
    psnr: float | None
    ssim: float | None
    file: str | None
    seconds: float


class SmallestEps(Record):
    """The smallest ε of a search over whole grey levels, k / 255.

    The saved file reaches the goal at ``eps`` with the confidence asked for, and the attack at one
    grey level less did not. It is an upper bound, since a stronger attack may do with less.

    Attributes:
        eps: in pixel units of L∞; None where the attack at ``largest`` did not reach the goal.
        largest: the largest ε that was tried, in the same units.
    """

    eps: float | None
    largest: float


class PhotoAttackResult(Result):
    """An attack on one photo.

    Attributes:
        image: the photo's place.
        norm, eps, images_made_at, target: as of ``AttackResult``.
        target_class: the class that the photo was to be taken for; None without a target.
        before: the likeliest classes of the photo itself.
        success: whether the saved photo reached the goal at the largest ε; of a search, whether it
            did so with ``confidence`` at any.
        robust_accuracy: at the largest ε.
        points: at every ε.
        smallest: the smallest ε that was searched for; None without a search.
        classes: how many the network tells apart.
        confidence: the probability that the attack went on for; None for an attack that has no
            such option, 0 where it stopped at the first success.
        network: the network that was attacked.
        checks_failed: as of ``AttackResult``.
    """

    headline: ClassVar[Headline] = Headline(
        "robust_accuracy", "robust accuracy", lower_is_better=True
    )

    kind: Literal["attack-photo"] = "attack-photo"
    image: str
    norm: str
    eps: list[float] = Field(min_length=1)
    images_made_at: MadeAt
    target: str | None
    target_class: ClassProbability | None
    before: list[ClassProbability]
    success: bool
    robust_accuracy: float
    points: list[PhotoPoint] = Field(min_length=1)
    smallest: SmallestEps | None = None
    classes: int
    confidence: float | None = None
    network: NetworkRecord
    checks_failed: dict[str, str] = {}

    def doubt(self) -> str:
        """The checks that failed."""
        return not_believed(self.checks_failed)

    def headline_of(self) -> Headline | None:
        """Robust accuracy; of a search that ended well, the smallest ε."""
        if self.smallest is None or self.smallest.eps is None:
            return self.headline
        words = f"smallest ε ({norm_name(self.norm)})"
        return Headline("smallest.eps", words, fraction=False, lower_is_better=True)

    def context(self) -> str:
        """The ball that the headline holds for; of a search, how far it went."""
        if self.smallest is not None and self.smallest.eps is not None:
            return f"up to ε = {eps_text(self.smallest.largest)}"
        return ball(self.eps[-1], self.norm)

    def threat_model(self) -> str:
        """The kind of ball, and whether there is a target."""
        return f"{norm_name(self.norm)} ball{_towards(self.target)}"

    def goal(self) -> str:
        """The target."""
        return _goal(self.target)

    def measured_on(self) -> Examples:
        """The photo, which the hash of the data tells apart."""
        return Examples("the photo", "photo")

    def summary(self) -> str:
        """Return the predictions for the photo before and after the attack, at the largest ε or at
        the smallest that was searched for."""
        if self.smallest is not None and self.smallest.eps is None:
            return f"{self.before[0].name}: no ε up to {eps_text(self.smallest.largest)} suffices"
        smallest = None if self.smallest is None else self.smallest.eps
        point = next((one for one in self.points if one.eps == smallest), self.points[-1])
        change = f"{self.before[0].name} → {point.after[0].name} {ball(point.eps, self.norm)}"
        return ", ".join(filter(None, [change, self.doubt()]))


class TextAttackResult(Result):
    """An attack on texts of a data set. Accuracies and rates are fractions.

    Attributes:
        max_perturbed: fraction of a text's words that could be changed, rounded up to whole words.
        clean_accuracy: of the network on the texts as they are.
        robust_accuracy: on the texts after the attack; those misclassified anyway are not attacked.
        success_rate: of the texts classified correctly, the fraction that the attack broke.
        perturbed_words: of the broken texts, the mean fraction of words that were changed; this and
            the next two are None where no text was broken.
        edit_distance: of the broken texts, the mean number of letters that must be inserted,
            deleted or substituted to make the text from the original.
        similarity: of the broken texts, the mean cosine between the mean word vectors before and
            after, in [-1, 1]; None also for a network without word vectors.
        vectors: the vectors that are meant: a file or run, ``own`` for the network's embeddings;
            None where there are none.
        queries: mean number of texts that the network was asked about for each attacked text; a
            gradient counts as one.
        unchanged: attacked texts in which the attack changed no word; None in older results.
        curve: pairs of a fraction of changed words and the accuracy if no more may be changed; it
            holds up to the next fraction. The first fraction is 0. At most 201 pairs.
        texts: how many there are, broken or not.
        texts_sha256: hash of these texts and their classes; None in results of earlier versions.
        attacked: how many were classified correctly and therefore attacked.
        classes: how many there are.
        network: the network that was attacked.
        checks_failed: as of ``AttackResult``.
    """

    headline: ClassVar[Headline] = Headline(
        "robust_accuracy", "robust accuracy", lower_is_better=True
    )

    kind: Literal["attack-texts"] = "attack-texts"
    max_perturbed: float
    clean_accuracy: float
    robust_accuracy: float
    success_rate: float
    perturbed_words: float | None
    edit_distance: float | None
    similarity: float | None
    vectors: str | None
    queries: float
    unchanged: int | None = None
    curve: list[tuple[float, float]] = Field(min_length=1)
    texts: int
    texts_sha256: str | None = None
    attacked: int
    classes: int
    network: NetworkRecord
    checks_failed: dict[str, str] = {}

    def context(self) -> str:
        """The attack's budget."""
        return f"at up to {100 * self.max_perturbed:g} % changed words"

    def doubt(self) -> str:
        """The checks that failed."""
        return not_believed(self.checks_failed)

    def measured_on(self) -> Examples:
        """The texts that were attacked."""
        return Examples(counted(self.texts, "text"), self.texts_sha256)
