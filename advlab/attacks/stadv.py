"""stAdv: pixels take their values from nearby places, by a smooth flow that is optimised.

Xiao et al. 2018, arXiv:1801.02612. The paper bounds no displacement and minimises by L-BFGS; here
displacements have a largest size, so that accuracies have a threat model, and Adam descends. An
image that withstands the first weight of the roughness is attacked again at smaller ones, since how
much a weight weighs depends on how large the network's logits are.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from advlab.config import fields as f
from advlab.config.options.run import ImageAttackOptions
from advlab.config.threats import Displacement

if TYPE_CHECKING:
    from torch import Tensor

    from advlab.perturbation.goal import Goal
    from advlab.perturbation.randomness import ImageRandom
    from advlab.perturbation.transformed import Searched
    from advlab.perturbation.victim import Victim
    from advlab.progress import Bar

_DECAY_1, _DECAY_2, _SMALL = 0.9, 0.999, 1e-8  # Adam
# Of the largest displacement, in either direction. At a flow of 0 the slope sees only one of the
# two sides of each pixel, and beside an even area that may be the one that changes nothing.
_START = 0.1


class Options(ImageAttackOptions):
    """stAdv: a smooth flow displaces every pixel by a little; no Lp ball."""

    checked_against: ClassVar[str] = "SciPy's warp and minimiser; a closed form"
    instead_of_eps: ClassVar[str] = "its limit is --max-shift"

    precision: f.Precision = "fp32"  # it is after the flow that just suffices
    max_shift: Annotated[
        float,
        Field(
            ge=0,
            le=1000,
            description="largest displacement of a pixel along each side, in pixels",
        ),
        f.PERTURBATION,
    ] = 1.0
    flow_weight: Annotated[
        float,
        Field(
            ge=0,
            le=1e6,
            description="weight of the flow's roughness beside the margin between logits (tau)",
        ),
        f.PERTURBATION,
    ] = 0.05
    search_steps: Annotated[
        int,
        Field(
            ge=1,
            le=100,
            description=(
                "weights that are tried on an image while it is not broken, a descent each: every "
                "one a tenth of the one before, and the last 0; with 1 flow-weight alone"
            ),
        ),
        f.PERTURBATION,
    ] = 4
    steps: f.Steps = 100
    lr: Annotated[
        float,
        Field(gt=0, le=10, description="first learning rate of Adam, in pixels"),
        f.PERTURBATION,
    ] = 0.1
    margin: f.Margin = 0.0

    @property
    def threat(self) -> Displacement:
        """What the attack may do."""
        return Displacement(max_shift=self.max_shift)

    @property
    def roughness_weights(self) -> list[float]:
        """The weights of the roughness that are tried, in this order."""
        tenths = [self.flow_weight / 10**number for number in range(max(1, self.search_steps - 1))]
        return [*tenths, 0.0] if self.search_steps > 1 else tenths


def perturb(
    victim: Victim, images: Tensor, goal: Goal, random: ImageRandom, options: Options
) -> Tensor:
    """Images (N, C, H, W) in [0, 1], each pixel displaced by at most ``max_shift``."""
    return search(victim, images, goal, random, options).images


def search(
    victim: Victim, images: Tensor, goal: Goal, random: ImageRandom, options: Options
) -> Searched:
    """The same with the flows, (N, 2, H, W) in pixels down and right, and the number of queries.

    max(κ - m, 0) + τ · L descends, where m is the margin by which the goal is exceeded, κ
    ``margin``, τ one of ``roughness_weights`` and L the roughness of the flow (``flow.variation``).
    Of the flows that reach the goal by the margin at the first weight that leads to one, the
    smoothest counts; of an image that never does, and of every image that is made on a surrogate,
    the one with the largest margin. An image that is at its goal stays as it is.
    """
    from advlab.perturbation.transformed import Searched
    from advlab.progress import progress_bar

    state = _Best(victim, images, goal, options)
    if options.max_shift == 0:  # there is nothing to search
        return Searched(state.images, state.flows, state.queries)
    steps = options.steps * len(options.roughness_weights)
    with progress_bar(steps, "flows of these images", "steps") as bar:
        for weight in options.roughness_weights:
            index = state.to_attack()
            if len(index):
                _descend(state, index, random.select(index), weight, bar)
    return Searched(state.images, state.flows, state.queries)


def _descend(state: _Best, index: Tensor, random: ImageRandom, weight: float, bar: Bar) -> None:
    """Descend from a small random flow of the images at ``index`` (M,), by Adam; ``bar`` counts the
    steps.

    Its learning rate falls along half a cosine. A constant one would leave the flow as rough as its
    steps are long, since the roughness has a kink where neighbours move alike.
    """
    import torch

    options, clean = state.options, state.clean
    limit = options.max_shift
    flow = limit * _START * (2 * random.uniform((2, *clean.shape[2:])) - 1)
    flow = flow.to(clean)
    first, second = torch.zeros_like(flow), torch.zeros_like(flow)
    for number in range(1, options.steps + 1):
        slope = _slope(state, index, flow, weight)
        first = _DECAY_1 * first + (1 - _DECAY_1) * slope
        second = _DECAY_2 * second + (1 - _DECAY_2) * slope**2
        mean, square = first / (1 - _DECAY_1**number), second / (1 - _DECAY_2**number)
        rate = options.lr * 0.5 * (1 + math.cos(math.pi * (number - 1) / options.steps))
        flow = (flow - rate * mean / (square.sqrt() + _SMALL)).clamp(-limit, limit)
        bar.update()


def unchanged(shape: tuple[int, ...]) -> Tensor:
    """The flow that leaves an image of this shape as it is."""
    import torch

    return torch.zeros(2, *shape[1:])


def _slope(state: _Best, index: Tensor, flow: Tensor, weight: float) -> Tensor:
    """The gradient of what descends, with respect to the flows (M, 2, H, W); what they make of the
    images at ``index`` is offered to ``state``."""
    import torch

    from advlab.perturbation.flow import variation, warped

    options, goal = state.options, state.goal.select(index)
    with torch.enable_grad():
        leaf = flow.detach().requires_grad_(True)
        x = warped(state.clean[index], leaf)
        roughness = variation(leaf)
    seen = x.detach().clamp(0, 1)
    gradient, logits = state.victim.gradient(seen, goal, "margin")
    margin = goal.loss(logits, "margin")
    state.offer(index, seen, flow, roughness.detach(), margin, goal.reached(logits))
    pull = (margin < options.margin) | ~goal.reached(logits)
    gradient = torch.where(pull.view(-1, 1, 1, 1), gradient, 0.0)
    weights = torch.full_like(roughness, weight)
    (slope,) = torch.autograd.grad((x, roughness), leaf, (-gradient, weights))
    return slope


class _Best:
    """The best flow of each image so far.

    Attributes:
        images, flows, queries: as of ``Searched``.
    """

    def __init__(self, victim: Victim, images: Tensor, goal: Goal, options: Options) -> None:
        import torch

        self.victim, self.clean, self.goal, self.options = victim, images, goal, options
        count = len(images)
        self.images = images.clone()
        self.flows = torch.zeros(count, 2, *images.shape[2:]).to(images)
        self.queries = torch.ones(count, dtype=torch.int64, device=images.device)
        self._at_goal = goal.reached(victim.logits(images))
        # The smaller the better: roughness where the goal is reached, else far above it.
        self._successful = torch.zeros_like(self._at_goal)
        self._roughness = torch.full((count,), torch.inf).to(images)
        self._margin = torch.full((count,), -torch.inf).to(images)

    def to_attack(self) -> Tensor:
        """The positions of the images for which no flow is known that reaches the goal."""
        return (~self._at_goal & ~self._successful).nonzero().squeeze(1)

    def offer(
        self,
        index: Tensor,
        x: Tensor,
        flow: Tensor,
        roughness: Tensor,
        margin: Tensor,
        reached: Tensor,
    ) -> None:
        """Keep those of the warped images x (M, C, H, W) that are better than those before.

        The margin, and whether the goal is reached, may come from faster arithmetic, which only
        nominates a success: the network is asked once more.
        """
        import torch

        self.queries[index] += 1
        success = reached & (margin >= self.options.margin)
        if self.options.surrogate is not None:
            success = torch.zeros_like(success)
        nominated = (success & (roughness < self._roughness[index])).nonzero().squeeze(1)
        if len(nominated):
            self.queries[index[nominated]] += 1
            logits = self.victim.logits(x[nominated])
            confirmed = nominated[self.goal.select(index[nominated]).reached(logits)]
            chosen = index[confirmed]
            self._roughness[chosen], self._successful[chosen] = roughness[confirmed], True
            self.images[chosen], self.flows[chosen] = x[confirmed], flow[confirmed]
        nearer = (~self._successful[index] & (margin > self._margin[index])).nonzero().squeeze(1)
        chosen = index[nearer]
        self._margin[chosen] = margin[nearer].to(self._margin)
        self.images[chosen], self.flows[chosen] = x[nearer], flow[nearer]
