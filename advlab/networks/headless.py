"""Classifiers without their last layer, as encoders: what the layer was given are the features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from advlab.errors import UsageError
from advlab.networks import code
from advlab.networks.adapter import PassedOnError
from advlab.networks.referenced import last_layer


class Headless(nn.Module):
    """A classifier without its last layer, from images (N, C, H, W) in [0, 1] to features (N, D).

    The features are the input of its last linear layer or convolution. Where that has several
    positions, such as the tokens of a transformer or the pixels of a feature map, they are the mean
    over them. Whatever the classifier does to its logits is not computed.

    Attributes:
        features: D.
    """

    def __init__(self, network: nn.Module, place: str, layer: nn.Linear | nn.Conv2d) -> None:
        """Take ``layer``, which is at ``place``, off ``network``, which is changed by it."""
        super().__init__()
        linear = isinstance(layer, nn.Linear)
        self.features = layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels
        parent, _, attribute = place.rpartition(".")
        setattr(network.get_submodule(parent), attribute, _End(linear))
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """The features (N, D) of images (N, C, H, W) in [0, 1].

        Raises:
            ValueError: the layer that was taken off is not reached, or is given something else than
                features of each image.
        """
        try:
            self.network(images)
        except _ReachedError as reached:
            features = reached.features
            if features.shape != (len(images), self.features):
                raise ValueError(
                    f"its last layer is given {tuple(features.shape)} for {len(images)} images"
                ) from None
            return features.to(images.dtype)
        raise ValueError("its last linear layer or convolution is not used")


def without_head(network: nn.Module, name: str, shape: tuple[int, int, int]) -> Headless:
    """A classifier as an encoder, once it has been tried on two images of ``shape``.

    Args:
        network: from images in [0, 1] to logits, in evaluation mode; it is changed.
        name: what a refusal calls it.

    Raises:
        UsageError: it has no last layer that gives its logits.
    """
    try:
        layer = last_layer(network, shape)
    except Exception as error:
        raise UsageError(f"{name} cannot be an encoder: {code.in_one_line(error)}") from error
    if layer is None:
        raise UsageError(f"{name} has no linear layer or convolution whose input are features")
    outputs = len(layer[1].weight)
    device = next((tensor.device for tensor in network.parameters()), torch.device("cpu"))
    images = torch.full((2, *shape), 0.5, device=device)
    try:
        with torch.no_grad():
            logits = int(network(images).shape[1])
            encoder = Headless(network, *layer)
            encoder(images)
    except Exception as error:
        raise UsageError(f"{name} cannot be an encoder: {code.in_one_line(error)}") from error
    if outputs != logits and (outputs, logits) != (1, 2):  # one logit counts as two classes
        raise UsageError(
            f"{name} cannot be an encoder: its last linear layer or convolution gives {outputs} "
            f"values, and its logits are {logits}"
        )
    return encoder


class _End(nn.Module):
    """What stands in the place of the last layer: it ends the forward pass with its input."""

    def __init__(self, linear: bool) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, features: Tensor) -> Tensor:
        # The last dimension of a linear layer's input holds the features, the second of a
        # convolution's.
        first, last = (1, -2) if self.linear else (2, -1)
        positions = features.flatten(first, last) if features.dim() > 2 else features
        if positions.dim() > 2:
            positions = positions.mean(dim=1 if self.linear else 2)
        raise _ReachedError(positions)


class _ReachedError(PassedOnError):
    """The last layer's input, carried past whatever the classifier does after it.

    An identity in the layer's place would leave that to work on features in place of logits: a
    softmax, a reshaping to the number of classes, or the mean of two heads.
    """

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.features = features
