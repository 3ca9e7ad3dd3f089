"""HopSkipJump: along the boundary by answers alone (Chen, Jordan and Wainwright 2020, arXiv:1904.02144)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from advlab.config import fields as f
from advlab.config.commands import AttackOptions

if TYPE_CHECKING:
    from torch import Tensor

    from advlab.perturbation.goal import Goal
    from advlab.perturbation.randomness import ImageRandom
    from advlab.perturbation.victim import Victim

_STARTS = 100  # noise images tried until one is at the goal
_FIRST_VOTES = 100  # noisy copies that tell the direction in the first hop; they grow with its root
_HALVINGS = 15
_AT_ONCE = 2048  # images in one pass


class Options(AttackOptions):
    """HopSkipJump: from noise towards the image along the boundary. It sees only which class the network answers."""

    norm: Annotated[Literal["linf", "l2"], Field(description="norm that eps is measured in"), f.PERTURBATION] = "linf"
    queries: f.Queries = 2000


def perturb(victim: Victim, images: Tensor, goal: Goal, random: ImageRandom, eps: float, options: Options) -> Tensor:
    """Images (N, C, H, W) in [0, 1] within eps that reach their goal, found with ``queries`` answers each at the most.

    An image for which none was found, because no noise reached the goal or the walk ended too far away, comes back as it was.
    """

    from advlab.perturbation.geometry import P, norm, round_to_bytes

    p = P[options.norm]
    walk = _Walk(victim, images, goal, p, options.queries)
    result = images.clone()
    x, todo = walk.start(random)
    hop = 0
    while len(todo):
        x = walk.to_boundary(x, todo)
        near = norm(x - images[todo], p) <= eps
        if near.any():
            found = x[near]
            final = round_to_bytes(found, images[todo[near]], eps, p) if options.quantize else found
            sure = goal.select(todo[near]).reached(victim.logits(final))
            result[todo[near][sure]] = final[sure]
            near[near.clone()] = sure
        hop += 1
        votes = round(_FIRST_VOTES * math.sqrt(hop))
        # A hop needs its votes, the halvings of its jump, and those on the way back to the boundary.
        go = ~near & (walk.asked[todo] + votes + 2 * _HALVINGS <= options.queries)
        x, todo, random = x[go], todo[go], random.select(go.nonzero().squeeze(1))
        if len(todo):
            distance = norm(x - images[todo], p)
            direction = walk.direction(x, todo, random, distance, votes)
            x = walk.jump(x, todo, direction, distance / math.sqrt(hop))
    return result


class _Walk:
    """The three moves of the algorithm, and how many answers each image has cost (int64, (N,))."""

    def __init__(self, victim: Victim, images: Tensor, goal: Goal, p: float, queries: int) -> None:
        import torch

        self.victim, self.images, self.goal, self.p, self.queries = victim, images, goal, p, queries
        self.asked = torch.zeros(len(images), dtype=torch.int64, device=images.device)

    def reached(self, x: Tensor, index: Tensor) -> Tensor:
        """Which of these are at the goal: one answer each."""
        import torch

        self.asked[index] += 1
        parts = zip(x.split(_AT_ONCE), index.split(_AT_ONCE), strict=True)
        return torch.cat([self.goal.select(part).reached(self.victim.logits(some)) for some, part in parts])

    def start(self, random: ImageRandom) -> tuple[Tensor, Tensor]:
        """Uniform noise at the goal, and the images for which some was found.

        Noise of ever lower contrast around ever other greys is tried: noise of full contrast has one class, as a rule.
        """
        import torch

        index = torch.arange(len(self.images), device=self.images.device)
        x = self.images.clone()
        found = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        for trial in range(min(_STARTS, self.queries)):
            left = (~found).nonzero().squeeze(1)
            if len(left) == 0:
                break
            drawn = random.select(left)
            noise = drawn.uniform(tuple(x.shape[1:])).to(x)
            if trial % 2:  # patches in place of single pixels
                side = (4, 7, 10)[trial // 2 % 3]
                coarse = noise[:, :, : max(1, x.shape[2] // side), : max(1, x.shape[3] // side)]
                noise = torch.nn.functional.interpolate(coarse, tuple(x.shape[2:]), mode="bilinear")
            random.uniform((1,))  # the next trial draws other numbers
            there = self.reached(noise, index[left])
            x[left[there]], found[left[there]] = noise[there], True
        return x[found], index[found]

    def to_boundary(self, x: Tensor, index: Tensor) -> Tensor:
        """The nearest point to the image that is still at the goal, on the way there: a line in L2, a shrinking cube in L∞."""
        import torch

        from advlab.perturbation.geometry import norm

        images = self.images[index]
        low, high = torch.zeros(len(x), device=x.device), norm(x - images, self.p)
        whole = high.clamp_min(1e-12)
        best = x
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            if self.p == math.inf:
                limit = middle.view(-1, 1, 1, 1)
                blended = torch.minimum(torch.maximum(x, images - limit), images + limit)
            else:
                blended = images + (middle / whole).view(-1, 1, 1, 1) * (x - images)
            inside = self.reached(blended, index)
            best = blended.where(inside.view(-1, 1, 1, 1), best)
            low, high = low.where(inside, middle), middle.where(inside, high)
        return best

    def direction(self, x: Tensor, index: Tensor, random: ImageRandom, distance: Tensor, votes: int) -> Tensor:
        """Which way leads deeper into the goal: the mean of random directions, each weighed by what the network says there."""
        import torch

        shape, pixels = tuple(x.shape[1:]), x[0].numel()
        # In L2 the paper's. In L∞ the paper's is as small, and drowns in float32: there it is as much longer as a vector of
        # equal entries is in L2 than in L∞.
        radius = (distance / (pixels if self.p == 2 else math.sqrt(pixels))).clamp_min(1e-4).view(-1, 1, 1, 1, 1)
        weighed, plain, said = torch.zeros_like(x), torch.zeros_like(x), torch.zeros(len(x), device=x.device)
        left = votes
        while left:
            count = min(left, max(1, _AT_ONCE // len(x)))
            drawn = (random.uniform((count, *shape)) * 2 - 1 if self.p == math.inf else random.normal((count, *shape))).to(x)
            arrow = drawn / drawn.flatten(2).norm(dim=2).clamp_min(1e-12)[:, :, None, None, None]
            moved = (x[:, None] + radius * arrow).clamp(0, 1)
            arrow = (moved - x[:, None]) / radius
            who = index.repeat_interleave(count)
            there = self.goal.select(who).reached(self.victim.logits(moved.flatten(0, 1))).view(len(x), count)
            vote = there.to(x) * 2 - 1
            weighed += (vote[:, :, None, None, None] * arrow).sum(1)
            plain += arrow.sum(1)
            said += vote.sum(1)
            left -= count
        self.asked[index] += votes
        mean = (said / votes).view(-1, 1, 1, 1)
        # Where all say the same, that is the sign; elsewhere their mean is taken off, which lowers the variance.
        estimate = torch.where(mean.abs() == 1, mean * plain, weighed - mean * plain)
        if self.p == math.inf:
            return estimate.sign()
        unit: Tensor = estimate / estimate.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1, 1)
        return unit

    def jump(self, x: Tensor, index: Tensor, direction: Tensor, size: Tensor) -> Tensor:
        """As far that way as stays at the goal: the size is halved until it does."""
        import torch

        result, left, size = x.clone(), torch.ones(len(x), dtype=torch.bool, device=x.device), size.clone()
        for _ in range(_HALVINGS):
            which = left.nonzero().squeeze(1)
            if len(which) == 0:
                break
            moved = (x[which] + size[which].view(-1, 1, 1, 1) * direction[which]).clamp(0, 1)
            there = self.reached(moved, index[which])
            result[which[there]] = moved[there]
            left[which[there]] = False
            size[which[~there]] /= 2
        return result
