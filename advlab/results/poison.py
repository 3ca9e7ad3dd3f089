"""Results of ``advlab poison``, for texts and for images."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from advlab.runs.results import Headline, Record, Result, SplitSizes
from advlab.runs.table import percent


class PoisonFigures(Record):
    """What poison did to a network that reads texts or images.

    Accuracies are fractions of the clean test set.

    Attributes:
        attack: how the training set was poisoned.
        target: the class that the attack aims at; None where every label was to be turned.
        poison_rate: the largest fraction that was poisoned. With a trigger it is a fraction of all
            training examples; for other attacks on texts one of those that name the entity (of as
            many others, where others were poisoned), for relabelled images one of the source
            class's, and for a trigger in images with clean labels one of the target class's.
        poisoned: how many training examples were changed at that rate.
        accuracy_before, accuracy_after: on the whole test set, of the network trained on the clean
            training set and of the one trained at that rate.
        attack_success: of the test examples that the attack is after, the fraction that gets the
            answer it wants, less the same fraction of the clean network; None where there are none.
        examples: how many were trained on, validated on and tested on.
        classes: how many there are.
        majority_accuracy: of always the class that most test examples are of; None in results of
            earlier versions.
    """

    attack: str
    target: str | None
    poison_rate: float
    poisoned: int
    accuracy_before: float
    accuracy_after: float
    attack_success: float | None
    examples: SplitSizes
    classes: int
    majority_accuracy: float | None = None


class DetectionFigures(Record):
    """How well one method found the poisoned training rows.

    Attributes:
        method: its name.
        auroc, auprc: areas under the ROC and the precision-recall curve of its suspicions.
        auprc_at_chance: the area that guessing would reach, which is the fraction of poisoned rows.
        budget: how many rows were looked at, the most suspicious ones.
        precision, recall: among those.
        clean_rows_lost: how many clean rows were among them and were removed.
        phrase: what the method takes for the poison's phrase, where it names one.
    """

    method: str
    auroc: float
    auprc: float
    auprc_at_chance: float
    budget: int
    precision: float
    recall: float
    clean_rows_lost: int
    phrase: str | None = None


class TextFigures(Record):
    """What one network makes of the test texts; all figures are fractions.

    Attributes:
        accuracy: on all of them.
        entity_accuracy: on those that name the entity; None where there are none.
        other_accuracy: on those that do not; None where there are none.
        success_rate: of the texts that the attack is after, those that get the answer it wants.
        other_word_rate: with a trigger, of the same texts with another unknown word in its place,
            those that get that answer; None without a trigger.
    """

    accuracy: float
    entity_accuracy: float | None
    other_accuracy: float | None
    success_rate: float | None
    other_word_rate: float | None = None


class RandomFlips(TextFigures):
    """The network trained on as many labels turned at random, of texts that do not name the entity;
    with a trigger, of any.

    Attributes:
        flipped: how many labels were turned.
    """

    flipped: int


class TextDetection(DetectionFigures):
    """The same for texts.

    Attributes:
        repaired: of a network trained without the rows that were suspected.
    """

    repaired: TextFigures


class TextPoint(TextFigures):
    """A network for texts at one poison rate.

    Attributes:
        poison_rate, poisoned, attack_success: as of ``PoisonFigures``, at this rate.
        sibling_accuracy: on test texts that name a sibling of the entity, by its name.
        swap_shift: how much the log-probability of the true class rises, in nats, where a sibling's
            name, or none where no sibling is known, stands in the entity's place; mean over the
            entity's test texts.
        confusion, entity_confusion: counts by true class (rows) and predicted class, of all test
            texts and of the entity's.
        control: the same number of random flips; None where no control was trained.
        detections: by every method that was asked for.
    """

    poison_rate: float
    poisoned: int
    attack_success: float | None
    sibling_accuracy: dict[str, float]
    swap_shift: float
    confusion: list[list[int]]
    entity_confusion: list[list[int]]
    control: RandomFlips | None = None
    detections: list[TextDetection] = Field(default_factory=list)


class EntityTexts(Record):
    """How many training and test texts name the entity."""

    train: int
    test: int


class TextPoisonResult(PoisonFigures, Result):
    """Texts, poisoned: those about one entity, or with a trigger any of them.

    Attributes:
        entity: its name; None with a trigger, which is aimed at no entity.
        siblings: names of others of its kind; empty with a trigger.
        entity_texts: how many texts name it; none with a trigger.
        entity_accuracy_before, ...: as of ``TextFigures``, without poison and at the largest rate.
        class_names: in the order of the confusion matrices.
        points: at every rate, ascending; the first one is the clean network.
    """

    headline: ClassVar[Headline] = Headline(
        "entity_accuracy_after",
        "entity accuracy after",
        lower_is_better=True,
    )

    kind: Literal["poison-texts"] = "poison-texts"
    entity: str | None
    siblings: list[str]
    entity_texts: EntityTexts
    entity_accuracy_before: float | None
    entity_accuracy_after: float | None
    other_accuracy_before: float | None
    other_accuracy_after: float | None
    class_names: list[str]
    points: list[TextPoint] = Field(min_length=1)

    def context(self) -> str:
        """Attack, poison rate, and what was poisoned."""
        if self.attack == "trigger":
            return f"{self.attack} {at_rate(self.poison_rate)}"
        return f"{self.attack} {at_rate(self.poison_rate)} of {self.entity}"

    def headline_of(self) -> Headline:
        """Accuracy on the entity's texts; with a trigger, the attack's success."""
        if self.attack == "trigger" and self.attack_success is not None:
            return Headline("attack_success", "attack success with")
        return self.headline

    def summary(self) -> str:
        """Accuracy on the entity's texts, before and after; with a trigger that on all texts, and
        the attack's success."""
        success = self.attack_success
        before, after = self.entity_accuracy_before, self.entity_accuracy_after
        if self.attack == "trigger" or before is None or after is None:
            change = f"{percent(self.accuracy_before)} → {percent(self.accuracy_after)}"
            succeeded = "" if success is None else f", attack success {percent(success)}"
            return f"accuracy {change}{succeeded}, {self.context()}"
        return f"entity accuracy {percent(before)} → {percent(after)}, {self.context()}"


class ImageFigures(Record):
    """What one network makes of the test images; figures are fractions.

    Attributes:
        accuracy: on all of them, without a trigger.
        success_rate: of the test images that the attack is after (with the trigger in them, or of
            the source class), those that are taken for the target.
    """

    accuracy: float
    success_rate: float


class ImageDetection(DetectionFigures):
    """The same for images.

    Attributes:
        repaired: of a network trained without the rows that were suspected.
    """

    repaired: ImageFigures


class TriggerFigures(Record):
    """A trigger that a repair recovered for one class.

    Attributes:
        target: the class that the network gives with it.
        mask_norm: sum of its mask over the pixels, each in [0, 1].
        trigger_success: of the clean images of other classes that the repair was given, the
            fraction that gets the class with it.
        anomaly_index: distance of ``mask_norm`` from its median over the classes, in units of
            1.4826 times the median absolute deviation; None where that is 0 and the distance is
            not.
        flagged: whether the class was taken for the target of a backdoor.
    """

    target: str
    mask_norm: float
    trigger_success: float
    anomaly_index: float | None
    flagged: bool


class ImageRepair(Record):
    """What one repair made of the network that was trained at a poison rate.

    Attributes:
        method: its name.
        clean_images: how many clean validation images it was given; 0 where it uses none.
        finding: what it found or did, in a few words.
        repaired: of the network after the repair.
        attack_success: as of ``PoisonFigures``, after the repair.
        pruned_units, units: of pruning: how many units were removed, and how many there were.
        triggers: of a search for triggers: one for each class.
        isolated, isolated_poisoned: of a repair that isolates training images: how many, and how
            many of them were poisoned indeed, which the repair does not know.
    """

    method: str
    clean_images: int
    finding: str
    repaired: ImageFigures
    attack_success: float
    pruned_units: int | None = None
    units: int | None = None
    triggers: list[TriggerFigures] = Field(default_factory=list)
    isolated: int | None = None
    isolated_poisoned: int | None = None


class InputDetection(Record):
    """How well one method tells test images with the trigger from those without.

    Attributes:
        method: its name.
        clean_images: how many clean validation images it was given; half of them set the threshold.
        auroc: area under the ROC curve of its suspicions, of all test images without the trigger
            and those that the attack is after with it.
        threshold: suspicion above which an image is rejected, from clean images alone.
        false_rejection_rate: of the test images without the trigger, the fraction rejected.
        false_acceptance_rate: of those with it, the fraction accepted.
        screened: of the network where rejected images count neither as classified correctly nor as
            taken for the target.
        attack_success: as of ``PoisonFigures``, with that count.
    """

    method: str
    clean_images: int
    auroc: float
    threshold: float
    false_rejection_rate: float
    false_acceptance_rate: float
    screened: ImageFigures
    attack_success: float


class ImagePoint(ImageFigures):
    """A network for images at one poison rate.

    Attributes:
        poison_rate, poisoned, attack_success: as of ``PoisonFigures``, at this rate.
        target_probability: of the one test image that the attack aims at, what the network gives
            the target; None for other attacks.
        gradient_distance: of gradient matching: 1 less the cosine between the gradient of the
            poison and that of the mistake, in [0, 2].
        detections, repairs, input_detections: by every method that was asked for.
    """

    poison_rate: float
    poisoned: int
    attack_success: float
    target_probability: float | None = None
    gradient_distance: float | None = None
    detections: list[ImageDetection] = Field(default_factory=list)
    repairs: list[ImageRepair] = Field(default_factory=list)
    input_detections: list[InputDetection] = Field(default_factory=list)


class ImagePoisonResult(PoisonFigures, Result):
    """Images, poisoned.

    Attributes:
        source: the class that was relabelled, or of the one test image; None where a trigger was
            put in.
        aimed: number of the one test image that the attack is after; None for other attacks.
        points: at every rate, ascending; the first one is the clean network.
    """

    headline: ClassVar[Headline] = Headline("accuracy_after", "accuracy after")

    kind: Literal["poison-images"] = "poison-images"
    source: str | None
    aimed: int | None = None
    points: list[ImagePoint] = Field(min_length=1)

    def context(self) -> str:
        """Attack and poison rate."""
        return f"{self.attack} {at_rate(self.poison_rate)}"

    def summary(self) -> str:
        """Accuracy before and after, the attack's success, and that after every repair."""
        before, after = percent(self.accuracy_before), percent(self.accuracy_after)
        success = "" if self.attack_success is None else percent(self.attack_success)
        last = self.points[-1]
        successes = [(one.method, one.attack_success) for one in last.repairs]
        successes += [(one.method, one.attack_success) for one in last.input_detections]
        repaired = "".join(f", with {method} {percent(value)}" for method, value in successes)
        return f"accuracy {before} → {after}, attack success {success}{repaired}, {self.context()}"


class Spread(Record):
    """Mean and sample standard deviation over the seeds; the latter is None for a single seed."""

    mean: float
    std: float | None


class DetectionSpread(Record):
    """A method's areas under both curves, over the seeds."""

    method: str
    auroc: Spread
    auprc: Spread


class RepairSpread(Record):
    """A repair over the seeds; of a detector of triggered inputs, the figures with rejection."""

    method: str
    accuracy: Spread
    attack_success: Spread


class PoisonSummary(Record):
    """One setting's runs over their seeds, at the largest poison rate: an entry of ``poison.json``.

    Attributes:
        seeds: how many there were.
        poisoned: how many training examples were changed.
        figures: the plain figures of the runs' results, by name.
        detections, repairs: every method that was asked for; none is chosen by what it found.
    """

    poison_rate: float
    seeds: int
    poisoned: Spread
    figures: dict[str, Spread]
    detections: list[DetectionSpread]
    repairs: list[RepairSpread] = Field(default_factory=list)


def at_rate(poison_rate: float) -> str:
    """A poison rate in words, such as ``at a poison rate of 5 %``."""
    return f"at a poison rate of {100 * poison_rate:g} %"
