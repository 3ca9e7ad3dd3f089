"""The frozen classifier whose last hidden layer gives the features of images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from advlab.data.pixels import to_unit
from advlab.errors import UsageError


@dataclass(frozen=True)
class Measured:
    """Outputs of the feature classifier for a set of images.

    Attributes:
        features: its last hidden layer, (N, D), float32.
        probabilities: of the classes, (N, K), float32.
    """

    features: Tensor
    probabilities: Tensor

    @property
    def labels(self) -> Tensor:
        """The likeliest class of each, (N,)."""
        return self.probabilities.argmax(dim=1)

    def counts(self) -> Tensor:
        """How many images it takes for each class, (K,)."""
        return torch.bincount(self.labels, minlength=self.probabilities.shape[1])

    def first(self, count: int) -> Measured:
        """The outputs for the first ``count`` images."""
        return Measured(self.features[:count], self.probabilities[:count])

    def drawn(self, count: int, seed: int) -> Measured:
        """The outputs for ``count`` of the images, or for all where there are no more; drawn, since
        real images may be stored class by class."""
        random = torch.Generator().manual_seed(seed)
        index = torch.randperm(len(self.features), generator=random)[:count]
        return Measured(self.features[index], self.probabilities[index])


def check_ends_linear(network: nn.Module) -> tuple[list[nn.Module], list[nn.Module]]:
    """The parts of a network, and those of its last part, which must end in a linear layer.

    Raises:
        UsageError: it does not.
    """
    layers = list(network.children())
    body = list(layers[-1].children()) if layers else []
    if not isinstance(network, nn.Sequential) or not body or not isinstance(body[-1], nn.Linear):
        raise UsageError(
            "--feature-classifier: this network does not end in a linear layer, whose input "
            "would be measured on"
        )
    return layers, body


class FeatureClassifier:
    """A classifier, cut before its last layer.

    Images with three times its channels are taken as three of its images, one on another: the
    features stand side by side, and the classes are all triples (stacked sets).
    """

    def __init__(
        self, network: nn.Module, shape: tuple[int, int, int], device: torch.device
    ) -> None:
        """From a classifier in evaluation mode that takes images of ``shape`` in [0, 1].

        Raises:
            UsageError: it does not end in a linear layer.
        """
        layers, body = check_ends_linear(network)
        self._before = nn.Sequential(*layers[:-1], *body[:-1]).to(device)
        self._last = body[-1].to(device)
        self.shape, self._device = shape, device

    def stacked(self, channels: int) -> int:
        """How many of its images one of this many channels is.

        Raises:
            UsageError: no whole number of them.
        """
        if channels % self.shape[0]:
            raise UsageError(
                f"--feature-classifier: takes images of {self.shape[0]} channels; these have "
                f"{channels}"
            )
        return channels // self.shape[0]

    @torch.inference_mode()
    def __call__(self, pixels: Tensor, batch: int = 250) -> Measured:
        """Compute the outputs for images, uint8 (N, C, H, W)."""
        times = self.stacked(pixels.shape[1])
        features, probabilities = [], []
        for part in pixels.split(batch):
            single = to_unit(part.reshape(-1, *self.shape).to(self._device))
            hidden = self._before(single)
            per_channel = self._last(hidden).softmax(dim=1).view(len(part), times, -1)
            joint = per_channel[:, 0]
            for place in range(1, times):
                joint = (joint[:, :, None] * per_channel[:, place, None, :]).flatten(1)
            features.append(hidden.reshape(len(part), -1).cpu())
            probabilities.append(joint.cpu())
        return Measured(torch.cat(features), torch.cat(probabilities))
