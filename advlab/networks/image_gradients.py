"""The gradient with respect to images, of convolutions that are slow to give it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from advlab.networks.layers import computes_as_its_class

# Products for each pixel and filter above which the library's own gradient is as fast: measured on
# processors with AVX2 and with AVX-512, see benchmarks/first_layer.md.
_MOST_PRODUCTS = 10
_FEW = 4


class FewChannels(nn.Conv2d):
    """A convolution of one channel, or of patches side by side, with a faster gradient with respect
    to its input: the same function.

    Libraries of convolutions compute that gradient as a convolution whose results have as many
    channels as the image. They do so in blocks of eight or sixteen channels, of which one or three
    are used. A product of matrices gives the same sums without the unused ones.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, in channels, H, W) to (N, out channels, H', W'), as ``nn.Conv2d``."""
        weight, bias = self.weight, self.bias
        trained = weight.requires_grad or (bias is not None and bias.requires_grad)
        needed = torch.is_grad_enabled() and images.requires_grad
        if trained or not needed or images.dim() != 4 or images.device.type != "cpu":
            return super().forward(images)
        convolved: Tensor = _Convolution.apply(images, weight, bias, self.stride, self.padding)
        return convolved


class _Convolution(torch.autograd.Function):
    """A convolution with constant weights."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        images: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: tuple[int, int],
        padding: tuple[int, int],
    ) -> Tensor:
        """As ``torch.nn.functional.conv2d``."""
        return functional.conv2d(images, weight, bias, stride, padding)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep what the gradient needs."""
        images, weight, _, ctx.stride, ctx.padding = inputs
        ctx.size = images.shape[-2:]
        ctx.save_for_backward(weight)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient with respect to the images: every entry of ``slopes`` times its filter,
        added up where the filters overlap."""
        (slope,), (weight,) = slopes, ctx.saved_tensors
        products = weight.flatten(1).t() @ slope.flatten(2)
        if products.dtype.itemsize < 4:  # sums of rounded terms would be rounded at each of them
            products = products.float()
        gradient = functional.fold(
            products, ctx.size, weight.shape[-2:], padding=ctx.padding, stride=ctx.stride
        )
        return gradient.to(slope.dtype), None, None, None, None


def quicken(network: nn.Module) -> nn.Module:
    """Give the convolutions of ``network`` that are slow to return a gradient with respect to their
    input the faster one; in place.

    Parameters, their names and the function computed stay as they are; the gradient has other
    rounding errors.

    Returns:
        The same module.
    """
    for module in network.modules():
        if computes_as_its_class(module, nn.Conv2d) and _is_slow(module):
            module.__class__ = FewChannels
    return network


def _is_slow(module: nn.Module) -> bool:
    assert isinstance(module, nn.Conv2d)
    if (
        module.groups > 1
        or max(module.dilation) > 1
        or isinstance(module.padding, str)
        or module.padding_mode != "zeros"
    ):
        return False
    (height, width), (down, right) = module.kernel_size, module.stride
    if module.in_channels == 1:
        return height * width <= _MOST_PRODUCTS * down * right
    side_by_side = module.kernel_size == module.stride and not any(module.padding)
    return module.in_channels <= _FEW and side_by_side
