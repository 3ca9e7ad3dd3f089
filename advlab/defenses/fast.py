"""Fast adversarial training: FGSM from a random point of the ball.

Wong, Rice and Kolter 2020, arXiv:2001.03994.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from advlab.config import fields as f
from advlab.config.options.run import AdversarialOptions

if TYPE_CHECKING:
    from torch import Tensor, nn

    from advlab.runs.machine import Machine
    from advlab.training.objective import Objective


class Options(AdversarialOptions):
    """Fast adversarial training: FGSM from a random start; it can overfit to that one step."""

    step_size: f.StepSize = None
    warmup: f.Warmup = 0.3


def objective(options: Options, label_smoothing: float, machine: Machine) -> Objective:
    """Cross-entropy after one step from a random point; the default step size is 1.25 · eps."""
    from advlab.perturbation.goal import Goal
    from advlab.robust_training.inner_attack import climb, grown, somewhere, victim_of
    from advlab.training import objective as training

    class Fast(training.Objective):
        def __call__(
            self, model: nn.Module, inputs: Tensor, labels: Tensor, done: float
        ) -> tuple[Tensor, Tensor]:
            eps = grown(options.eps, options.warmup, done)
            size = (options.step_size or 1.25 * options.eps) * eps / options.eps
            start = somewhere(inputs, options.norm, eps)
            perturbed = climb(
                victim_of(model, machine), start, inputs, Goal(labels), options.norm, eps, 1, size
            )
            return super().__call__(model, perturbed, labels, done)

    return Fast(label_smoothing)
