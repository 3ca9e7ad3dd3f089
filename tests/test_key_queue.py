"""MoCo's queue: its loss, its keys and the encoder that makes them, beside naive versions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from advlab.config.options.contrast import ContrastOptions
from advlab.contrastive.candidates import Batch, Queue
from advlab.contrastive.loss import queue_lower_bound, queue_similarities, queue_uninformed
from advlab.contrastive.networks import Contrast
from advlab.contrastive.settings import metadata_of
from advlab.runs.machine import Machine

SHAPE, SIZE, TEMPERATURE = (1, 12, 12), 10, 0.2


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network_of() -> Contrast:
    """A narrow encoder and its head, in float64, with batch normalisation."""
    torch.manual_seed(0)
    options = ContrastOptions(width=2, projection=[6, 4])
    return Contrast(metadata_of(options, SHAPE, ("a", "b"), "x"), [0.5], [0.25]).double().train()


def queue_of(network: Contrast, momentum: float = 0.75) -> Queue:
    return Queue(network, SIZE, momentum, TEMPERATURE, seeded(1))


def batch(seed: int = 2) -> Batch:
    return Batch(6, seeded(seed), Machine(torch.device("cpu"), "fp32"))


def views() -> Tensor:
    return torch.rand(12, *SHAPE, dtype=torch.float64, generator=seeded(3))


def test_the_loss_is_the_sum_of_the_papers_equation() -> None:
    queries = torch.randn(5, 4, dtype=torch.float64, generator=seeded(0), requires_grad=True)
    keys, queue = (
        functional.normalize(torch.randn(n, 4, dtype=torch.float64, generator=seeded(n)), dim=1)
        for n in (5, 7)
    )
    loss = functional.cross_entropy(*queue_similarities(queries, keys, queue, TEMPERATURE))
    naive = 0.0
    for query, key in zip(queries.detach(), keys, strict=True):
        unit = query / query.norm()
        own = math.exp(float(unit @ key) / TEMPERATURE)
        others = sum(math.exp(float(unit @ other) / TEMPERATURE) for other in queue)
        naive -= math.log(own / (own + others)) / len(keys)
    assert loss.item() == pytest.approx(naive, rel=1e-12)
    assert torch.autograd.gradcheck(
        lambda q: functional.cross_entropy(*queue_similarities(q, keys, queue, TEMPERATURE)),
        (queries,),
    )


def test_its_bounds_are_reached() -> None:
    key = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    opposite = -key.expand(SIZE, 2)
    best = functional.cross_entropy(*queue_similarities(key, key, opposite, TEMPERATURE))
    assert float(best) == pytest.approx(queue_lower_bound(SIZE, TEMPERATURE), rel=1e-9)
    alike = functional.cross_entropy(*queue_similarities(key, key, -opposite, TEMPERATURE))
    assert float(alike) == pytest.approx(queue_uninformed(SIZE), rel=1e-9)


def test_keys_are_those_of_the_copy_and_the_oldest_leave_the_queue() -> None:
    network = network_of()
    queue = queue_of(network)
    queue.keys = queue.keys.double()
    before, x = queue.keys.clone(), views()
    twin = network_of()
    sim, target = queue.compare(network, x, batch())
    assert target.tolist() == [0] * 6
    # Six images are one group, whose statistics do not depend on its order.
    keys = functional.normalize(twin(x[6:]), dim=1)
    torch.testing.assert_close(queue.keys[:6], keys.detach())
    assert torch.equal(queue.keys[6:], before[:4])
    queries = functional.normalize(twin(x[:6]), dim=1)
    expected = torch.cat([(queries * keys).sum(1, keepdim=True), queries @ before.T], 1)
    torch.testing.assert_close(sim, expected / TEMPERATURE)


def test_no_gradient_reaches_the_copy() -> None:
    network = network_of()
    queue = queue_of(network)
    functional.cross_entropy(*queue.compare(network, views(), batch())).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert all(parameter.grad is None for parameter in queue.network.parameters())


def test_the_copy_follows_by_its_momentum() -> None:
    network = network_of()
    queue = queue_of(network, momentum=0.75)
    first = [parameter.detach().clone() for parameter in network.parameters()]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
    for steps in (1, 2, 3):
        queue.stepped(network)
        for own, start in zip(queue.network.parameters(), first, strict=True):
            torch.testing.assert_close(own.detach(), start + 1 - 0.75**steps)


def test_the_groups_of_keys_are_normalised_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key depends on which images are in its group, so that queries and keys of an image do not
    share their statistics."""
    monkeypatch.setattr("advlab.contrastive.candidates._GROUP", 3)
    network, x = network_of(), views()
    queue = queue_of(network)
    queue.keys = queue.keys.double()
    queue.compare(network, x, batch(seed=4))
    order = torch.randperm(6, generator=seeded(4))
    twin = network_of()
    for group in order.split(3):
        keys = functional.normalize(twin(x[6:][group]), dim=1)
        torch.testing.assert_close(queue.keys[:6][group], keys.detach())
    assert any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())
