"""NES: projected steps along gradients estimated by natural evolution strategies.

Ilyas et al. 2018, arXiv:1804.08598.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from advlab.config import fields as f
from advlab.config.options.run import AttackOptions, Sees
from advlab.config.radii import ACCEPTED, Fraction

if TYPE_CHECKING:
    from torch import Tensor

    from advlab.perturbation.goal import Goal, Loss
    from advlab.perturbation.randomness import ImageRandom
    from advlab.perturbation.victim import Victim

_STEPS_TO_EDGE = 5  # the paper's steps are 0.01 long at an eps of 0.05


class Options(AttackOptions):
    """NES: PGD on gradients estimated with Gaussian noise; it sees logits and no gradients."""

    sees: ClassVar[Sees] = "logits"
    checked_against: ClassVar[str] = "a naive loop"

    norm: f.NormLinfOrL2 = "linf"
    loss: f.AttackLoss = "ce"
    queries: f.Queries = 1000
    samples: f.Samples = 25
    sigma: Annotated[
        float,
        Field(gt=0, le=1, description="standard deviation of the noise of the queries"),
        f.PERTURBATION,
    ] = 0.001
    step_size: Annotated[
        float | None,
        Field(
            gt=0,
            le=1e6,
            description=f"length of a step, in the norm of eps; default eps / 5; {ACCEPTED}",
        ),
        Fraction,
        f.PERTURBATION,
    ] = None
    gradient_decay: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            description="decay of the running average of the estimates; 0 for the last one alone",
        ),
        f.PERTURBATION,
    ] = 0.9


def perturb(
    victim: Victim, images: Tensor, goal: Goal, random: ImageRandom, eps: float, options: Options
) -> Tensor:
    """Images (N, C, H, W) in [0, 1] within eps, after at most ``queries`` queries each.

    Steps of constant length along the running average of the estimates, each projected onto the
    ball and the box. The average is that of the authors' code.
    """
    import torch

    from advlab.perturbation import differences
    from advlab.perturbation.ascent import projected_step
    from advlab.perturbation.geometry import P

    p = P[options.norm]
    size = options.step_size or eps / _STEPS_TO_EDGE
    average = torch.zeros_like(images)

    def step(current: Tensor, gradient: Tensor, index: Tensor, number: int) -> Tensor:
        decay = options.gradient_decay
        average[index] = decay * average[index] + (1 - decay) * gradient
        return projected_step(images[index], current, average[index], size, eps, p)

    def estimated(x: Tensor, goal: Goal, random: ImageRandom, pairs: int) -> Tensor:
        return estimate(victim, x, goal, random, options.loss, options.sigma, pairs)

    return differences.ascend(victim, images, goal, random, eps, p, options, estimated, step)


def estimate(
    victim: Victim,
    images: Tensor,
    goal: Goal,
    random: ImageRandom,
    loss: Loss,
    sigma: float,
    pairs: int,
) -> Tensor:
    """The gradient of the goal's loss at images (N, C, H, W), estimated from ``pairs`` pairs.

    The mean of (L(x + σu) - L(x - σu)) / 2σ · u over Gaussian vectors u; the two queries of a pair
    are the antithetic samples. Queries are cut to [0, 1], and the pair then counts along the
    vector that the cut has left: at an end of the range a pixel's estimate is smaller, of the same
    sign on average.
    """
    import torch

    from advlab.perturbation.differences import differences, groups

    total = torch.zeros_like(images)
    for some in groups(pairs, images[0].numel()):
        u = random.normal((some, *images.shape[1:])).to(images)
        plus, minus = ((images[:, None] + sign * sigma * u).clamp(0, 1) for sign in (1, -1))
        change = differences(victim, goal, loss, plus, minus)
        total += torch.einsum("nk,nkchw->nchw", change / (2 * sigma), (plus - minus) / (2 * sigma))
    return total / pairs
