"""What all views of ``advlab inspect`` receive and write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from safetensors.torch import save as to_bytes
from torch import Tensor

from advlab.experiments.inspect.inputs import InspectedImage
from advlab.experiments.photo_report import listed
from advlab.results.attack import ClassProbability
from advlab.runs.files import write_atomically
from advlab.runs.machine import Machine
from advlab.runs.results import MachineRecord, NetworkRecord


class Common(TypedDict):
    """The fields that the results of all looks have: of ``Result`` and ``InspectFigures``."""

    command: str
    component: str
    dataset: str
    origin: str
    data_sha256: str
    model: str
    seed: int
    seconds: float
    machine: MachineRecord
    image: str
    truth: str | None
    predictions: list[ClassProbability]
    classes: int
    network: NetworkRecord


@dataclass(frozen=True)
class ViewInput:
    """What every way of looking is given.

    Attributes:
        component: its name.
        inspected: network and image.
        images: the image on the machine's device, float (1, C, H, W).
        logits: the network's, of that image, (1, classes), on the CPU.
        image: the image as the user named it.
        seed: what everything random is drawn from.
        folder: where files are written.
    """

    component: str
    inspected: InspectedImage
    images: Tensor
    logits: Tensor
    machine: Machine
    image: str
    seed: int
    folder: Path

    @property
    def caption(self) -> str:
        """What stands under every picture."""
        return f"{self.inspected.origin} · seed {self.seed}"

    def likeliest(self, logits: Tensor) -> str:
        """The likeliest class and its probability, in words."""
        return listed(logits, self.inspected.classes, 1)[0].text()

    def answer(self, logits: Tensor) -> list[str]:
        """Lines with the image's true class, where it is known, and the predicted one with its
        probability."""
        truth = self.inspected.truth
        known = [] if truth is None else [f"true class {truth}"]
        return [*known, f"predicted {self.likeliest(logits)}"]

    def common(self, top: int = 5) -> Common:
        """Return the fields that all results share; ``seconds`` is 0 until the view is finished.

        Args:
            top: how many of the likeliest classes are listed.
        """
        inspected = self.inspected
        return Common(
            command="inspect",
            component=self.component,
            dataset=inspected.dataset,
            origin=inspected.origin,
            data_sha256=inspected.data_sha256,
            model=inspected.target.record.model,
            seed=self.seed,
            seconds=0.0,
            machine=self.machine.describe(),
            image=self.image,
            truth=inspected.truth,
            predictions=listed(self.logits, inspected.classes, top),
            classes=len(inspected.classes),
            network=inspected.target.record,
        )


def write(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors, whole or not at all."""
    content = to_bytes({key: value.contiguous() for key, value in tensors.items()})
    write_atomically(path, lambda file: file.write(content))
