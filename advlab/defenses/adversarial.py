"""Adversarial training on clean and perturbed images in equal parts.

Goodfellow, Shlens and Szegedy 2015, arXiv:1412.6572.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from advlab.config import fields as f
from advlab.config.base import Conditions, Flag
from advlab.config.options.run import AdversarialOptions

if TYPE_CHECKING:
    from torch import Tensor, nn

    from advlab.perturbation.victim import Victim
    from advlab.runs.machine import Machine
    from advlab.training.objective import Objective


class Options(AdversarialOptions):
    """Adversarial training on clean and perturbed images in equal parts."""

    goes_with: ClassVar[Conditions] = {
        "steps": ("attack", ("pgd",)),
        "step_size": ("attack", ("pgd",)),
    }

    attack: Annotated[
        Literal["fgsm", "pgd"],
        Field(description="attack on the training images"),
        Flag(group="defence"),
    ] = "fgsm"
    clean_fraction: Annotated[
        float,
        Field(ge=0, le=1, description="weight of the clean images in the loss"),
        Flag(group="defence"),
    ] = 0.5
    steps: f.Steps = 7
    step_size: f.StepSize = None
    warmup: f.Warmup = 0.0


def objective(options: Options, label_smoothing: float, machine: Machine) -> Objective:
    """clean_fraction · CE(clean) + (1 - clean_fraction) · CE(perturbed), in one forward pass.

    ``fgsm`` is a single step of eps from the image itself, as ``advlab attack fgsm`` makes it;
    ``pgd`` climbs from a random point of the ball in ``steps`` steps, of 2.5 · eps / steps where no
    step size is given.
    """
    import torch

    from advlab.perturbation.geometry import P, best_linear
    from advlab.perturbation.goal import Goal
    from advlab.robust_training.inner_attack import climb, grown, somewhere, victim_of
    from advlab.training import objective as training

    class Mixed(training.Objective):
        def __call__(
            self, model: nn.Module, inputs: Tensor, labels: Tensor, done: float
        ) -> tuple[Tensor, Tensor]:
            eps = grown(options.eps, options.warmup, done)
            perturbed = self._perturbed(victim_of(model, machine), inputs, Goal(labels), eps)
            clean, moved = model(torch.cat([inputs, perturbed])).float().chunk(2)
            fraction = options.clean_fraction
            return fraction * self.cross_entropy(clean, labels) + (
                1 - fraction
            ) * self.cross_entropy(moved, labels), clean

        def _perturbed(self, victim: Victim, inputs: Tensor, goal: Goal, eps: float) -> Tensor:
            if options.attack == "fgsm":
                gradient, _ = victim.gradient(inputs, goal, "ce")
                return best_linear(inputs, gradient, eps, P[options.norm])
            size = (options.step_size or 2.5 * options.eps / options.steps) * eps / options.eps
            return climb(
                victim,
                somewhere(inputs, options.norm, eps),
                inputs,
                goal,
                options.norm,
                eps,
                options.steps,
                size,
            )

    return Mixed(label_smoothing)
