"""Free adversarial training: each backward pass updates the weights and the images.

Every batch is used several times. Shafahi et al. 2019, arXiv:1904.12843.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from advlab.config import fields as f
from advlab.config.base import Flag
from advlab.config.options.run import AdversarialOptions

if TYPE_CHECKING:
    from torch import Tensor, nn

    from advlab.runs.machine import Machine
    from advlab.training.objective import Objective


class Options(AdversarialOptions):
    """Free adversarial training: one gradient updates both the weights and the images."""

    replays: Annotated[
        int, Field(ge=1, le=100, description="steps on each batch in a row"), Flag(group="defence")
    ] = 4
    warmup: f.Warmup = 0.3


def objective(options: Options, label_smoothing: float, machine: Machine) -> Objective:
    """Cross-entropy on inputs + r; r is kept from step to step and moves by eps at each."""
    import torch

    from advlab.perturbation.ascent import projected_step
    from advlab.perturbation.geometry import P
    from advlab.robust_training.inner_attack import grown
    from advlab.training import objective as training

    class Free(training.Objective):
        replays = options.replays

        def begin(self) -> None:
            self.r: Tensor | None = None
            self.before: tuple[Tensor, Tensor] | None = None

        def __call__(
            self, model: nn.Module, inputs: Tensor, labels: Tensor, done: float
        ) -> tuple[Tensor, Tensor]:
            eps = grown(options.eps, options.warmup, done)
            r = self._moved(eps)
            if r is None or r.shape[0] < inputs.shape[0]:
                r = torch.zeros_like(inputs)
            perturbed = (
                (inputs + r[: len(inputs)].clamp(-eps, eps))
                .clamp(0, 1)
                .detach()
                .requires_grad_(True)
            )
            self.before = inputs, perturbed
            return super().__call__(model, perturbed, labels, done)

        def _moved(self, eps: float) -> Tensor | None:
            """r after the step whose gradient the last backward pass has left at the images."""
            if self.before is None:
                return None
            inputs, perturbed = self.before
            assert perturbed.grad is not None
            return (
                projected_step(
                    inputs, perturbed.detach(), perturbed.grad, eps, eps, P[options.norm]
                )
                - inputs
            )

    return Free(label_smoothing)
