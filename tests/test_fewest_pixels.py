"""The step of Brendel and Bethge's attack in L0, beside every choice of pixels of small images."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from advlab.perturbation.fewest_pixels import step_to_fewest_pixels
from advlab.perturbation.geometry import norm

PIXELS = 6


@dataclass(frozen=True)
class Problems:
    """A batch for the step, its arguments in order."""

    images: Tensor
    x: Tensor
    normal: Tensor
    gain: Tensor
    radius: Tensor

    def step(self) -> Tensor:
        return step_to_fewest_pixels(self.images, self.x, self.normal, self.gain, self.radius)

    def select(self, index: slice) -> Problems:
        return Problems(*(value[index] for value in vars(self).values()))


def drawn(channels: int, count: int = 30) -> Problems:
    """Images of six pixels: some at the ends of the range, some pixels as they were, and radii with
    which some planes cannot be reached."""
    generator = torch.Generator().manual_seed(channels)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=generator, dtype=torch.float64)

    images, x, normal = (uniform(channels, 2, 3) for _ in range(3))
    images[: count // 2], x[::3] = images[: count // 2].round(), x[::3].round()
    x = torch.where(uniform(1, 2, 3) < 0.4, images, x)
    gain = 0.3 * torch.randn(count, generator=generator, dtype=torch.float64)
    return Problems(images, x, normal - 0.5, gain, 0.1 + 1.2 * uniform())


def shortest(problem: Problems, restored: Tensor) -> Tensor | None:
    """The shortest step of one problem that restores these entries and reaches the plane, (D,), by
    halving its multiplier."""
    x, way = problem.x.flatten(), (problem.images - problem.x).flatten()
    slope, gain = problem.normal.flatten(), float(problem.gain)

    def at(t: float) -> Tensor:
        return torch.where(restored, way, (t * slope).clamp(-x, 1 - x))

    low, high = 0.0, 1e6
    if float(slope @ at(low)) >= gain:
        return at(low)
    if float(slope @ at(high)) < gain:
        return None
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if float(slope @ at(middle)) >= gain else (middle, high)
    return at(high)


def fewest(problem: Problems) -> int | None:
    """The fewest changed pixels of one problem; None where no step reaches the plane."""
    channels = problem.x.shape[1]
    for count in range(PIXELS + 1):
        for changed in itertools.combinations(range(PIXELS), count):
            restored = torch.ones(PIXELS, dtype=torch.bool)
            restored[list(changed)] = False
            r = shortest(problem, restored.repeat(channels))
            if r is not None and float(r.norm()) <= float(problem.radius) * (1 + 1e-9):
                return count
    return None


@pytest.mark.parametrize("channels", [1, 3])
def test_a_step_leaves_as_few_pixels_changed_as_any_choice_of_them(channels: int) -> None:
    problems = drawn(channels)
    step = problems.step()
    moved = problems.x + step
    assert (norm(step, 2) <= problems.radius * (1 + 1e-5)).all()
    assert moved.min() >= -1e-12
    assert moved.max() <= 1 + 1e-12
    added = (problems.normal * step).flatten(1).sum(1)
    # What was restored is not equal to the image in its last bit.
    ours = ((moved - problems.images).abs() > 1e-12).any(1).flatten(1).sum(1)
    exact = [fewest(problems.select(slice(at, at + 1))) for at in range(len(moved))]
    reachable = torch.tensor([count is not None for count in exact])
    assert 0 < int((~reachable).sum()) < len(moved) / 2, "both must occur"
    short = problems.gain - added
    assert (short[reachable] <= 1e-4 * problems.gain[reachable].abs()).all()
    assert (short[~reachable] > 0).all()
    more = ours[reachable] - torch.tensor([count for count in exact if count is not None])
    assert more.min() >= 0
    assert more.max() <= 1
    assert float((more == 0).double().mean()) >= 0.9, "most are exact"


def test_a_plane_out_of_reach_is_approached_as_far_as_the_region_goes() -> None:
    x = torch.full((1, 1, 2, 3), 0.5, dtype=torch.float64)
    normal = torch.tensor([3.0, 4.0, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64).view_as(x)
    hundred, radius = torch.tensor([100.0]).double(), torch.tensor([0.1]).double()
    step = step_to_fewest_pixels(0 * x, x, normal, hundred, radius)
    assert step.flatten().tolist() == pytest.approx([0.06, 0.08, 0, 0, 0, 0], abs=1e-5)
    # The box ends before the region does.
    cornered = step_to_fewest_pixels(0 * x, x, normal, hundred, 100 * radius)
    assert cornered.flatten()[:2].tolist() == pytest.approx([0.5, 0.5], abs=1e-4)


def test_without_a_slope_nothing_is_gained() -> None:
    """The images are restored where the region and the gain allow it, and left alone elsewhere."""
    x = torch.rand(3, 1, 2, 3, generator=torch.Generator().manual_seed(0))
    images, normal = 1 - x, torch.zeros_like(x)
    gain, radius = torch.tensor([1.0, -1.0, -1.0]), torch.tensor([9.0, 9.0, 1e-9])
    step = step_to_fewest_pixels(images, x, normal, gain, radius)
    assert torch.equal(step[0], torch.zeros_like(step[0]))
    assert torch.allclose(x[1] + step[1], images[1])
    assert torch.equal(step[2], torch.zeros_like(step[2]))


def test_entries_at_the_ends_of_the_box_do_not_leave_it() -> None:
    """All white; the slope wants lighter pixels, of which none can be had."""
    x = torch.ones(1, 1, 2, 3)
    step = step_to_fewest_pixels(x, x, torch.ones_like(x), torch.ones(1), torch.ones(1))
    assert torch.equal(step, torch.zeros_like(x))


def test_each_problem_is_solved_alike_alone_and_among_others() -> None:
    problems = drawn(1)
    together = problems.step()
    for at in range(0, len(together), 7):
        alone = problems.select(slice(at, at + 1)).step()
        assert torch.allclose(alone[0], together[at], rtol=0, atol=1e-12)
