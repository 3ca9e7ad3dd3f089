"""Interval bound propagation: bounds of all outputs over a box of inputs, layer by layer.

Gowal et al. 2018, arXiv:1810.12715.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.module import _global_forward_hooks, _global_forward_pre_hooks

from advlab.errors import UsageError
from advlab.networks.adapter import Adapter
from advlab.networks.classifier import Normalize
from advlab.networks.layout import StridedPointwise

# Functions that never fall where their input rises: they map bounds to bounds.
_RISING = (
    nn.ReLU,
    nn.ELU,
    nn.Tanh,
    nn.Sigmoid,
    nn.Flatten,
    nn.Identity,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_KNOWN = "Linear, Conv2d, BatchNorm, ReLU, ELU, Tanh, Sigmoid, pooling, Flatten and Dropout"


@dataclass(frozen=True)
class Box:
    """Values of a layer for images, and bounds of them over a box around each image.

    Attributes:
        value: at the images themselves, (N, ...).
        lower, upper: bounds, of the same shape.
    """

    value: Tensor
    lower: Tensor
    upper: Tensor

    @classmethod
    def around(cls, images: Tensor, eps: float) -> Box:
        """All images within L∞ distance ``eps`` of these (N, C, H, W), with pixels in [0, 1]."""
        return cls(images, (images - eps).clamp_min(0), (images + eps).clamp_max(1))

    @property
    def centre(self) -> Tensor:
        """The middle of the bounds."""
        return (self.lower + self.upper) / 2

    @property
    def radius(self) -> Tensor:
        """Half the distance of the bounds."""
        return (self.upper - self.lower) / 2


def chain(network: nn.Module) -> list[nn.Module]:
    """The layers of a network that is a chain of layers with known bounds.

    Raises:
        UsageError: some layer has none; it is named.
    """
    if isinstance(network, Adapter) and network.output is None and network.groups is None:
        return chain(network.network)
    unlike = _unlike_its_kind(network)
    if unlike:
        raise UsageError(
            f"no interval bounds are known for the layer {type(network).__name__} with {unlike}"
        )
    if type(network) is nn.Sequential:
        return [layer for part in network for layer in chain(part)]
    known = (nn.Linear, Normalize, nn.Dropout, nn.Dropout2d, *_NORMS, *_RISING)
    if type(network) in known:
        return [network]
    if type(network) in (nn.Conv2d, StridedPointwise) and network.padding_mode == "zeros":
        return [network]
    raise UsageError(
        f"no interval bounds are known for the layer {type(network).__name__}; they are for chains "
        f"of {_KNOWN}"
    )


def _unlike_its_kind(layer: nn.Module) -> str:
    """Why a layer may compute something else than its kind does; empty where it does not."""
    if layer._forward_hooks or layer._forward_pre_hooks:
        return "a hook, which may change what it computes"
    if _global_forward_hooks or _global_forward_pre_hooks:
        return "a hook of all modules, which may change what it computes"
    if "forward" in vars(layer):
        return "a forward of its own, which may compute anything"
    if isinstance(layer, nn.ELU) and layer.alpha < 0:
        return f"a negative alpha ({layer.alpha:g}): it falls where its input rises"
    if isinstance(layer, nn.AvgPool2d) and (layer.divisor_override or 1) < 0:
        return "a negative divisor: it falls where its input rises"
    if isinstance(layer, Normalize):
        std = layer.get_buffer("std")
        if not std.is_meta and bool((std <= 0).any()):
            return "a standard deviation that is not above 0"
    if isinstance(layer, _NORMS) and layer.running_mean is None and not layer.training:
        return (
            "statistics of the batch: what it computes of an image depends on the others, and the "
            "bounds would hold for this batch alone"
        )
    return ""


def bounds(network: nn.Module, box: Box) -> Box:
    """The outputs of the network, and bounds of them over the box.

    In training mode batch normalisation takes its statistics from the images themselves, as the
    network does, and the bounds hold for these statistics.

    Raises:
        UsageError: the network is no chain of layers with known bounds.
    """
    return _through(chain(network), box)


def worst_logits(network: nn.Module, box: Box, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The logits of the images, and upper bounds of each logit minus that of the label.

    Where the last layer is linear, the difference is bounded and not both logits (the elision of
    the last layer of the paper, section 3), which is tighter.

    Args:
        labels: classes, int64 (N,).

    Returns:
        Logits (N, classes), and bounds (N, classes), 0 at the label. No image of the box is
        misclassified where all others are negative.

    Raises:
        UsageError: the network is no chain of layers with known bounds.
    """
    layers = chain(network)
    last = layers[-1]
    if not isinstance(last, nn.Linear):
        bounds = _through(layers, box)
        _check_logits(bounds.value)
        worst = bounds.upper - bounds.lower.gather(1, labels[:, None])
        return bounds.value, worst.scatter(1, labels[:, None], 0.0)
    before = _through(layers[:-1], box)
    value: Tensor = last(before.value)
    _check_logits(value)
    difference = last.weight - last.weight[labels][:, None]  # (N, classes, inputs)
    worst = torch.einsum("nki,ni->nk", difference, before.centre)
    worst = worst + torch.einsum("nki,ni->nk", difference.abs(), before.radius)
    if last.bias is not None:
        worst = worst + last.bias - last.bias[labels][:, None]
    return value, worst


def _check_logits(logits: Tensor) -> None:
    """Refuse outputs that are not one logit for each class.

    Raises:
        UsageError: they are not.
    """
    if logits.dim() != 2 or logits.shape[1] < 2:
        raise UsageError(
            f"interval bounds take logits of shape (N, classes) of two classes or more, not "
            f"{tuple(logits.shape)}; one logit z is the two logits 0 and z"
        )


def _through(layers: Sequence[nn.Module], box: Box) -> Box:
    for layer in layers:
        box = _layer(layer, box)
    return box


def _layer(layer: nn.Module, box: Box) -> Box:
    """One layer: an affine one by centre and radius, a rising one by its bounds."""
    if isinstance(layer, nn.Linear):
        value = layer(box.value)
        centre = functional.linear(box.centre, layer.weight, layer.bias)
        radius = functional.linear(box.radius, layer.weight.abs())
    elif isinstance(layer, nn.Conv2d):
        shape: tuple[Any, ...] = (layer.stride, layer.padding, layer.dilation, layer.groups)
        value = layer(box.value)
        centre = functional.conv2d(box.centre, layer.weight, layer.bias, *shape)
        radius = functional.conv2d(box.radius, layer.weight.abs(), None, *shape)
    elif isinstance(layer, _NORMS):
        scale, shift = _affine(layer, box.value)
        value = layer(box.value)
        centre, radius = box.centre * scale + shift, box.radius * scale.abs()
    elif isinstance(layer, (nn.Dropout, nn.Dropout2d)):
        mask = layer(torch.ones_like(box.value))  # the same for value and bounds
        return Box(box.value * mask, box.lower * mask, box.upper * mask)
    else:  # it rises, and so does the normalisation of images
        return Box(*(_out_of_place(layer, part) for part in (box.value, box.lower, box.upper)))
    return Box(value, centre - radius, centre + radius)


def _affine(layer: nn.BatchNorm1d | nn.BatchNorm2d, values: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and shift of a batch normalisation, shaped to be broadcast over its inputs."""
    axes = [axis for axis in range(values.ndim) if axis != 1]
    if layer.training or layer.running_mean is None or layer.running_var is None:
        mean = values.float().mean(axes) if values.dtype != torch.float64 else values.mean(axes)
        spread = values.to(mean.dtype).var(axes, correction=0)
    else:
        mean, spread = layer.running_mean, layer.running_var
    scale = (spread + layer.eps).rsqrt()
    if layer.weight is not None:
        scale = scale * layer.weight
    shift = -mean * scale
    if layer.bias is not None:
        shift = shift + layer.bias
    form = [1, -1] + [1] * (values.ndim - 2)
    return scale.view(form), shift.view(form)


def _out_of_place(layer: nn.Module, values: Tensor) -> Tensor:
    """The layer's outputs; the inputs stay as they are even where it works in place."""
    outputs: Tensor = layer(values.clone() if getattr(layer, "inplace", False) else values)
    return outputs
