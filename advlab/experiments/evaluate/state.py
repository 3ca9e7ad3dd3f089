"""The state of an evaluation: which images are still robust, stored after every attack."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from advlab.evaluation.nearest_first import leads
from advlab.metrics.classification import is_correct
from advlab.results.evaluate import SuiteAttack
from advlab.runs import sealed
from advlab.runs.results import NetworkRecord

FILE = "images.safetensors"


@dataclass
class EvaluationState:
    """All images, and what has become of each.

    Attributes:
        perturbed: the images as they are where they are robust, as they were broken else; float32
            (N, C, H, W).
        broken_at: the ε at which each was broken; infinity where it is robust, -1 where it was
            misclassified before any attack; float64 (N,).
        broken_by: the attack that broke it, an index into ``labels``; -1 where none did; int64
            (N,).
        nearest: the largest lead of a wrong class over the true one so far, float64 (N,).
        labels: names of the attacks.
        attacks: a record for each attack at each ε that was run.
        surrogate: the network that transferred images were made on, where they were.
    """

    perturbed: Tensor
    broken_at: Tensor
    broken_by: Tensor
    nearest: Tensor
    labels: list[str] = field(default_factory=list)
    attacks: list[SuiteAttack] = field(default_factory=list)
    surrogate: NetworkRecord | None = None

    @classmethod
    def unattacked(cls, images: Tensor, logits: Tensor, labels: Tensor) -> EvaluationState:
        """The state before any attack: images (N, C, H, W), the network's logits (N, classes) on
        them, and their true classes (N,)."""
        return cls(
            images.clone(),
            torch.where(is_correct(logits, labels), torch.inf, -1.0).double(),
            torch.full((len(images),), -1, dtype=torch.int64),
            leads(logits, labels),
        )

    def robust(self) -> Tensor:
        """Which images are robust, int64."""
        return torch.isinf(self.broken_at).nonzero().squeeze(1)

    def robust_accuracy(self) -> float:
        """The fraction of all images that is robust."""
        return len(self.robust()) / len(self.broken_at)

    def broken_under(self, label: str, eps: float) -> int | None:
        """How many images that attack broke at that ε; None where it was not run."""
        counts = (row.broken for row in self.attacks if (row.attack, row.eps) == (label, eps))
        return next(counts, None)

    def done(self, label: str, eps: float) -> bool:
        """Whether that attack was run at that ε already."""
        return any(row.attack == label and row.eps == eps for row in self.attacks)

    def break_images(self, index: Tensor, perturbed: Tensor, label: str, eps: float) -> None:
        """Note that these images were broken."""
        if label not in self.labels:
            self.labels.append(label)
        self.perturbed[index], self.broken_at[index] = perturbed, eps
        self.broken_by[index] = self.labels.index(label)

    def store(self, folder: Path) -> None:
        """Write it down, whole or not at all."""
        sealed.write_tensors(
            folder / FILE,
            {
                "perturbed": self.perturbed,
                "broken_at": self.broken_at,
                "broken_by": self.broken_by,
                "nearest": self.nearest,
            },
            {
                "attacks": json.dumps([row.model_dump() for row in self.attacks]),
                "labels": json.dumps(self.labels),
                "broken_at": "eps: the smallest radius of the evaluation at which each image broke",
                "nearest": "logits: how far the best wrong class led the true one, at the most",
                "surrogate": self.surrogate.model_dump_json() if self.surrogate else "",
            },
        )

    @classmethod
    def restored(cls, folder: Path) -> EvaluationState | None:
        """What ``store`` wrote; None where there is nothing.

        Raises:
            UsageError: it belongs to a run of other settings, data or networks.
            EnvironmentFailure: the file is damaged.
        """

        def made(tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> EvaluationState:
            surrogate = texts["surrogate"]
            return cls(
                tensors["perturbed"],
                tensors["broken_at"],
                tensors["broken_by"],
                tensors["nearest"],
                json.loads(texts["labels"]),
                [SuiteAttack(**row) for row in json.loads(texts["attacks"])],
                NetworkRecord.model_validate_json(surrogate) if surrogate else None,
            )

        return sealed.restored(folder / FILE, made)
