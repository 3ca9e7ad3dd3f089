"""Which images still stand: the state of an evaluation, written down after every attack."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from advlab.errors import WorldError
from advlab.runs.files import write_atomically

FILE = "images.safetensors"


@dataclass
class Standing:
    """All images, and what has become of each.

    Attributes:
        perturbed: the images as they are where they stand, as they fell where they fell; float32 (N, C, H, W).
        eps: the radius at which each fell; infinity where it stands, -1 where it was wrong before any attack; float64 (N,).
        fell_to: the attack that felled it, an index into ``labels``; -1 where none did; int64 (N,).
        labels: names of the attacks.
        rows: a record for each attack at each eps that was run.
    """

    perturbed: Tensor
    eps: Tensor
    fell_to: Tensor
    labels: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def index(self) -> Tensor:
        """Which images stand, int64."""
        return torch.isinf(self.eps).nonzero().squeeze(1)

    def share(self) -> float:
        """The share that stands."""
        return len(self.index()) / len(self.eps)

    def done(self, label: str, eps: float) -> bool:
        """Whether that attack was run at that radius already."""
        return any(row["attack"] == label and row["eps"] == eps for row in self.rows)

    def fell(self, index: Tensor, perturbed: Tensor, label: str, eps: float) -> None:
        """Note that these images fell."""
        if label not in self.labels:
            self.labels.append(label)
        self.perturbed[index], self.eps[index], self.fell_to[index] = perturbed, eps, self.labels.index(label)

    def store(self, folder: Path) -> None:
        """Write it down, whole or not at all."""
        tensors = {"perturbed": self.perturbed, "eps": self.eps, "fell_to": self.fell_to}
        said = {
            "rows": json.dumps(self.rows),
            "attacks": json.dumps(self.labels),
            "broken_at": "eps: the smallest radius of the evaluation at which each image broke",
        }
        content = save(tensors, metadata=said)
        write_atomically(folder / FILE, lambda file: file.write(content))

    @staticmethod
    def restored(folder: Path) -> Standing | None:
        """What ``store`` wrote; None where there is nothing.

        Raises:
            WorldError: the file is damaged.
        """
        if not (folder / FILE).is_file():
            return None
        try:
            with safe_open(folder / FILE, framework="pt") as content:
                said = content.metadata()
                perturbed, eps, fell_to = (content.get_tensor(name) for name in ("perturbed", "eps", "fell_to"))
                return Standing(perturbed, eps, fell_to, json.loads(said["attacks"]), json.loads(said["rows"]))
        except (SafetensorError, KeyError, ValueError, TypeError) as error:
            raise WorldError(f"{folder / FILE} cannot be resumed from ({error}); --overwrite starts over") from error
