"""Results of ``advlab scratch`` and ``advlab scratch check``."""

from __future__ import annotations

from typing import ClassVar, Literal

from advlab.runs.results import Headline, Record, Result, SplitSizes


class ScratchTrainResult(Result):
    """A network trained from scratch in NumPy; accuracies are fractions.

    Attributes:
        lr: learning rate of plain SGD.
        test_accuracy, test_loss: of the weights of ``best_epoch``, on the test images.
        val_accuracy, train_accuracy: of the same weights on validation and training images; in
            results of earlier versions the latter is the average over the pass that trained that
            epoch.
        checkpoint_sha256: hash of ``model.safetensors``.
        majority_accuracy: of always the class that most test images are of; None in results of
            earlier versions.
    """

    headline: ClassVar[Headline] = Headline("test_accuracy", "test accuracy")

    kind: Literal["scratch-train"] = "scratch-train"
    lr: float
    test_accuracy: float
    test_loss: float
    val_accuracy: float
    train_accuracy: float
    best_epoch: int
    epochs: int
    examples: SplitSizes
    checkpoint: str
    checkpoint_sha256: str
    majority_accuracy: float | None = None


class DerivativeRecord(Record):
    """How far one derivative is from two references.

    Attributes:
        of: what it is the derivative of.
        formula: how it is computed here.
        entries: that were compared.
        finite_differences, autograd: largest absolute difference from each reference, in float64.
    """

    of: str
    formula: str
    entries: int
    finite_differences: float
    autograd: float


class ScratchCheckResult(Result):
    """The derivatives of the network from scratch, compared with finite differences and autograd.

    Attributes:
        largest_difference: of all derivatives from both references.
        limit: above which the check fails.
    """

    headline: ClassVar[Headline] = Headline(
        "largest_difference", "largest difference", fraction=False, lower_is_better=True
    )

    kind: Literal["scratch-check"] = "scratch-check"
    largest_difference: float
    limit: float
    derivatives: list[DerivativeRecord]
