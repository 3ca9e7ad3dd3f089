"""MART: the loss on the worst images, with more weight on those that are misclassified unattacked.

Wang et al. 2020, *Improving Adversarial Robustness Requires Revisiting Misclassified Examples*
(ICLR 2020).
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
    """MART: a boosted loss on the worst images, and a penalty weighed by the clean error."""

    beta: f.PenaltyWeight = 5.0


def objective(options: Options, label_smoothing: float, machine: Machine) -> Objective:
    """The mean over images x with label y and worst images x' that PGD finds (algorithm 1).

    Cross-entropy(x') - log(1 - the largest probability of another class, at x')
    + beta · KL(prediction on x ‖ prediction on x') · (1 - probability of y at x).

    The default step size is 2.5 · eps / steps. With ``awp`` the loss is taken at perturbed weights;
    see ``advlab.robust_training.weights``.
    """
    import torch
    from torch.nn import functional

    from advlab.robust_training.inner_attack import pgd_images
    from advlab.robust_training.weights import Loss, PerturbedWeights

    class Mart(PerturbedWeights):
        def at_images(self, model: nn.Module, inputs: Tensor, labels: Tensor, done: float) -> Loss:
            perturbed = pgd_images(model, inputs, labels, options, done, machine)

            def loss() -> tuple[Tensor, Tensor]:
                # Both in one pass, so that batch normalisation sees one population.
                clean, moved = model(torch.cat([inputs, perturbed])).float().chunk(2)
                before, after = clean.log_softmax(1), moved.log_softmax(1)
                truth = functional.one_hot(labels, clean.shape[1]).bool()
                # The probability of all classes but the likeliest wrong one, in logarithms: it
                # cannot be 0 in float32 where that class is all but certain.
                others = after.masked_fill(truth, -torch.inf)
                wrong = others.argmax(1, keepdim=True)
                rest = after.scatter(1, wrong, -torch.inf).logsumexp(1)
                divergence = functional.kl_div(after, before, reduction="none", log_target=True)
                doubt = 1 - before.exp()[truth]
                penalty = (divergence.sum(1) * doubt).mean()
                boosted = self.cross_entropy(moved, labels) - rest.mean()
                return boosted + options.beta * penalty, clean

            return loss

    return Mart(label_smoothing, options.awp)
