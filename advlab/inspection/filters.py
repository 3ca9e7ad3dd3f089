"""Filters: the weights of a convolution, and what each filter makes of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from advlab.config.options import inspect as i
from advlab.config.options.inspect import InspectOptions

if TYPE_CHECKING:
    from torch import Tensor, nn


class Options(InspectOptions):
    """Filters: the weights of a convolution's filters, and their responses to an image."""

    layer: i.Layer = None
    count: i.Count = 64


def chosen(body: nn.Module, name: str | None) -> str:
    """The name of the convolution that ``--layer`` means, the first one where it is not given.

    Raises:
        UserError: there is no such convolution.
    """
    from advlab.networks import layers

    known = layers.convolutions(body)
    name = name or next(iter(known), "")
    layers.layer(body, name, known, "convolution")
    return name


def look(network: nn.Module, body: nn.Module, images: Tensor, options: Options) -> tuple[str, Tensor, Tensor]:
    """The layer's name, its weights (filters, inputs, height, width), and its responses (N, filters, H, W) to ``images``.

    Responses are what the convolution itself gives, with its bias, before any normalisation or activation.

    Args:
        body: the part of ``network`` whose layers are named.

    Raises:
        UserError: there is no such convolution.
    """
    from advlab.networks import layers

    name = chosen(body, options.layer)
    part = body.get_submodule(name)
    return name, part.get_parameter("weight").detach(), layers.responses(network, part, images)
