"""PGD adversarial training: the loss on the worst images that PGD finds.

Madry et al. 2018, arXiv:1706.06083.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from advlab.config.options.run import PgdTrainingOptions

if TYPE_CHECKING:
    from torch import Tensor, nn

    from advlab.runs.machine import Machine
    from advlab.training.objective import Objective


class Options(PgdTrainingOptions):
    """PGD adversarial training: the loss on the worst images that PGD finds in the ball."""


def objective(options: Options, label_smoothing: float, machine: Machine) -> Objective:
    """Cross-entropy on perturbed images; the default step size is 2.5 · eps / steps.

    With ``awp`` it is taken at perturbed weights; see ``advlab.robust_training.weights``.
    """
    from advlab.robust_training.inner_attack import pgd_images
    from advlab.robust_training.weights import Loss, PerturbedWeights

    class Madry(PerturbedWeights):
        def at_images(self, model: nn.Module, inputs: Tensor, labels: Tensor, done: float) -> Loss:
            perturbed = pgd_images(model, inputs, labels, options, done, machine)

            def loss() -> tuple[Tensor, Tensor]:
                logits = model(perturbed).float()
                return self.cross_entropy(logits, labels), logits

            return loss

    return Madry(label_smoothing, options.awp)
