"""Memory formats: every network that is built is spared oneDNN's fault, and computes what it
computed before."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import nn

import advlab
from advlab.components import component_names, load_component
from advlab.networks.layout import StridedPointwise, arranged, memory_format, place

# What crashed before ``place``: the sizes at which the heap was corrupted or the process died, with
# AVX2 and AVX-512.
CHILD = """
import sys, torch
from torch import nn
from advlab.contrastive.encoders.resnet18 import ResNet18
from advlab.networks.layout import arranged, memory_format, place

class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 8, 1, 2)
    def forward(self, images):
        return self.body(images).mean((2, 3))

torch.set_num_threads(1)
own = Own().to(memory_format=torch.channels_last)
networks = [ResNet18(3, 8, width) for width in (2, 3, 4, 5, 6, 7, 8)] + [own]
networks += [
    nn.Sequential(nn.Conv2d(3, wide, 1, 2), nn.Flatten(), nn.Linear(16 * wide, 2))
    for wide in (2, 8, 16)
]
for network in networks:
    place(network, "cpu")
    for _ in range(3):
        images = arranged(torch.rand(64, 3, 8, 8), memory_format(network)).requires_grad_()
        network(images).square().sum().backward()
        assert images.grad.isfinite().all()
print("alive")
"""


def test_small_strided_convolutions_do_not_reach_onednns_fault() -> None:
    """In a process of its own, whose heap is checked by the C library, so that the fault is a
    failure and not a hang."""
    checked = {**os.environ, "MALLOC_CHECK_": "3", "MALLOC_PERTURB_": "165"}
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        capture_output=True,
        text=True,
        timeout=120,
        env=checked,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "alive"


Sides = int | tuple[int, int]


@pytest.mark.parametrize("stride", [2, 3, (1, 2)])
@pytest.mark.parametrize(
    ("padding", "mode"), [(0, "zeros"), (1, "zeros"), ((1, 2), "reflect"), ("valid", "zeros")]
)
@pytest.mark.parametrize(("channels", "groups"), [(4, 1), (6, 2), (12, 1)])
def test_the_replacement_is_the_same_function(
    stride: int | tuple[int, int],
    padding: int | str,
    mode: Literal["zeros", "reflect"],
    channels: int,
    groups: int,
) -> None:
    torch.manual_seed(0)
    expected = nn.Conv2d(channels, 6, 1, stride, padding, groups=groups, padding_mode=mode).double()
    network = nn.Sequential(
        nn.Conv2d(channels, 6, 1, stride, padding, groups=groups, padding_mode=mode).double()
    )
    network[0].load_state_dict(expected.state_dict())
    place(network, "cpu")
    assert isinstance(network[0], StridedPointwise)
    images = torch.rand(3, channels, 7, 9, dtype=torch.float64, requires_grad=True)
    others = images.detach().clone().requires_grad_()
    weights = torch.rand_like(expected(images))
    (expected(images) * weights).sum().backward()
    (network(others) * weights).sum().backward()
    torch.testing.assert_close(network(others), expected(images))
    torch.testing.assert_close(others.grad, images.grad)
    torch.testing.assert_close(network[0].weight.grad, expected.weight.grad)


def test_placing_keeps_names_and_leaves_other_convolutions_alone() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.Conv2d(4, 4, 1), nn.Conv2d(64, 4, 1, 2))
    before = list(network.state_dict())
    place(network, "cpu")
    assert list(network.state_dict()) == before
    assert not [module for module in network if isinstance(module, StridedPointwise)]


def test_code_of_others_gets_contiguous_images() -> None:
    class Viewing(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.view(len(images), -1)

    assert memory_format(Viewing()) == torch.contiguous_format
    assert memory_format(nn.Sequential(nn.Conv2d(3, 4, 3))) == torch.channels_last
    assert (
        memory_format(nn.Sequential(nn.Conv2d(3, 4, 1, 2))) == torch.contiguous_format
    )  # not placed yet
    images = torch.rand(2, 3, 4, 4)
    assert arranged(images, torch.channels_last).is_contiguous(memory_format=torch.channels_last)
    assert arranged(images[0], torch.channels_last) is not None


@pytest.mark.parametrize("name", component_names("advlab.contrastive.encoders"))
@pytest.mark.parametrize("width", [2, 4, 7, 16])
def test_every_encoder_is_safe_once_placed(name: str, width: int) -> None:
    network = load_component("advlab.contrastive.encoders", name, "encoder").build(
        (3, 16, 16), width
    )
    assert memory_format(place(network, "cpu")) == torch.channels_last


def test_nothing_else_chooses_a_memory_format() -> None:
    """A network that is laid out elsewhere would get round ``place``."""
    root = Path(advlab.__file__).parent
    elsewhere = [
        str(file.relative_to(root))
        for file in sorted(root.rglob("*.py"))
        if file != root / "networks" / "layout.py"
        and re.search(r"memory_format=", file.read_text(encoding="utf-8"))
    ]
    assert not elsewhere
