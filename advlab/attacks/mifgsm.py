"""MI-FGSM and its descendants, for perturbations that transfer to other networks.

Dong et al. 2018, arXiv:1710.06081. The options add input diversity (arXiv:1803.06978), translation
invariance (arXiv:1904.02884), Nesterov's look-ahead and scale invariance (arXiv:1908.06281) and
variance tuning (arXiv:2103.15571).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from advlab.config import fields as f
from advlab.config.options.run import AttackOptions

if TYPE_CHECKING:
    from torch import Tensor

    from advlab.perturbation.goal import Goal
    from advlab.perturbation.randomness import ImageRandom
    from advlab.perturbation.victim import Victim


class Options(AttackOptions):
    """MI-FGSM: steps along accumulated gradients, with averages that help transfer."""

    checked_against: ClassVar[str] = "torchattacks and foolbox"

    norm: f.NormLinf = "linf"
    loss: f.AttackLoss = "ce"
    steps: f.Steps = 10
    step_size: f.StepSize = None
    step_momentum: f.StepMomentum = 1.0
    diversity: f.Diversity = 0.0
    translation_kernel: f.TranslationKernel = 1
    scale_copies: f.ScaleCopies = 1
    nesterov: f.Nesterov = False
    variance_samples: f.VarianceSamples = 0
    eot: f.GradientSamples = 1
    confidence: f.Confidence = None


def perturb(
    victim: Victim, images: Tensor, goal: Goal, random: ImageRandom, eps: float, options: Options
) -> Tensor:
    """Images (N, C, H, W) in [0, 1] moved within the L∞ ball of radius eps.

    g ← μ g + d / ‖d‖₁ and x ← x + α sign(g), from the image and without a random start, where d is
    the gradient at x or what the options make of it, and α is eps / steps where no step size is
    given. Without options it is ``pgd`` with a constant step, momentum and no random start.

    Nesterov's look-ahead takes d at x + α μ g. There g counts gradients whose mean absolute entry
    is 1, as in the code of the paper's authors: with ‖d‖₁ of 1 the look-ahead would be shorter by
    the number of pixels. Neither these points nor the neighbours of variance tuning are clipped to
    [0, 1].
    """
    import torch

    from advlab.perturbation import geometry
    from advlab.perturbation.ascent import ascend, images_to_keep, projected_step
    from advlab.perturbation.transfer_gradient import Averages, TransferGradient

    p = geometry.P[options.norm]
    size = options.step_size or eps / options.steps
    velocity = torch.zeros_like(images)
    gradient_for = TransferGradient(
        victim,
        images,
        goal,
        options.loss,
        random,
        Averages(
            options.diversity,
            options.translation_kernel,
            options.scale_copies,
            options.variance_samples,
        ),
        eps=eps,
        steps=options.steps,
        needs_logits=images_to_keep(options) != "last",
    )
    pixels = images[0].numel()

    def direction(current: Tensor, index: Tensor, number: int) -> tuple[Tensor, Tensor]:
        ahead = size * options.step_momentum * pixels * velocity[index]
        return gradient_for(current, index, number, ahead if options.nesterov else None)

    def step(
        current: Tensor, gradient: Tensor, logits: Tensor, index: Tensor, number: int
    ) -> Tensor:
        length = gradient.flatten(1).abs().sum(1).clamp_min(torch.finfo(gradient.dtype).tiny)
        unit = gradient / length.view(-1, 1, 1, 1)
        velocity[index] = options.step_momentum * velocity[index] + unit
        return projected_step(images[index], current, velocity[index], size, eps, p)

    def finish(perturbed: Tensor, index: Tensor) -> Tensor:
        if not options.quantize:
            return perturbed
        return geometry.round_to_bytes(perturbed, images[index], eps, p)

    return ascend(
        victim,
        images,
        goal,
        options.loss,
        options.steps,
        step,
        finish,
        keep=images_to_keep(options),
        direction=direction,
    )
