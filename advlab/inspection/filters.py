"""The weights of a convolution and its responses to an image."""

from __future__ import annotations

from torch import Tensor, nn

from advlab.networks import layers


def chosen(body: nn.Module, name: str | None) -> str:
    """The name of the convolution that ``--layer`` means, the first one where it is not given.

    Raises:
        UsageError: there is no such convolution.
    """
    known = layers.convolutions(body)
    name = name or next(iter(known), "")
    layers.layer(body, name, known, "convolution")
    return name


def weights_and_responses(
    network: nn.Module, body: nn.Module, images: Tensor, layer: str | None
) -> tuple[str, Tensor, Tensor]:
    """The layer's name, its weights (filters, inputs, height, width), and its responses (N,
    filters, H, W) to ``images``.

    Responses are what the convolution itself gives, with its bias, before any normalisation or
    activation.

    Args:
        body: the part of ``network`` whose layers are named.
        layer: the convolution's name; the first one where not given.

    Raises:
        UsageError: there is no such convolution.
    """
    name = chosen(body, layer)
    part = body.get_submodule(name)
    return name, part.get_parameter("weight").detach(), layers.responses(network, part, images)
