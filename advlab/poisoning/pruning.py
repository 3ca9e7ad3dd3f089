"""Pruning of the units of a network's last convolution."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from advlab.data.image_set import Images
from advlab.errors import UsageError
from advlab.runs.machine import Machine
from advlab.training.evaluate import logits_of

# What belongs to the units of a convolution if it follows directly: without it, a unit that is set
# to zero would leave a constant behind batch normalisation.
_FOLLOWS = (
    nn.BatchNorm2d,
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.ELU,
    nn.GELU,
    nn.SiLU,
    nn.Hardswish,
)


class UnitMask(nn.Module):
    """Set channels of a map to zero, for good."""

    def __init__(self, channels: int, removed: Tensor) -> None:
        """For maps of this many channels, of which those of the numbers ``removed`` go."""
        super().__init__()
        mask = torch.ones(channels)
        mask[removed] = 0
        self.register_buffer("mask", mask.view(1, -1, 1, 1))

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (N, channels, H, W) without these channels."""
        return maps * self.get_buffer("mask")


def has_convolution(network: nn.Module) -> bool:
    """Whether there is a convolution whose units can be pruned."""
    return any(isinstance(module, nn.Conv2d) for module in network.modules())


@torch.inference_mode()
def prunable(network: nn.Module, images: Tensor) -> str:
    """The name of the module that gives the units of the last convolution: the convolution, or the
    last of the normalisation and activation that follow it directly.

    Modules that run more than once, as in residual blocks, are not taken for its activation.

    Args:
        network: in evaluation mode.
        images: what it takes, (N, C, H, W) in [0, 1], on its device.

    Raises:
        UsageError: no convolution ran.
    """
    names: dict[nn.Module, str] = {module: name for name, module in network.named_modules()}
    ran: list[nn.Module] = []
    handles = [
        module.register_forward_hook(lambda module, inputs, output: ran.append(module))
        for module in network.modules()
        if not list(module.children())
    ]
    try:
        network(images)
    finally:
        for handle in handles:
            handle.remove()
    places = [place for place, module in enumerate(ran) if isinstance(module, nn.Conv2d)]
    if not places:
        raise UsageError("--repair fine_pruning: the network has no convolution to prune")
    last = places[-1]
    while (
        last + 1 < len(ran)
        and isinstance(ran[last + 1], _FOLLOWS)
        and ran.count(ran[last + 1]) == 1
    ):
        last += 1
    return names[ran[last]]


def mean_activations(network: nn.Module, name: str, images: Images, machine: Machine) -> Tensor:
    """Mean absolute output of each channel of a module, over images and places: float64
    (channels,), on the CPU."""
    sums: list[Tensor] = []

    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        sums.append(output.detach().double().abs().mean(dim=(2, 3)).sum(dim=0).cpu())

    handle = network.get_submodule(name).register_forward_hook(add)
    try:
        logits_of(network, images, Machine(machine.device, "fp32"))
    finally:
        handle.remove()
    return torch.stack(sums).sum(dim=0) / len(images)


def pruned(network: nn.Module, name: str, removed: Tensor, units: int) -> nn.Module:
    """A copy of the network whose module ``name``, of so many channels, gives zero in those of the
    numbers ``removed``."""
    copied = copy.deepcopy(network)
    parent, _, child = name.rpartition(".")
    mask = UnitMask(units, removed).to(next(copied.parameters()).device)
    setattr(copied.get_submodule(parent), child, nn.Sequential(copied.get_submodule(name), mask))
    return copied.eval()
