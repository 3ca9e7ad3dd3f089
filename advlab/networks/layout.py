"""Memory layout of networks and images: channels last where it is safe and faster."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

# oneDNN computes the gradient of a strided 1×1 convolution out of bounds when the channels lie last
# and are fewer than one block of its vectors (8 with AVX2, 16 with AVX-512): wrong numbers, a
# corrupted heap, or a segmentation fault (oneDNN issue 6035).
_FEWEST_CHANNELS = 16

_KNOWN_CODE = frozenset({"torch", "torchvision", "advlab"})


class StridedPointwise(nn.Conv2d):
    """A strided 1×1 convolution, computed as one of stride 1 over the pixels that the stride keeps:
    the same function."""

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, in channels, H, W) to (N, out channels, ⌈H / stride⌉, ⌈W / stride⌉), before
        padding."""
        padding = (
            self.padding if isinstance(self.padding, tuple) else (0, 0)
        )  # "valid"; "same" takes no stride
        if any(padding):
            mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
            images = functional.pad(images, (padding[1], padding[1], padding[0], padding[0]), mode)
        selected = images[:, :, :: self.stride[0], :: self.stride[1]]
        return functional.conv2d(selected, self.weight, self.bias, groups=self.groups)


def place(network: nn.Module, device: torch.device | str) -> nn.Module:
    """Move ``network`` to ``device`` in the memory format that suits it, with its faulty
    convolutions replaced; in place.

    Parameters, their names and the function computed stay as they are.

    Returns:
        The same module.
    """
    for module in network.modules():
        if type(module) is nn.Conv2d and _is_at_risk(module):
            module.__class__ = StridedPointwise
    network.to(device)
    layout = memory_format(network)
    with torch.no_grad():
        for tensor in (*network.parameters(), *network.buffers()):
            if tensor.dim() == 4:  # of five dimensions are the weights of volumes
                tensor.data = tensor.data.to(memory_format=layout)
    return network


def memory_format(network: nn.Module) -> torch.memory_format:
    """``channels_last`` for networks that are known to take it, ``contiguous_format`` for all
    others.

    Convolutions are faster on channels last, but a ``view`` in somebody's own ``forward`` fails on
    it, and so do the convolutions that ``place`` replaces.
    """
    return (
        torch.channels_last
        if all(map(_takes_channels_last, network.modules()))
        else torch.contiguous_format
    )


def arranged(inputs: Tensor, layout: torch.memory_format) -> Tensor:
    """Images (N, C, H, W) in that memory format; inputs of any other shape as they are."""
    return inputs.to(memory_format=layout) if inputs.dim() == 4 else inputs


def _takes_channels_last(module: nn.Module) -> bool:
    return type(module).__module__.partition(".")[0] in _KNOWN_CODE and not _is_at_risk(module)


def _is_at_risk(module: nn.Module) -> bool:
    if not isinstance(module, nn.Conv2d) or isinstance(module, StridedPointwise):
        return False
    strided = any(step > 1 for step in module.stride)
    return (
        module.kernel_size == (1, 1)
        and strided
        and module.in_channels // module.groups < _FEWEST_CHANNELS
    )
