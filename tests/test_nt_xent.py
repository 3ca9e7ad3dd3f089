"""NT-Xent beside a double loop in float64, its gradient beside finite differences, its bounds; LARS
beside its formula."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from advlab.contrastive.loss import lower_bound, nt_xent, similarities, uninformed
from advlab.training.lars import Lars, groups
from advlab.training.schedule import warmed_cosine


def drawn(count: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    z = torch.randn(
        2, count, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    return z[0], z[1]


def by_hand(z1: Tensor, z2: Tensor, temperature: float) -> float:
    """Algorithm 1 of the paper, view by view, its pairs interleaved as they are there."""
    views = [z.tolist() for pair in zip(z1, z2, strict=True) for z in pair]

    def cosine(a: list[float], b: list[float]) -> float:
        return math.fsum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(
            math.fsum(x * x for x in a) * math.fsum(x * x for x in b)
        )

    def loss(i: int, j: int) -> float:
        others = math.fsum(
            math.exp(cosine(views[i], views[k]) / temperature) for k in range(len(views)) if k != i
        )
        return -math.log(math.exp(cosine(views[i], views[j]) / temperature) / others)

    return math.fsum(loss(2 * k, 2 * k + 1) + loss(2 * k + 1, 2 * k) for k in range(len(z1))) / len(
        views
    )


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_it_is_the_double_loop(count: int, temperature: float) -> None:
    z1, z2 = drawn(count, 5)
    assert float(nt_xent(z1, z2, temperature)) == pytest.approx(
        by_hand(z1, z2, temperature), abs=1e-12
    )
    assert float(nt_xent(z1.float(), z2.float(), temperature)) == pytest.approx(
        by_hand(z1, z2, temperature), abs=1e-5
    )


def test_one_image_has_nothing_to_be_told_from() -> None:
    assert float(nt_xent(*drawn(1, 7), 0.5)) == pytest.approx(0, abs=1e-12)


def test_no_view_finds_itself_and_each_looks_for_the_other() -> None:
    sim, target = similarities(*drawn(3, 5), 0.5)
    assert target.tolist() == [3, 4, 5, 0, 1, 2]
    assert torch.equal(sim.diagonal(), torch.full((6,), -math.inf, dtype=torch.float64))
    torch.testing.assert_close(sim, sim.T)
    assert sim.fill_diagonal_(0).abs().max() <= 2


def test_orthogonal_views_know_nothing_but_their_partner() -> None:
    """Pairs that coincide, at right angles to all others: log(1 + (2N - 2) / e^(1/τ)); with nothing
    in common log(2N - 1)."""
    count = 6
    axes = torch.eye(2 * count, dtype=torch.float64)
    assert float(nt_xent(axes[:count], axes[count:], 0.5)) == pytest.approx(
        uninformed(count), abs=1e-12
    )
    expected = math.log(1 + (2 * count - 2) * math.exp(-1 / 0.5))
    assert float(nt_xent(axes[:count], axes[:count], 0.5)) == pytest.approx(expected, abs=1e-12)
    z1, z2 = drawn(256, 4096)
    assert float(nt_xent(z1, z2, 0.5)) == pytest.approx(uninformed(256), abs=0.01)
    assert float(nt_xent(*drawn(16, 4), 1e6)) == pytest.approx(uninformed(16), abs=1e-5)


def test_views_all_alike_know_nothing() -> None:
    z = torch.ones(4, 3)
    assert float(nt_xent(z, z, 0.5)) == pytest.approx(math.log(7), abs=1e-6)


def test_neither_order_nor_length_nor_which_view_is_first_matters() -> None:
    z1, z2 = drawn(8, 5)
    loss = float(nt_xent(z1, z2, 0.5))
    order = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    assert float(nt_xent(z1[order], z2[order], 0.5)) == pytest.approx(loss, abs=1e-12)
    assert float(nt_xent(z2, z1, 0.5)) == pytest.approx(loss, abs=1e-12)
    assert float(nt_xent(3 * z1, 0.1 * z2, 0.5)) == pytest.approx(loss, abs=1e-12)
    assert (
        float(nt_xent(z1, z2[order], 0.5)) > loss + 1e-3
        or float(nt_xent(z1, z2[order], 0.5)) < loss - 1e-3
    )


def test_the_gradient_is_that_of_finite_differences() -> None:
    z1, z2 = drawn(4, 3)
    z1.requires_grad_()
    z2.requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: nt_xent(a, b, 0.5), (z1, z2))


def test_it_is_computed_in_float32_whatever_surrounds_it() -> None:
    z1, z2 = (z.bfloat16() for z in drawn(32, 16))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = nt_xent(z1, z2, 0.1)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(by_hand(z1.double(), z2.double(), 0.1), abs=1e-5)


def test_a_small_temperature_does_not_overflow() -> None:
    z1, z2 = drawn(8, 5)
    assert math.isfinite(float(nt_xent(z1.float(), z2.float(), 0.001)))


# --- bounds ---------------------------------------------------------------------------------------
def test_the_bound_at_the_usual_settings() -> None:
    assert lower_bound(256, 0.5) == pytest.approx(4.24, abs=0.005)
    assert uninformed(256) == pytest.approx(6.236, abs=0.001)
    assert lower_bound(1, 0.5) == 0


@pytest.mark.parametrize("count", [2, 3, 9])
@pytest.mark.parametrize("temperature", [0.1, 0.5, 5.0])
def test_the_corners_of_a_simplex_reach_the_bound(count: int, temperature: float) -> None:
    corners = torch.eye(count, dtype=torch.float64) - 1 / count
    assert float(nt_xent(corners, corners, temperature)) == pytest.approx(
        lower_bound(count, temperature), abs=1e-12
    )


@pytest.mark.parametrize(("count", "width"), [(2, 2), (6, 3), (6, 8), (16, 4)])
def test_no_embedding_goes_below_the_bound(count: int, width: int) -> None:
    """Neither a random one nor one that descends the loss itself; where there are dimensions
    enough, that one comes close."""
    for seed in range(20):
        assert float(nt_xent(*drawn(count, width, seed), 0.5)) >= lower_bound(count, 0.5)
    z = nn.Parameter(torch.cat(drawn(count, width)))
    optimizer = torch.optim.Adam([z], 0.05)
    for _ in range(300):
        optimizer.zero_grad()
        loss = nt_xent(z[:count], z[count:], 0.5)
        loss.backward()
        optimizer.step()
        assert float(loss.detach()) >= lower_bound(count, 0.5) - 1e-12
    if width >= count - 1:
        assert float(loss.detach()) == pytest.approx(lower_bound(count, 0.5), abs=1e-3)


# --- LARS and the schedule ------------------------------------------------------------------------
def test_lars_takes_the_steps_of_its_formula() -> None:
    """Two steps by hand: w = (3, 4), g = (0, 2), λ = 0.1, η = 0.01, m = 0.9, lr = 1."""
    weight = nn.Parameter(torch.tensor([3.0, 4.0], dtype=torch.float64))
    optimizer = Lars([weight], lr=1.0, momentum=0.9, weight_decay=0.1, trust=0.01)
    weight.grad = torch.tensor([0.0, 2.0], dtype=torch.float64)
    optimizer.step()
    gradient = torch.tensor([0.3, 2.4], dtype=torch.float64)
    first = 0.01 * 5 / gradient.norm() * gradient
    expected = torch.tensor([3.0, 4.0], dtype=torch.float64) - first
    torch.testing.assert_close(weight.detach(), expected)
    assert float(first.norm()) == pytest.approx(
        0.05
    )  # a hundredth of the weights' length, whatever the gradient's
    weight.grad = torch.tensor([0.0, 2.0], dtype=torch.float64)
    optimizer.param_groups[0]["lr"] = 0.5
    optimizer.step()
    gradient = torch.tensor([0.0, 2.0], dtype=torch.float64) + 0.1 * expected
    velocity = 0.9 * first + 0.5 * 0.01 * expected.norm() / gradient.norm() * gradient
    torch.testing.assert_close(weight.detach(), expected - velocity)


@pytest.mark.parametrize(("start", "slope"), [(0.0, 2.0), (3.0, 0.0)])
def test_where_a_length_is_zero_lars_is_plain_descent(start: float, slope: float) -> None:
    weight = nn.Parameter(torch.full((2, 2), start))
    weight.grad = torch.full((2, 2), slope)
    Lars([weight], lr=0.5).step()
    torch.testing.assert_close(weight.detach(), torch.full((2, 2), start - 0.5 * slope))


def test_biases_and_normalisation_neither_decay_nor_adapt() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    decays, rest = groups(model, 0.5)
    assert [tuple(p.shape) for p in decays["params"]] == [(2, 3)]
    assert len(rest["params"]) == 3
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    Lars([decays, rest], lr=0.25).step()
    torch.testing.assert_close(rest["params"][1].detach(), torch.full((2,), 0.75))


def test_lars_goes_on_from_its_state() -> None:
    def steps(
        count: int, state: dict[str, object] | None, weight: Tensor
    ) -> tuple[dict[str, object], Tensor]:
        parameter = nn.Parameter(weight.clone())
        optimizer = Lars([parameter], lr=0.1)
        if state is not None:
            optimizer.load_state_dict(state)
        for _ in range(count):
            parameter.grad = parameter.detach() ** 2
            optimizer.step()
        return optimizer.state_dict(), parameter.detach()

    start = torch.tensor([[1.0, 2.0]])
    _, whole = steps(4, None, start)
    state, half = steps(2, None, start)
    assert torch.equal(steps(2, state, half)[1], whole)


def test_the_rate_rises_and_falls() -> None:
    rates = [warmed_cosine(2.0, step, 100, 0.1) for step in range(100)]
    assert rates[:10] == pytest.approx([2.0 * (step + 1) / 11 for step in range(10)])
    assert rates[10] == max(rates) == 2.0
    assert rates[55] == pytest.approx(1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 0.01
    assert warmed_cosine(2.0, 0, 1, 0.0) == 2.0
    assert 0 < warmed_cosine(2.0, 0, 1, 0.9) <= 2.0
