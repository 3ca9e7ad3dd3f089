"""PGD adversarial training: the loss on the worst images that PGD finds.

Madry et al. 2018, arXiv:1706.06083.
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
    """PGD adversarial training: the loss on the worst images that PGD finds in the ball."""

    steps: f.Steps = 7
    step_size: f.StepSize = None
    warmup: f.Warmup = 0.3
    awp: f.WeightPerturbation = 0.0


def objective(options: Options, label_smoothing: float, machine: Machine) -> Objective:
    """Cross-entropy on perturbed images; the default step size is 2.5 · eps / steps.

    With ``awp`` it is taken at perturbed weights; see ``advlab.robust_training.weights``.
    """
    from advlab.perturbation.goal import Goal
    from advlab.robust_training.inner_attack import climb, grown, somewhere, victim_of
    from advlab.robust_training.weights import Loss, PerturbedWeights

    class Madry(PerturbedWeights):
        def at_images(self, model: nn.Module, inputs: Tensor, labels: Tensor, done: float) -> Loss:
            eps = grown(options.eps, options.warmup, done)
            size = (options.step_size or 2.5 * options.eps / options.steps) * eps / options.eps
            start = somewhere(inputs, options.norm, eps)
            perturbed = climb(
                victim_of(model, machine),
                start,
                inputs,
                Goal(labels),
                options.norm,
                eps,
                options.steps,
                size,
            )

            def loss() -> tuple[Tensor, Tensor]:
                logits = model(perturbed).float()
                return self.cross_entropy(logits, labels), logits

            return loss

    return Madry(label_smoothing, options.awp)
