"""SPSA: Adam on gradients estimated by simultaneous perturbation.

Uesato et al. 2018, arXiv:1802.05666; the estimate is Spall's (1992).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from advlab.config import fields as f
from advlab.config.options.run import AttackOptions, Sees

if TYPE_CHECKING:
    from torch import Tensor

    from advlab.perturbation.goal import Goal, Loss
    from advlab.perturbation.randomness import ImageRandom
    from advlab.perturbation.victim import Victim

_STEPS_TO_EDGE = 5
_BETAS = 0.9, 0.999  # Adam's decays of the mean and of the mean square


class Options(AttackOptions):
    """SPSA: Adam on gradients estimated from pairs of queries; it sees logits and no gradients."""

    sees: ClassVar[Sees] = "logits"
    checked_against: ClassVar[str] = "torchattacks; a naive loop"

    norm: f.NormLinf = "linf"
    loss: f.AttackLoss = "margin"
    queries: f.Queries = 1000
    samples: f.Samples = 16
    delta: Annotated[
        float,
        Field(gt=0, le=0.5, description="distance of the queries from the image, in each pixel"),
        f.PERTURBATION,
    ] = 0.01
    lr: Annotated[
        float | None,
        Field(gt=0, le=10, description="learning rate of Adam; default eps / 5"),
        f.PERTURBATION,
    ] = None


def perturb(
    victim: Victim, images: Tensor, goal: Goal, random: ImageRandom, eps: float, options: Options
) -> Tensor:
    """Images (N, C, H, W) in [0, 1] within eps, after at most ``queries`` queries each.

    Adam takes a step along each estimate, and the result is projected onto the ball and the box.
    The paper estimates from thousands of queries, at a learning rate of 0.01; fewer are the default
    here, and a rate that goes with eps.
    """
    import torch

    from advlab.perturbation import differences
    from advlab.perturbation.ascent import into

    rate = eps / _STEPS_TO_EDGE if options.lr is None else options.lr
    mean, square = torch.zeros_like(images), torch.zeros_like(images)

    def step(current: Tensor, gradient: Tensor, index: Tensor, number: int) -> Tensor:
        for average, value, decay in zip(
            (mean, square), (gradient, gradient**2), _BETAS, strict=True
        ):
            average[index] = decay * average[index] + (1 - decay) * value
        first, second = (
            average[index] / (1 - decay ** (number + 1))
            for average, decay in zip((mean, square), _BETAS, strict=True)
        )
        moved = current + rate * first / (second.sqrt() + 1e-8)
        return into(images[index], moved, eps, math.inf)

    def estimated(x: Tensor, goal: Goal, random: ImageRandom, pairs: int) -> Tensor:
        return estimate(victim, x, goal, random, options.loss, options.delta, pairs)

    return differences.ascend(victim, images, goal, random, eps, math.inf, options, estimated, step)


def estimate(
    victim: Victim,
    images: Tensor,
    goal: Goal,
    random: ImageRandom,
    loss: Loss,
    delta: float,
    pairs: int,
) -> Tensor:
    """The gradient of the goal's loss at images (N, C, H, W), estimated from ``pairs`` pairs.

    The mean of (L(x + δv) - L(x - δv)) / 2δ · v over vectors v of random signs, which are their own
    inverses. Pixels nearer than δ to an end of [0, 1] are first moved δ away from it, so that no
    query leaves the range.
    """
    import torch

    from advlab.perturbation.differences import differences, groups

    centre = images.clamp(delta, 1 - delta)[:, None]
    total = torch.zeros_like(images)
    for some in groups(pairs, images[0].numel()):
        v = random.signs((some, *images.shape[1:])).to(images)
        plus, minus = (centre + delta * v).clamp(0, 1), (centre - delta * v).clamp(0, 1)
        change = differences(victim, goal, loss, plus, minus)
        total += torch.einsum("nk,nkchw->nchw", change / (2 * delta), v)
    return total / pairs
