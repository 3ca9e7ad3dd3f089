"""Defensive distillation: an example of gradients that vanish from the loss.

Papernot et al. 2016, arXiv:1511.04508. A network trained at a high temperature and used at
temperature 1 has logits so far apart that its cross-entropy has no gradient in float32. Carlini and
Wagner 2017, arXiv:1608.04644, show that it is no more robust: a loss of the logits breaks it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from advlab.config import fields as f
from advlab.config.base import Flag
from advlab.config.options.run import DefendOptions

if TYPE_CHECKING:
    from torch import Tensor, nn

    from advlab.runs.machine import Machine
    from advlab.training.objective import Objective


class Options(DefendOptions):
    """Defensive distillation, attacked with a naive loss and with one of the logits."""

    temperature: Annotated[
        float,
        Field(
            ge=1,
            le=1000,
            description=(
                "what the logits are divided by, in the training of both networks and not "
                "afterwards"
            ),
        ),
        Flag(group="defence"),
    ] = 100.0
    lr: f.LearningRate = 0.01  # logits must grow by the temperature
    label_smoothing: f.LabelSmoothing = 0.0


def objective(options: Options, label_smoothing: float, machine: Machine) -> Objective:
    """Cross-entropy of the labels at the temperature: that of the first network, the teacher."""
    from advlab.training import objective as training

    class AtTemperature(training.Objective):
        def __call__(
            self, model: nn.Module, inputs: Tensor, labels: Tensor, done: float
        ) -> tuple[Tensor, Tensor]:
            logits = model(inputs).float()
            return self.cross_entropy(logits / options.temperature, labels), logits

    return AtTemperature(label_smoothing)


def distilled(options: Options, teacher: nn.Module) -> Objective:
    """Cross-entropy of the teacher's probabilities, both at the temperature: that of the second
    network, which is defended.

    Args:
        teacher: in evaluation mode, on the device of the training.
    """
    import torch
    from torch.nn import functional

    from advlab.training import objective as training

    class Distilled(training.Objective):
        def __call__(
            self, model: nn.Module, inputs: Tensor, labels: Tensor, done: float
        ) -> tuple[Tensor, Tensor]:
            with torch.no_grad():
                probabilities = (teacher(inputs).float() / options.temperature).softmax(dim=1)
            logits = model(inputs).float()
            return functional.cross_entropy(logits / options.temperature, probabilities), logits

    return Distilled()
