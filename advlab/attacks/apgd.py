"""APGD: projected gradient descent that chooses its own step sizes.

Croce and Hein 2020, arXiv:2003.01690; in L1 the variant made for it, Croce and Hein 2021,
arXiv:2103.01208.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from advlab.config import fields as f
from advlab.config.base import Conditions
from advlab.config.options.run import AttackOptions

if TYPE_CHECKING:
    from torch import Tensor

    from advlab.perturbation.ascent import Finish
    from advlab.perturbation.goal import Goal
    from advlab.perturbation.randomness import ImageRandom
    from advlab.perturbation.victim import Victim

# Fractions of all steps: to the first checkpoint, by how much each later gap is shorter, and the
# shortest gap.
_FIRST, _SHRINK, _LEAST = 0.22, 0.03, 0.06
_RISING = 0.75  # fraction of the steps between two checkpoints in which the loss must have risen
_MOMENTUM = 0.75

# L1: radii in units of eps and the fraction of all steps at each, from the largest to eps itself.
_RADII = ((3.0, 0.3), (2.0, 0.3), (1.0, 0.4))
_L1_GAP = 0.04  # fraction of the steps at a radius between two checkpoints
_DENSER = 1.5  # a step moves this fraction fewer pixels than the best point has changed
_REDUCED = 0.95  # a checkpoint at which the best point has changed fewer pixels by this factor
_SLOWER, _SLOWEST = 1.5, 10.0  # divisors of the step size: at a checkpoint, and in all


class Options(AttackOptions):
    """APGD: PGD with automatic step sizes, on cross-entropy, margin or DLR loss."""

    checked_against: ClassVar[str] = "torchattacks; the closed form on linear networks"
    goes_with: ClassVar[Conditions] = {"sparsity": ("norm", ("l1",))}

    norm: f.Norm = "linf"
    loss: Annotated[
        Literal["ce", "margin", "dlr"],
        Field(description=("loss that the attack increases: cross-entropy, margin, or DLR")),
        f.PERTURBATION,
    ] = "ce"
    target_classes: Annotated[
        int,
        Field(
            ge=0,
            le=100_000,
            description=(
                "attack this many other classes in turn, the most likely first (APGD-T); 0 for "
                "an untargeted loss"
            ),
        ),
        f.PERTURBATION,
    ] = 0
    steps: f.Steps = 50
    restarts: f.Restarts = 1
    eot: f.GradientSamples = 1
    sparsity: Annotated[
        float,
        Field(gt=0, le=1, description="l1: fraction of the pixels that the first steps change"),
        f.PERTURBATION,
    ] = 0.2
    confidence: f.Confidence = None


def perturb(
    victim: Victim, images: Tensor, goal: Goal, random: ImageRandom, eps: float, options: Options
) -> Tensor:
    """Images (N, C, H, W) in [0, 1] moved within the ball of radius eps.

    With ``target_classes`` this is APGD-T: one climb towards each of that many other classes, the
    likeliest first. In L1 each climb begins in larger balls, of three and two times eps.

    Raises:
        UsageError: dlr on a network of fewer than four classes (three without a target and without
            ``target_classes``).
    """
    import torch

    from advlab.errors import UsageError
    from advlab.perturbation import geometry
    from advlab.perturbation.ascent import ascend, images_to_keep, replaced, rows

    logits = victim.logits(images)
    least = 4 if options.target_classes or goal.targeted else 3
    if options.loss == "dlr" and logits.shape[1] < least:
        raise UsageError(
            f"--loss dlr needs {least} classes, and the network has {logits.shape[1]}; --loss "
            "margin needs two"
        )
    others = logits.scatter(1, goal.classes[:, None], -torch.inf).argsort(dim=1, descending=True)
    goals: list[Goal] = [goal]
    if options.target_classes and not goal.targeted:
        goals = [
            replace(goal, others=others[:, rank])
            for rank in range(min(options.target_classes, logits.shape[1] - 1))
        ]
    p = geometry.P[options.norm]
    result, todo = images, torch.arange(len(images), device=images.device)

    def finish(perturbed: Tensor, index: Tensor) -> Tensor:
        return (
            geometry.round_to_bytes(perturbed, images[todo[index]], eps, p)
            if options.quantize
            else perturbed
        )

    for restart_goal in [one for one in goals for _ in range(options.restarts)]:
        clean, selected_goal = rows(images, todo), restart_goal.select(todo)
        if options.norm == "l1":
            climbed = _climb_l1(victim, clean, selected_goal, random, eps, options, finish)
        else:
            climber = _Climber(clean, random, selected_goal, eps, p, options)
            climbed = ascend(
                victim,
                climber.best,
                selected_goal,
                options.loss,
                options.steps,
                climber.step,
                finish,
                keep=images_to_keep(options),
            )
        result = replaced(result, todo, climbed)
        unbroken = ~selected_goal.reached(victim.logits(climbed))
        todo, random = todo[unbroken], random.select(unbroken.nonzero().squeeze(1))
        if len(todo) == 0:
            break
    return result


class _Climber:
    """The state of APGD for each image: step size, best point, and recent progress.

    No tensor of images is changed in place: for a photo of twelve megapixels each copy takes 144
    MB, and as it is, points are shared with the loop that made them.
    """

    def __init__(
        self,
        clean: Tensor,
        random: ImageRandom,
        goal: Goal,
        eps: float,
        p: float,
        options: Options,
    ) -> None:
        import torch

        from advlab.perturbation import geometry

        start = geometry.random_point(random, clean, eps, p).add_(clean).clamp_(0, 1)
        count, device = len(clean), clean.device
        self.clean, self.goal, self.eps, self.p, self.options = clean, goal, eps, p, options
        self.size = torch.full((count,), 2 * eps, device=device)
        self.before, self.best, self.best_gradient = start, start, torch.zeros_like(start)
        self.best_loss = torch.full((count,), -torch.inf, device=device)
        self.checked_loss, self.last_loss = self.best_loss.clone(), self.best_loss.clone()
        self.halved = torch.ones(count, dtype=torch.bool, device=device)
        self.rises = torch.zeros(count, device=device)
        self.checkpoints = checkpoints(options.steps)
        self.checked = 0

    def step(
        self, current: Tensor, gradient: Tensor, logits: Tensor, index: Tensor, number: int
    ) -> Tensor:
        """One iteration of the paper's algorithm 1."""
        import torch

        from advlab.perturbation.ascent import into, projected_step, replaced, rows

        loss = self.goal.select(index).loss(logits, self.options.loss).to(self.best_loss.dtype)
        better = loss > self.best_loss[index]
        if better.any():
            improved = better.nonzero().squeeze(1)
            self.best = replaced(self.best, index[improved], rows(current, improved))
            self.best_gradient = replaced(
                self.best_gradient, index[improved], rows(gradient, improved)
            )
        self.best_loss[index] = torch.where(better, loss, self.best_loss[index])
        self.rises[index] += (loss > self.last_loss[index]).to(self.rises.dtype) if number else 0
        self.last_loss[index] = loss
        if number in self.checkpoints:
            stuck = self._stuck(index, number)
            self.size[index[stuck]] /= 2
            if stuck.any():
                back = stuck.nonzero().squeeze(1)
                current = replaced(current, back, rows(self.best, index[back]))
                gradient = replaced(gradient, back, rows(self.best_gradient, index[back]))
        clean = rows(self.clean, index)
        ahead = projected_step(
            clean,
            current,
            gradient,
            self.size[index].view(-1, 1, 1, 1),
            self.eps,
            self.p,
            self.options.sparsity,
        )
        if number:
            moved = (ahead - current).mul_(_MOMENTUM).add_(current)
            moved += (current - rows(self.before, index)).mul_(1 - _MOMENTUM)
            ahead = into(clean, moved, self.eps, self.p)
        self.before = replaced(self.before, index, current)
        return ahead

    def _stuck(self, index: Tensor, number: int) -> Tensor:
        """Which images get half the step size, bool (M,).

        Either the loss rose in too few steps since the last checkpoint, or the step was not halved
        there and the best loss has not improved since.
        """
        few = self.rises[index] < _RISING * (number - self.checked)
        idle = ~self.halved[index] & (self.checked_loss[index] >= self.best_loss[index])
        self.halved[index], self.checked_loss[index] = few | idle, self.best_loss[index]
        self.rises[index], self.checked = 0, number
        return few | idle


def _climb_l1(
    victim: Victim,
    clean: Tensor,
    goal: Goal,
    random: ImageRandom,
    eps: float,
    options: Options,
    finish: Finish,
) -> Tensor:
    """One run in L1 at 3, 2 and 1 times eps, each from the best point of the one before.

    The start is Gaussian noise, projected. Only the last radius counts, so that images leave early
    there alone.
    """
    from advlab.perturbation.ascent import ascend, images_to_keep
    from advlab.perturbation.geometry import project_l1_into_box

    noise = random.normal(tuple(clean.shape[1:])).to(clean)
    start = project_l1_into_box(clean, clean + noise, _RADII[0][0] * eps)
    parts = [round(fraction * options.steps) for _, fraction in _RADII[:-1]]
    result = start
    for (factor, _), steps in zip(_RADII, [*parts, options.steps - sum(parts)], strict=True):
        last = factor == _RADII[-1][0]
        start = project_l1_into_box(clean, start, factor * eps)
        climber = _SparseClimber(clean, start, goal, factor * eps, max(steps, 1), options)
        result = ascend(
            victim,
            start,
            goal,
            options.loss,
            steps,
            climber.step,
            finish if last else lambda images, index: images,
            keep=images_to_keep(options) if last else "last",
        )
        start = climber.best
    return result


class _SparseClimber:
    """The state of APGD in L1 for each image: step size, pixels per step, and best point."""

    def __init__(
        self,
        clean: Tensor,
        start: Tensor,
        goal: Goal,
        eps: float,
        steps: int,
        options: Options,
    ) -> None:
        import torch

        count, pixels = len(clean), clean[0].numel()
        self.clean, self.goal, self.eps, self.loss = clean, goal, eps, options.loss
        self.best, self.best_gradient = start.clone(), torch.zeros_like(start)
        self.best_loss = torch.full((count,), -torch.inf, device=clean.device)
        self.size = torch.full((count,), eps, device=clean.device)
        self.moved = torch.full((count,), options.sparsity * pixels, device=clean.device)
        self.changed = torch.full((count,), float(pixels), device=clean.device)
        self.gap = max(1, int(_L1_GAP * steps))

    def step(
        self, current: Tensor, gradient: Tensor, logits: Tensor, index: Tensor, number: int
    ) -> Tensor:
        """One iteration: a step on the steepest pixels, projected onto ball and box."""
        import torch

        from advlab.perturbation.geometry import project_l1_into_box

        loss = self.goal.select(index).loss(logits, self.loss).to(self.best_loss.dtype)
        better = loss > self.best_loss[index]
        self.best[index[better]] = current[better]
        self.best_gradient[index[better]] = gradient[better]
        self.best_loss[index] = torch.where(better, loss, self.best_loss[index])
        if number and number % self.gap == 0:
            again = self._checkpoint(index)
            current, gradient = current.clone(), gradient.clone()
            current[again] = self.best[index[again]]
            gradient[again] = self.best_gradient[index[again]]
        size = self.size[index].view(-1, 1, 1, 1)
        ahead = current + size * steepest_pixels(gradient, self.moved[index])
        return project_l1_into_box(self.clean[index], ahead, self.eps)

    def _checkpoint(self, index: Tensor) -> Tensor:
        """Update step size and pixels per step; return which images restart from their best."""
        import torch

        clean = self.clean[index]
        changed = (self.best[index] != clean).flatten(1).sum(1).to(self.changed.dtype)
        sparser = changed < _REDUCED * self.changed[index]
        slower = (self.size[index] / _SLOWER).clamp_min(self.eps / _SLOWEST)
        self.size[index] = torch.where(sparser, torch.full_like(slower, self.eps), slower)
        self.moved[index] = changed / _DENSER
        self.changed[index] = changed
        return sparser


def steepest_pixels(gradient: Tensor, count: Tensor) -> Tensor:
    """A step of L1 norm 1 along the signs of the entries with the largest gradients.

    Args:
        gradient: (N, C, H, W).
        count: how many entries move, for each image, (N,); at least one does.
    """
    from advlab.perturbation.sorting import sorted_rows

    size = gradient.flatten(1).abs()
    entries = size.shape[1]
    place = (entries - count).clamp(0, entries - 1).long()[:, None]
    level = sorted_rows(size).gather(1, place)
    signs = gradient.flatten(1).sign() * (size >= level)
    return (signs / signs.abs().sum(1, keepdim=True).clamp_min(1)).view_as(gradient)


def checkpoints(steps: int) -> set[int]:
    """The steps at which step sizes are reconsidered: rarely at first, then more often."""
    positions, at, gap = set(), 0, max(1, round(_FIRST * steps))
    while at + gap < steps:
        at += gap
        positions.add(at)
        gap = max(gap - max(1, round(_SHRINK * steps)), max(1, round(_LEAST * steps)))
    return positions
