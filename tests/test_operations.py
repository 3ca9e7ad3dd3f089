"""Operations of networks, beside torch's own counter."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from advlab.networks.operations import OperationCount


class Attending(nn.Module):
    """Attention, a batch of products, and a sum over named axes."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(2).transpose(1, 2)
        rows, _ = self.attention(rows, rows, rows, need_weights=False)
        rows = functional.scaled_dot_product_attention(rows, rows, rows)
        rows = torch.einsum("nij,nkj->nik", rows, rows) @ rows
        return torch.baddbmm(rows, rows, rows.new_ones(len(rows), 8, 8)).mean(1)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "convolutions": lambda: nn.Sequential(
        nn.Conv2d(8, 16, 3, 2),
        nn.ReLU(),
        nn.Conv2d(16, 16, 2, groups=4),
        nn.Flatten(),
        nn.LazyLinear(10),
    ),
    "transposed": lambda: nn.Sequential(nn.ConvTranspose2d(8, 4, 3, 2), nn.Flatten()),
    "without a bias": lambda: nn.Sequential(nn.Flatten(), nn.Linear(8 * 36, 5, bias=False)),
    "attention": Attending,
    "nothing": nn.Flatten,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_operations_are_those_of_torchs_counter(name: str) -> None:
    network, x = NETWORKS[name]().eval(), torch.rand(5, 8, 6, 6)
    network(x)
    with torch.no_grad(), FlopCounterMode(display=False) as expected:
        network(x)
    with torch.no_grad(), OperationCount() as counter:
        network(x)
    assert counter.total == expected.get_total_flops()
    assert (counter.total > 0) == (name != "nothing")


def test_counting_loads_no_compiler() -> None:
    code = (
        "import sys, torch\n"
        "from advlab.networks.operations import OperationCount\n"
        "with OperationCount() as counter:\n"
        "    torch.nn.Linear(3, 4)(torch.rand(2, 3))\n"
        "assert counter.total == 2 * 2 * 3 * 4\n"
        "sys.exit(any(name in sys.modules for name in ('torch._dynamo', 'torch._inductor')))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
