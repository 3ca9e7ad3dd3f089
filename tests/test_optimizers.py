"""Optimisers without torch's compiler: the same steps, and no command imports it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
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


LINES = [
    "train mlp --width 8 --epochs 1 --name a",
    "attack pgd --model s/train/a --limit 5",
    "gan --epochs 1 --width 4 --train-size 64 --samples 50 --evaluation-samples 50 "
    "--feature-classifier s/train/a",
]


def test_no_command_imports_the_compiler(tmp_path: Path) -> None:
    """It takes a second and a half in every process."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom advlab.cli.main import main\n"
        f"for line in {LINES!r}:\n"
        "    assert main([*line.split(), '--dataset', 'digits', '--out', 's']) == 0\n"
        "    assert 'torch._dynamo' not in sys.modules, line\n"
    )
    run = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
