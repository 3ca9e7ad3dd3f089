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


class ImagePoint(ImageFigures):
    """A network for images at one poison rate.

    Attributes:
        poison_rate, poisoned, attack_success: as of ``PoisonFigures``, at this rate.
        detections: by every method that was asked for.
    """

    poison_rate: float
    poisoned: int
    attack_success: float
    detections: list[ImageDetection] = Field(default_factory=list)


class ImagePoisonResult(PoisonFigures, Result):
    """Images, poisoned.

    Attributes:
        source: the class that was relabelled; None where a trigger was put in.
        points: at every rate, ascending; the first one is the clean network.
    """

    headline: ClassVar[Headline] = Headline("accuracy_after", "accuracy after")

    kind: Literal["poison-images"] = "poison-images"
    source: str | None
    points: list[ImagePoint] = Field(min_length=1)

    def context(self) -> str:
        """Attack and poison rate."""
        return f"{self.attack} {at_rate(self.poison_rate)}"

    def summary(self) -> str:
        """Accuracy before and after, and the attack's success."""
        before, after = percent(self.accuracy_before), percent(self.accuracy_after)
        success = "" if self.attack_success is None else percent(self.attack_success)
        return f"accuracy {before} → {after}, attack success {success}, {self.context()}"


class Spread(Record):
    """Mean and sample standard deviation over the seeds; the latter is None for a single seed."""

    mean: float
    std: float | None


class DetectionSpread(Record):
    """A method's areas under both curves, over the seeds."""

    method: str
    auroc: Spread
    auprc: Spread


class PoisonSummary(Record):
    """One setting's runs over their seeds, at the largest poison rate: an entry of ``poison.json``.

    Attributes:
        seeds: how many there were.
        poisoned: how many training examples were changed.
        figures: the plain figures of the runs' results, by name.
        detections: every method that was asked for; none is chosen by what it found.
    """

    poison_rate: float
    seeds: int
    poisoned: Spread
    figures: dict[str, Spread]
    detections: list[DetectionSpread]


def at_rate(poison_rate: float) -> str:
    """A poison rate in words, such as ``at a poison rate of 5 %``."""
    return f"at a poison rate of {100 * poison_rate:g} %"
