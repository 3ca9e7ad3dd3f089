"""Brendel and Bethge's attack: along the decision boundary to the point nearest to the image.

Brendel et al. 2019, arXiv:1907.01003.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from advlab.config import fields as f
from advlab.config.options.run import MinimumNormOptions

if TYPE_CHECKING:
    from torch import Tensor

    from advlab.perturbation.goal import Goal
    from advlab.perturbation.nearest import Nearest
    from advlab.perturbation.randomness import ImageRandom
    from advlab.perturbation.victim import Victim

# The values of the authors' code in foolbox, for every norm, network and data set.
_OVERSHOOT = 1.1  # how far beyond the boundary a step from before it goes
_MOMENTUM = 0.8  # of the normal of the boundary
_DECAYS = 20  # how often the radius of the trust region is halved
# Ours. In L0 a pixel is restored at once or not at all: a region below its change would end that.
_DECAYS_L0 = 4
_FIRST_HALVINGS = 10  # of the way from an image to its starting point
# Ours: gradient steps that look for a starting point, and the root mean square of the first one.
_CLIMB, _FIRST_CLIMB = 40, 0.01


class Options(MinimumNormOptions):
    """Brendel-Bethge: follows the decision boundary to its point nearest to the image."""

    checked_against: ClassVar[str] = "foolbox; the closed form on linear networks"

    norm: f.NormOrL0 = "linf"
    steps: f.Steps = 200
    trust_region: Annotated[
        float,
        Field(
            gt=0,
            le=100,
            description=(
                "L2 radius that the first step stays in, as a fraction of the distance of the "
                "starting point, in l0 of the diagonal of the box; it is halved 20 times, in l0 4"
            ),
        ),
        f.PERTURBATION,
    ] = 1.0
    eot: f.GradientSamples = 1


def perturb(
    victim: Victim, images: Tensor, goal: Goal, random: ImageRandom, eps: float, options: Options
) -> Tensor:
    """The nearest images (N, C, H, W) in [0, 1] that reach their goal within eps; else the images.

    From a point at its goal each step solves for the nearest point to the image on the
    linearised boundary, within a trust region and the box; see
    ``advlab.perturbation.trust_region``, and ``fewest_pixels`` beside it for L0. It takes all
    ``steps``, whatever eps is.
    """
    import torch

    from advlab.perturbation.fewest_pixels import step_to_fewest_pixels
    from advlab.perturbation.geometry import P, norm
    from advlab.perturbation.nearest import Nearest
    from advlab.perturbation.trust_region import step_along_boundary

    p = P[options.norm]
    nearest = Nearest(victim, images, goal, eps, options)
    todo = nearest.to_attack()
    x, index = _start(victim, nearest, todo, random.select(todo), p)
    if len(index) == 0:
        return nearest.within_eps()
    clean, goal, normal = images[index], goal.select(index), torch.zeros_like(x)
    distance = norm(x - clean, 2) if p else torch.full_like(x[:, 0, 0, 0], x[0].numel() ** 0.5)
    radius, decays = options.trust_region * distance, _DECAYS if p else _DECAYS_L0
    for number in range(options.steps):
        gradient, logits = victim.gradient(x, goal, "margin")
        reached = goal.reached(logits)
        nearest.offer(x[reached], index[reached])
        normal = gradient if number == 0 else _MOMENTUM * normal + (1 - _MOMENTUM) * gradient
        lead = goal.loss(logits, "margin")
        gain = torch.where(lead < 0, -_OVERSHOOT * lead, -(2 - _OVERSHOOT) * lead)
        region = radius * 0.5 ** (decays * number / options.steps)
        if p == 0:
            step = step_to_fewest_pixels(clean, x, normal, gain, region)
        else:
            step = step_along_boundary(clean, x, normal, gain, region, p)
        x = (x + step).clamp(0, 1)
    nearest.offer(x, index)
    return nearest.within_eps()


def _start(
    victim: Victim, nearest: Nearest, index: Tensor, random: ImageRandom, p: float
) -> tuple[Tensor, Tensor]:
    """A point at the goal, at the boundary, for the images at ``index`` (M,) where one was found.

    Steps along the gradient are tried first, which end nearer to the image than the noise of the
    paper does, and find target classes. Where they lead nowhere, patterns of noise follow.

    Returns:
        The points (K, C, H, W) and the positions of their images (K,).
    """
    import torch

    from advlab.perturbation.decisions import Decisions, starting_points, to_boundary

    images, goal = nearest.images, nearest.goal
    ask = Decisions(victim, goal, torch.full((len(images),), 1 << 40, device=images.device))
    x = _climbed(victim, images[index], goal.select(index))
    missing = (~ask(x, index)).nonzero().squeeze(1)
    if len(missing):
        noise = starting_points(ask, images[index[missing]], index[missing], random.select(missing))
        x[missing] = noise[0]
    reached = ask(x, index)
    x, index = x[reached], index[reached]
    nearest.offer(x, index)
    return to_boundary(ask, images[index], x, index, 0.0, p, _FIRST_HALVINGS), index


def _climbed(victim: Victim, x: Tensor, goal: Goal) -> Tensor:
    """The images moved along the gradient of their goal, in ever longer steps, until it is
    reached."""
    import torch

    from advlab.perturbation.geometry import steepest, useful

    x, index = x.clone(), torch.arange(len(x), device=x.device)
    for number in range(_CLIMB):
        if len(index) == 0:
            break
        gradient, logits = victim.gradient(x[index], goal.select(index), "ce")
        waiting = ~goal.select(index).reached(logits)
        index, gradient = index[waiting], gradient[waiting]
        length = _FIRST_CLIMB * x[0].numel() ** 0.5 * (1 + number / 4)
        moved = x[index] + length * steepest(useful(gradient, x[index]), 2)
        x[index] = moved.clamp(0, 1)
    return x
