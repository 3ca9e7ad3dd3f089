"""Results of ``advlab memorize``."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from advlab.runs.results import Headline, Record, Result, SplitSizes


class Accuracies(Record):
    """Accuracies of a network after training on given labels, as fractions.

    Attributes:
        train_accuracy: on the training images and the labels that were trained on.
        train_loss: mean cross-entropy there.
        test_accuracy: on test images whose labels were drawn likewise.
        test_interval: Wilson's 95 % interval of it.
        epochs_to_fit: the first epoch with every training image right; None where there was none.
    """

    train_accuracy: float
    train_loss: float
    test_accuracy: float
    test_interval: tuple[float, float]
    epochs_to_fit: int | None


class MemorizePoint(Accuracies):
    """One training.

    Attributes:
        random_fraction: the fraction of images whose labels were drawn by a fair coin.
        test_accuracy_on_true_labels: on test images and their true labels.
        epochs: that were trained.
        parameters: trainable numbers of the network.
    """

    random_fraction: float
    test_accuracy_on_true_labels: float
    epochs: int
    parameters: int


class MemorizeResult(Result):
    """Training on random labels beside training on true ones.

    Attributes:
        random_fraction, test_accuracy, ...: of the training with the most random labels; the test
            accuracy is against test labels drawn in the same way.
        true_task: what the two true classes are.
        true_labels: of the training on true labels alone.
        points: every training, the true labels first.
        examples: images trained on and tested on; there is no validation split here.
    """

    headline: ClassVar[Headline] = Headline("test_accuracy", "test accuracy on random labels")

    kind: Literal["memorize"] = "memorize"
    random_fraction: float
    train_accuracy: float
    train_loss: float
    test_accuracy: float
    test_interval: tuple[float, float]
    test_accuracy_on_true_labels: float
    epochs_to_fit: int | None
    epochs: int
    true_task: str
    true_labels: Accuracies
    points: list[MemorizePoint] = Field(min_length=1)
    examples: SplitSizes
