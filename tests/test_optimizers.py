"""Optimisers without torch's compiler: the same steps. That no command imports it is seen in
``test_cli_help``."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from advlab.training.optimizers import uncompiled


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (torch.optim.Adam, {"fused": True}),
        (torch.optim.AdamW, {"fused": True, "weight_decay": 0.1}),
        (torch.optim.SGD, {"momentum": 0.9, "nesterov": True, "fused": True}),
        (torch.optim.RMSprop, {}),
    ],
)
def test_the_steps_are_those_of_torch(
    kind: type[torch.optim.Optimizer], options: dict[str, Any]
) -> None:
    ended = []
    for one in (uncompiled(kind), kind):
        torch.manual_seed(0)
        network = nn.Linear(5, 3)
        optimizer = one(network.parameters(), lr=0.01, **options)  # type: ignore[call-arg]
        for step in range(6):
            optimizer.zero_grad(set_to_none=True)
            network(torch.randn(4, 5)).square().sum().backward()
            optimizer.step()
            if step == 2:
                state = optimizer.state_dict()
                optimizer = one(network.parameters(), lr=0.01, **options)  # type: ignore[call-arg]
                optimizer.load_state_dict(state)
        assert all(parameter.requires_grad for parameter in network.parameters())
        ended.append(torch.cat([value.detach().flatten() for value in network.parameters()]))
    assert torch.equal(*ended)
