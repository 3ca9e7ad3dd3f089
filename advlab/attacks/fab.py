"""FAB: the nearest image on the other side of the decision boundary.

Croce and Hein 2020, arXiv:1907.02044.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from advlab.config import fields as f
from advlab.config.options.run import AttackOptions

if TYPE_CHECKING:
    from torch import Tensor

    from advlab.perturbation.goal import Goal
    from advlab.perturbation.nearest import Nearest
    from advlab.perturbation.randomness import ImageRandom
    from advlab.perturbation.victim import Victim

# The paper's values, for every norm, network and data set.
_LARGEST_BIAS = 0.1  # alpha_max: how much of a step may start from the image itself
_OVERSHOOT = 1.05  # eta: how far past the linearised boundary a step goes
_BACK = 0.9  # beta: how much of the perturbation is kept after a success
# How far out a random start may lie, of the smaller of eps and the nearest success; as in the
# authors' code
_START = 0.5
_FINAL_SEARCH = 3  # steps of the search between the image and the nearest success
# Ours: each keeps this share of what it could gain, or rounding leaves it a last bit before the
# boundary
_SHORT = 0.1


class Options(AttackOptions):
    """FAB: the smallest perturbation that crosses the decision boundary to another class."""

    checked_against: ClassVar[str] = "torchattacks; the closed form on linear networks"

    precision: f.Precision = "fp32"  # it is after the place of the boundary, not just the way there
    norm: f.Norm = "linf"
    steps: f.Steps = 100
    restarts: f.Restarts = 1
    eot: f.GradientSamples = 1
    target_classes: f.TargetClasses = None
    nearest_class: f.NearestClass = False
    random_start: f.RandomStart = False
    minimal: f.Minimal = False

    @property
    def minimum_norm(self) -> bool:
        """Whether it goes on after the first success within ε."""
        return self.minimal


def perturb(
    victim: Victim, images: Tensor, goal: Goal, random: ImageRandom, eps: float, options: Options
) -> Tensor:
    """The nearest images (N, C, H, W) in [0, 1] that reach their goal within eps; else the images.

    With ``nearest_class`` this is FAB as published: every step heads for the nearest of the
    linearised boundaries to all other classes and costs a gradient for each of them. Without it
    this is the targeted variant, FAB-T: each run heads for one class, so that a step costs one
    gradient however many classes there are, and the classes are attacked in turn. A run takes up to
    ``steps`` steps, and there are ``restarts`` of it, of which the first starts from the image
    itself without ``random_start``. A targeted goal has its own class only.
    Without ``minimal`` an image is done with the first success within eps.
    """
    from advlab.perturbation import geometry
    from advlab.perturbation.nearest import Nearest, targets_of

    p = geometry.P[options.norm]
    nearest = Nearest(victim, images, goal, eps, options)
    limit = 0.0 if options.minimal else eps
    search = _Search(victim, nearest, limit, p, geometry.DUAL[options.norm], options.steps)
    todo = nearest.to_attack()
    random = random.select(todo)
    usual = nearest.logits.shape[1] - 1 if options.nearest_class else None
    targets = targets_of(goal, nearest.logits, options.target_classes or usual)
    for together in [targets] if options.nearest_class else targets.split(1, dim=1):
        for attempt in range(options.restarts):
            if len(todo) == 0:
                break
            start = images[todo]
            if attempt > 0 or options.random_start:
                radius = _START * nearest.distance[todo].clamp_max(eps).view(-1, 1, 1, 1)
                start = (start + radius * geometry.random_point(random, start, 1.0, p)).clamp(0, 1)
            search.descend(start, todo, together[todo])
            unfinished = search.unfinished(todo)
            todo, random = todo[unfinished], random.select(unfinished.nonzero().squeeze(1))
    search.close_in(todo)
    return nearest.within_eps()


@dataclass
class _Search:
    """Searches for the boundary; what they find goes to ``nearest``.

    Attributes:
        limit: an image with a success no farther than this is done.
        p, dual: exponents of the norm and of its dual.
    """

    victim: Victim
    nearest: Nearest
    limit: float
    p: float
    dual: float
    steps: int

    def unfinished(self, index: Tensor) -> Tensor:
        """Which of the images at ``index`` (M,) need further work; bool (M,)."""
        return self.nearest.distance[index] > self.limit

    def descend(self, x: Tensor, index: Tensor, targets: Tensor) -> None:
        """Algorithm 1 of the paper for the images at ``index`` (M,), from ``x`` (M, C, H, W).

        A step goes from x to the nearest linearised boundary to one of the classes in ``targets``
        (M, R) and on, drawn towards the point that the image itself would go to.
        """
        import torch

        from advlab.perturbation.geometry import norm
        from advlab.perturbation.hyperplane import onto_hyperplane
        from advlab.perturbation.nearest import nearest_boundary

        for _ in range(self.steps):
            clean, goal = self.nearest.images[index], self.nearest.goal.select(index)
            slope, height, _ = nearest_boundary(self.victim, x, goal, targets, self.dual)
            points, slopes, leads, at = (
                torch.cat([x, clean]),
                torch.cat([slope] * 2),
                height.repeat(2),
                torch.cat([x] * 2),
            )
            steps = onto_hyperplane(points, slopes, leads, at, self.p)
            own, original = norm(steps, self.p).chunk(2)
            bias = (
                torch.nan_to_num(own / (own + original)).clamp_max(_LARGEST_BIAS).view(-1, 1, 1, 1)
            )
            from_x, from_clean = (points + _OVERSHOOT * steps).chunk(2)
            x = ((1 - bias) * from_x + bias * from_clean).clamp(0, 1)
            reached = self.nearest.succeeds(self.victim.logits(x), index)
            self.nearest.offer(x[reached], index[reached], confirmed=True)
            x = torch.where(reached.view(-1, 1, 1, 1), clean + _BACK * (x - clean), x)
            unfinished = self.unfinished(index)
            if not unfinished.all():
                x, index, targets = x[unfinished], index[unfinished], targets[unfinished]
            if len(index) == 0:
                return

    def close_in(self, index: Tensor) -> None:
        """The final search of the paper for the boundary, by false position."""
        import torch

        index = index[self.nearest.distance[index].isfinite()]
        if len(index) == 0:
            return
        goal, near = self.nearest.goal.select(index), self.nearest.images[index]
        for _ in range(_FINAL_SEARCH):
            far = self.nearest.points[index]
            below, above = (goal.loss(self.victim.logits(x), "margin") for x in (near, far))
            fraction = torch.nan_to_num(below / (below - above), nan=0.5).clamp(0, 1)
            fraction = (fraction + _SHORT * (1 - fraction)).view(-1, 1, 1, 1)
            middle = (near + fraction * (far - near)).clamp(0, 1)
            reached = self.nearest.succeeds(self.victim.logits(middle), index)
            self.nearest.offer(middle[reached], index[reached], confirmed=True)
            near = torch.where(reached.view(-1, 1, 1, 1), near, middle)
