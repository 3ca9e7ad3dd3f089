"""Results of ``advlab train``, for images and for texts."""

from __future__ import annotations

from typing import ClassVar, Literal

from advlab.runs.results import Headline, Record, Result, SplitSizes


class TrainedFigures(Record):
    """Figures of a training; accuracies are fractions.

    Attributes:
        test_accuracy, test_loss: of the network of ``best_epoch`` in float32; the loss is None
        where it is not finite.
        val_accuracy: of that epoch, by which it was chosen.
        train_accuracy: of the same network on the training examples, as they are without
            augmentation; in results of earlier versions the average over the pass that trained
            that epoch.
        epochs: that were trained.
        unit: what an example is.
        examples: how many were trained on, validated on and tested on.
        checkpoint: the network's file in the run's folder, and its sha256.
        majority_accuracy: of always the class that most test examples are of; None in results of
            earlier versions.
    """

    test_accuracy: float
    test_loss: float | None
    val_accuracy: float
    train_accuracy: float
    best_epoch: int
    epochs: int
    unit: Literal["images", "texts"]
    examples: SplitSizes
    checkpoint: str
    checkpoint_sha256: str
    majority_accuracy: float | None = None


class TrainResult(TrainedFigures, Result):
    """One trained network.

    Attributes:
        weights: the file or run whose weights the training started from, as it was named; None for
            weights that were drawn, or are a library's own.
    """

    headline: ClassVar[Headline] = Headline("test_accuracy", "test accuracy", over="examples.test")

    kind: Literal["train"] = "train"
    weights: str | None = None

    def summary(self) -> str:
        """The accuracy, and what the training started from."""
        started = f", from the weights of {self.weights}" if self.weights else ""
        return super().summary() + started

    def chosen_by(self) -> Headline:
        """Accuracy on validation data."""
        return Headline("val_accuracy", "validation accuracy")
