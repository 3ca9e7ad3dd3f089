"""Classifiers of images: pixels in [0, 1] to logits, with normalisation as the first layer."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch import tensor as as_tensor

from advlab.config.base import Options
from advlab.config.model_modules import model_module
from advlab.errors import UsageError
from advlab.networks.filters import in_front


class Normalize(nn.Module):
    """Subtract the training images' mean and divide by their standard deviation, per channel.

    It is the first layer of every network here, so that whatever stands outside, an attack above
    all, sees pixels in [0, 1] and eps is in their units. The figures are buffers and travel with
    the weights.
    """

    def __init__(self, mean: list[float], std: list[float]) -> None:
        """Mean and standard deviation of each channel, of pixels in [0, 1]."""
        super().__init__()
        self.register_buffer("mean", as_tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", as_tensor(std).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) in [0, 1] to the same, normalised."""
        return (images - self.get_buffer("mean")) / self.get_buffer("std")


def assemble(
    name: str,
    architecture: Options,
    shape: tuple[int, int, int],
    classes: int,
    mean: list[float],
    std: list[float],
    filters: Mapping[str, int] = MappingProxyType({}),
) -> nn.Sequential:
    """The network ``name`` behind its normalisation, with fresh weights from torch's global
    generator.

    Args:
        filters: input filters that stand in front of it all, by name and strength.

    Raises:
        UsageError: no such network, or it cannot take images of this shape.
    """
    module = model_module(name)
    try:
        with warnings.catch_warnings():  # the refusal says it
            warnings.filterwarnings("ignore", "Initializing zero-element tensors")
            body = module.build(architecture, shape, classes)
        # Without memory the pass would be made by torch's compiler, which is long in loading, and a
        # network that is built so is built again with memory before it is used.
        if torch.get_default_device().type != "meta":
            _pass_through(body, shape)
    except (RuntimeError, ValueError, TypeError, ArithmeticError) as error:
        raise UsageError(
            f"{name} cannot take images of {' × '.join(map(str, shape))}: {error}"
        ) from error
    return nn.Sequential(*in_front(filters), Normalize(mean, std), body)


@torch.no_grad()
def _pass_through(network: nn.Module, shape: tuple[int, int, int]) -> None:
    """Have the network take one image, of which some layers cannot take a very small one."""
    training = network.training
    network.eval()(torch.zeros(1, *shape))
    network.train(training)


def architecture_of(name: str, options: Options) -> Options:
    """The part of ``options`` that says what the network ``name`` is made of, without how it is
    trained."""
    kind = model_module(name).Architecture
    return kind(**{field: getattr(options, field) for field in kind.model_fields})


def count_parameters(model: nn.Module) -> int:
    """How many trainable numbers the network holds."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
