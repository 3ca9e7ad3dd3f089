"""JSMA: the two entries at a time whose saliency is largest go to the end of their range.

Papernot et al. 2016, arXiv:1511.07528.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from advlab.config import fields as f
from advlab.config.options.run import MinimumNormOptions

if TYPE_CHECKING:
    from torch import Tensor

    from advlab.perturbation.goal import Goal
    from advlab.perturbation.nearest import Nearest
    from advlab.perturbation.randomness import ImageRandom
    from advlab.perturbation.victim import Victim


class Options(MinimumNormOptions):
    """JSMA: sets the two entries of largest saliency to white or black, two at a time."""

    checked_against: ClassVar[str] = "torchattacks, image by image"

    norm: f.NormL0 = "l0"
    eps: f.Eps = [10.0]
    direction: Annotated[
        Literal["brighten", "darken"],
        Field(description="whether entries are set to 1 or to 0"),
        f.PERTURBATION,
    ] = "brighten"
    eot: f.GradientSamples = 1
    target_classes: f.TargetClasses = None


def perturb(
    victim: Victim, images: Tensor, goal: Goal, random: ImageRandom, eps: float, options: Options
) -> Tensor:
    """Images (N, C, H, W) in [0, 1] at their goal with at most eps changed pixels; else the images.

    Algorithm 2 of the paper with the saliency map of pairs (equations 8 and 10), on logits and in
    full steps. Entries are single channels of a pixel; L0 counts the pixels that they lie in. An
    image is done where no pair has any saliency left.

    The paper only aims at a target. Without one, ``target_classes`` other classes are aimed at in
    turn, the likeliest first, and the success with the fewest pixels is kept; a success is any
    other class.
    """
    from advlab.perturbation.nearest import Nearest, targets_of

    nearest = Nearest(victim, images, goal, eps, options)
    targets = targets_of(goal, nearest.logits, options.target_classes)
    index = nearest.to_attack()
    if eps > 0:
        for target in targets[index].T:
            _towards(victim, nearest, index, target, eps, options.direction == "brighten")
    return nearest.within_eps()


def _towards(
    victim: Victim, nearest: Nearest, index: Tensor, target: Tensor, eps: float, brighten: bool
) -> None:
    """Change pairs of entries towards the classes ``target`` (M,), while fewer pixels than in the
    nearest success so far are changed, and at most eps."""

    from advlab.perturbation.geometry import norm

    clean = nearest.images[index]
    x = clean
    end = 1.0 if brighten else 0.0
    while len(index):
        slope, slope_of_others = _slopes(victim, x, target)
        if not brighten:
            slope, slope_of_others = -slope, -slope_of_others
        pair, salient = most_salient_pair(
            slope.flatten(1), -slope_of_others.flatten(1), (x != end).flatten(1)
        )
        x = x.flatten(1).scatter(1, pair, end).view_as(x)
        changed = norm(x - clean, 0)
        on = salient & (changed <= eps) & (changed < nearest.distance[index])
        index, target, clean, x = index[on], target[on], clean[on], x[on]
        if len(index):
            reached = nearest.succeeds(victim.logits(x), index)
            nearest.offer(x[reached], index[reached], confirmed=True)
            unbroken = ~reached
            index, target, clean, x = (
                index[unbroken],
                target[unbroken],
                clean[unbroken],
                x[unbroken],
            )


def _slopes(victim: Victim, x: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of the logits of ``classes`` (M,), and of the sums of all other logits."""

    def own(logits: Tensor) -> Tensor:
        return logits.gather(1, classes[:, None]).squeeze(1)

    first, _ = victim.gradient_of(x, own)
    second, _ = victim.gradient_of(x, lambda logits: logits.sum(1) - own(logits))
    return first, second


def most_salient_pair(gain: Tensor, loss: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor]:
    """The two entries p ≠ q for which (gain_p + gain_q) · (loss_p + loss_q) is largest, among the
    pairs for which both factors are positive.

    Not all D² pairs are looked at. Where two other entries have no less gain and no less loss than
    q, one of them can take its place in any pair. The entries of which this is not so are few, and
    are found by sorting.

    Args:
        gain: the slope of the logit to reach, (N, D).
        loss: the slope of the other logits' sum, with its sign turned, (N, D).
        allowed: which entries may be taken, bool (N, D).

    Returns:
        The numbers of the two entries, int64 (N, 2), and for which images there is such a pair,
        bool (N,). Where there is none the numbers mean nothing.
    """
    import torch

    nothing = torch.full_like(gain[:, :1], -torch.inf)
    sorted_gain, order = gain.where(allowed, -torch.inf).sort(dim=1, descending=True, stable=True)
    sorted_loss = loss.where(allowed, -torch.inf).gather(1, order)
    largest = torch.cat([nothing, sorted_loss.cummax(dim=1).values[:, :-1]], dim=1)
    second = torch.minimum(sorted_loss, largest).cummax(dim=1).values
    candidate = sorted_loss > torch.cat([nothing, second[:, :-1]], dim=1)
    count = max(2, int(candidate.sum(1).max()))
    places = candidate.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :count]
    few_gain, few_loss = (
        values.where(candidate, -torch.inf).gather(1, places)
        for values in (sorted_gain, sorted_loss)
    )
    total_gain = few_gain[:, :, None] + few_gain[:, None, :]
    total_loss = few_loss[:, :, None] + few_loss[:, None, :]
    valid = (total_gain > 0) & (total_loss > 0)
    valid &= ~torch.eye(places.shape[1], dtype=torch.bool, device=gain.device)
    saliency = torch.where(valid, total_gain * total_loss, 0.0).flatten(1)
    best = saliency.argmax(dim=1)
    both = torch.stack([best // places.shape[1], best % places.shape[1]], dim=1)
    return order.gather(1, places.gather(1, both)), saliency.amax(dim=1) > 0
