"""TRADES: the clean loss plus a penalty on predictions that change within the ball.

Zhang et al. 2019, arXiv:1901.08573.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from advlab.config import fields as f
from advlab.config.options.run import PgdTrainingOptions

if TYPE_CHECKING:
    from torch import Tensor, nn

    from advlab.runs.machine import Machine
    from advlab.training.objective import Objective


class Options(PgdTrainingOptions):
    """TRADES: the clean loss plus beta times the change of predictions within the ball."""

    beta: f.PenaltyWeight = 6.0


def objective(options: Options, label_smoothing: float, machine: Machine) -> Objective:
    """Cross-entropy of clean images + beta · KL(prediction on clean ‖ prediction on perturbed).

    The perturbed images maximise the divergence.

    The ascent starts a thousandth of Gaussian noise away from the image, where the divergence has a
    gradient at all. Where no step size is given, a step is 2.5 · eps / steps.

    With ``awp`` the loss is taken at perturbed weights; see ``advlab.robust_training.weights``.
    """
    import torch
    from torch.nn import functional

    from advlab.perturbation.goal import Goal, Loss
    from advlab.robust_training.inner_attack import climb, from_global, grown, victim_of
    from advlab.robust_training.weights import Loss as LossOfBatch
    from advlab.robust_training.weights import PerturbedWeights

    class Elsewhere(Goal):
        """Away from the network's own answers on the clean images, given as log-probabilities (N,
        classes)."""

        def select(self, index: Tensor) -> Goal:
            return Elsewhere(self.classes[index])

        def loss(self, logits: Tensor, kind: Loss) -> Tensor:
            return divergence(self.classes, logits)

    def divergence(clean: Tensor, logits: Tensor) -> Tensor:
        return functional.kl_div(
            logits.log_softmax(1), clean, reduction="none", log_target=True
        ).sum(1)

    class Trades(PerturbedWeights):
        def at_images(
            self, model: nn.Module, inputs: Tensor, labels: Tensor, done: float
        ) -> LossOfBatch:
            eps = grown(options.eps, options.warmup, done)
            size = (options.step_size or 2.5 * options.eps / options.steps) * eps / options.eps
            victim = victim_of(model, machine)
            fixed = victim.logits(inputs).float().log_softmax(1)
            start = (
                inputs
                + 1e-3 * from_global(inputs).normal(tuple(inputs.shape[1:])).to(inputs.device)
            ).clamp(0, 1)
            perturbed = climb(
                victim, start, inputs, Elsewhere(fixed), options.norm, eps, options.steps, size
            )

            def loss() -> tuple[Tensor, Tensor]:
                # Both in one pass, so that batch normalisation sees one population.
                clean, moved = model(torch.cat([inputs, perturbed])).float().chunk(2)
                penalty = divergence(clean.log_softmax(1), moved).mean()
                return self.cross_entropy(clean, labels) + options.beta * penalty, clean

            return loss

    return Trades(label_smoothing, options.awp)
