"""What every way of looking at a network is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save as to_bytes
from torch import Tensor

from advlab.experiments._photo_report import ranking
from advlab.experiments._shown import Shown
from advlab.runs.files import write_atomically
from advlab.runs.machine import Machine

Say = Callable[[str], None]


@dataclass(frozen=True)
class Look:
    """What every way of looking is given: network and image on the machine, logits, the folder to write to."""

    shown: Shown
    images: Tensor
    logits: Tensor
    machine: Machine
    folder: Path
    caption: str
    say: Say

    def said(self, logits: Tensor) -> str:
        """The likeliest class and its probability."""
        name, share = ranking(logits, self.shown.classes, 1)[0]
        return f"{name} ({100 * share:.1f} %)"


def write(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors, whole or not at all."""
    content = to_bytes({key: value.contiguous() for key, value in tensors.items()})
    write_atomically(path, lambda file: file.write(content))
