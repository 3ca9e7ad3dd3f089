"""Learning rates as pure functions of the step: beside torch's own schedulers, at their ends, and
as the loop uses them."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR, StepLR

from advlab.config.fields import Schedule
from advlab.config.options.run import TrainOptions
from advlab.data.image_set import Images
from advlab.runs.machine import Machine
from advlab.training.fit import fit
from advlab.training.objective import Objective
from advlab.training.schedule import learning_rate

SCHEDULES: tuple[str, ...] = get_args(get_args(Schedule)[0])
each = pytest.mark.parametrize("schedule", SCHEDULES)


def options(schedule: str, **changes: Any) -> TrainOptions:
    of_steps = {"step_epochs": 3, "step_gamma": 0.2} if schedule == "step" else {}
    return TrainOptions(**{"schedule": schedule, "epochs": 8, "lr": 0.02, **of_steps, **changes})


def rates(given: TrainOptions, steps_per_epoch: int) -> list[float]:
    assert given.epochs is not None
    return [
        learning_rate(given, step, steps_per_epoch)
        for step in range(given.epochs * steps_per_epoch)
    ]


def of_torch(make: Callable[[torch.optim.Optimizer], LRScheduler], steps: int) -> list[float]:
    """The rates that a scheduler of torch sets, one for each optimiser step."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.02)
    scheduler = make(optimizer)
    found = []
    for _ in range(steps):
        found.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        if len(found) < steps:  # OneCycleLR refuses a step beyond its last
            scheduler.step()
    return found


def test_all_schedules_are_looked_at() -> None:
    assert set(SCHEDULES) == {"constant", "step", "cosine", "one-cycle"}


@pytest.mark.parametrize("per_epoch", [1, 2, 7, 50])
def test_the_rates_are_torchs(per_epoch: int) -> None:
    steps = 8 * per_epoch
    step = of_torch(lambda optimizer: StepLR(optimizer, 3 * per_epoch, 0.2), steps)
    assert rates(options("step"), per_epoch) == pytest.approx(step, rel=1e-9)
    cosine = of_torch(lambda optimizer: CosineAnnealingLR(optimizer, steps), steps)
    # Torch multiplies from step to step, and its rounding adds up.
    assert rates(options("cosine"), per_epoch) == pytest.approx(cosine, rel=1e-6, abs=1e-9)
    # Torch puts the peak one step before pct_start of all steps, and gives the end as a part of the
    # start.
    rise = 0.25 * steps
    cycle = of_torch(
        lambda optimizer: OneCycleLR(
            optimizer,
            max_lr=0.02,
            total_steps=steps,
            pct_start=(rise + 1) / steps,
            anneal_strategy="cos",
            cycle_momentum=False,
            div_factor=25,
            final_div_factor=1 / (25 * 1e-5),
        ),
        steps,
    )
    assert rates(options("one-cycle"), per_epoch) == pytest.approx(cycle, rel=1e-9)


def test_the_ends_and_the_peak() -> None:
    constant, cosine = rates(options("constant"), 25), rates(options("cosine"), 25)
    assert set(constant) == {0.02}
    assert cosine[0] == 0.02
    assert cosine[100] == pytest.approx(0.01), "half-way it is at half"
    assert 0 < cosine[-1] < 0.02 * 1e-3
    step = rates(options("step"), 25)
    assert [step[0], step[74], step[75], step[149], step[150], step[199]] == pytest.approx(
        [0.02, 0.02, 4e-3, 4e-3, 8e-4, 8e-4]
    )
    cycle = rates(options("one-cycle"), 25)
    assert [cycle[0], max(cycle), cycle[-1]] == pytest.approx([0.02 / 25, 0.02, 0.02 * 1e-5])
    assert cycle.index(max(cycle)) == 50


@each
def test_a_rate_depends_on_the_step_alone(schedule: str) -> None:
    """A resumed run asks for step 117 first, and must get what an unbroken one gets there."""
    given = options(schedule)
    wanted = dict(enumerate(rates(given, 25)))
    steps = list(wanted)
    random.Random(0).shuffle(steps)
    assert {step: learning_rate(given, step, 25) for step in steps} == wanted


@each
def test_no_run_is_too_short(schedule: str) -> None:
    for epochs, per_epoch in itertools.product((1, 2, 3, 5), (1, 2, 3)):
        found = rates(options(schedule, epochs=epochs), per_epoch)
        assert all(0 < rate <= 0.02 for rate in found), (epochs, per_epoch, found)
    # One step must teach something: the most a schedule may take off it is what it takes off every
    # start.
    assert rates(options(schedule, epochs=1), 1)[0] >= 0.02 / 25


@each
def test_a_rate_is_in_proportion_to_the_one_asked_for(schedule: str) -> None:
    small, large = rates(options(schedule, lr=1e-4), 10), rates(options(schedule, lr=1.0), 10)
    assert large == pytest.approx([1e4 * rate for rate in small], rel=1e-9)


@pytest.mark.parametrize("schedule", ["cosine", "one-cycle"])
def test_the_smooth_ones_have_no_jump_at_the_turn_of_an_epoch(schedule: str) -> None:
    """A half cosine is steepest in its middle, at π/2 times its mean slope, and bends only
    slowly."""
    found = rates(options(schedule), 100)
    jumps = [abs(b - a) for a, b in itertools.pairwise(found)]
    steepest = 0.02 * 1.58 / (800 if schedule == "cosine" else 200)
    assert max(jumps) < steepest
    bends = [abs(b - a) for a, b in itertools.pairwise(jumps)]
    assert max(bends) < steepest / 50


def test_the_loop_steps_with_these_rates(tmp_path: Path) -> None:
    """The optimiser's own rate at every step, and in the history the last one of each epoch."""
    given = options("one-cycle", epochs=3, batch_size=10, optimizer="sgd", momentum=0)
    images = Images(torch.randint(0, 256, (40, 1, 2, 2), dtype=torch.uint8), torch.arange(40) % 2)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    trail: list[torch.Tensor] = []
    gradients: list[torch.Tensor] = []

    class Noting(Objective):
        def __call__(
            self, model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor, done: float
        ) -> tuple[torch.Tensor, torch.Tensor]:
            trail.append(model.get_parameter("1.bias").detach().clone())
            loss, logits = super().__call__(model, inputs, labels, done)
            gradients.append(
                torch.autograd.grad(loss, model.get_parameter("1.bias"), retain_graph=True)[0]
            )
            return loss, logits

    fit(
        model,
        images,
        images,
        given,
        Machine(torch.device("cpu"), "fp32"),
        tmp_path,
        keep=lambda network, progress: None,
        objective=Noting(),
    )
    trail.append(model.get_parameter("1.bias").detach().clone())
    wanted = rates(given, 4)
    for before, after, gradient, rate in zip(trail[:-1], trail[1:], gradients, wanted, strict=True):
        assert torch.allclose(after, before - rate * gradient, rtol=0, atol=1e-7)
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [line["lr"] for line in lines] == wanted[3::4]
