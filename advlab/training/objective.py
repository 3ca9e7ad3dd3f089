"""Objectives and watches: the loss of a batch, and measurements between epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class Objective:
    """The loss of a batch. This is the plain cross-entropy; defences derive from it.

    Whatever it draws, it draws from torch's global generator, which is seeded anew for every epoch;
    whatever it keeps from batch to batch, it forgets in ``begin``. So a resumed run ends in the
    bits of an unbroken one.

    The loss is a mean over the examples. Of several processes each is given its part of the batch,
    and the means of the parts add up, by their sizes, to that of the batch. What else a loss takes
    from the whole batch, it asks of ``advlab.training.distributed``.

    Attributes:
        replays: how many optimiser steps are taken on each batch.
    """

    replays = 1

    def __init__(self, label_smoothing: float = 0.0) -> None:
        """Cross-entropy with this label smoothing."""
        self.label_smoothing = label_smoothing
        self.class_weights: Tensor | None = None

    def weigh_classes(self, weights: Tensor) -> None:
        """Multiply the cross-entropy of each example by the weight of its class, (classes,).

        The weights should have a mean of 1 over the training examples, so that the learning rate
        means the same.
        """
        self.class_weights = weights

    def begin(self) -> None:
        """Called at the start of every epoch."""

    def __call__(
        self, model: nn.Module, inputs: Tensor, labels: Tensor, done: float
    ) -> tuple[Tensor, Tensor]:
        """The loss to minimise, and the logits (N, classes) for the accuracy.

        Args:
            model: in training mode.
            inputs: what it takes; images (N, C, H, W) in [0, 1].
            done: the share of all steps that lie behind, from 0 to 1.
        """
        logits = model(inputs).float()
        return self.cross_entropy(logits, labels), logits

    def after_backward(self) -> None:
        """Called between the backward pass and the optimiser's step."""

    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy of a batch, with smoothed labels and weighted classes where asked."""
        if self.class_weights is None:
            return functional.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        # Not torch's own weights: it divides by their sum in the batch, and parts of a batch would
        # not add up.
        each = functional.cross_entropy(
            logits, labels, label_smoothing=self.label_smoothing, reduction="none"
        )
        return (each * self.class_weights.to(each)[labels]).mean()


def balanced(labels: Tensor, classes: int) -> Tensor:
    """Weights with which every class has the same total weight, float32 (classes,); their mean
    over the examples is 1. A class without an example has weight 0."""
    counts = torch.bincount(labels, minlength=classes)
    present = int((counts > 0).sum())
    weights = len(labels) / (present * counts.clamp_min(1))
    return torch.where(counts > 0, weights, 0.0).float()


class Watch:
    """Measurements after every epoch. This one measures nothing.

    Attributes:
        selects: the figure of ``look`` that the best epoch is chosen by; None for the accuracy on
            validation data.
    """

    selects: str | None = None

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        """Figures for the epoch's record in the history. The model is in evaluation mode."""
        return {}

    def objection(self, history: Sequence[Mapping[str, float]]) -> str | None:
        """The reason to stop after the last of these epochs, or None."""
        return None
