"""The network: linear layers with sigmoids between them, and logits at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from advlab.scratch.layers import Array, Linear, Sigmoid


class Network:
    """Linear, sigmoid, linear, …, linear: images as rows (N, inputs) to logits (N, classes)."""

    def __init__(self, linears: Sequence[Linear]) -> None:
        """These layers, in their order, with a sigmoid after each but the last."""
        self.linears = list(linears)
        self._sigmoids = [Sigmoid() for _ in self.linears[1:]]

    @classmethod
    def drawn(
        cls,
        sizes: Sequence[int],
        random: np.random.Generator,
        dtype: type[np.floating[Any]] = np.float32,
    ) -> Network:
        """Fresh weights for layers of these sizes, first the inputs and last the classes.

        Weights are uniform in ± √(6 / (inputs + outputs)) (Glorot and Bengio, AISTATS 2010), biases
        nought.
        """
        linears = []
        for inputs, outputs in pairwise(sizes):
            reach = (6 / (inputs + outputs)) ** 0.5
            weight = random.uniform(-reach, reach, (inputs, outputs)).astype(dtype)
            linears.append(Linear(weight, np.zeros(outputs, dtype)))
        return cls(linears)

    @property
    def parameters(self) -> dict[str, Array]:
        """Every array that is learned, by name; the arrays themselves."""
        return {
            f"{number}.{kind}": getattr(layer, kind)
            for number, layer in enumerate(self.linears)
            for kind in ("weight", "bias")
        }

    @property
    def gradients(self) -> dict[str, Array]:
        """What the last ``backward`` found for each of them, under the same names."""
        return {
            f"{number}.{kind}": getattr(layer, f"{kind}_gradient")
            for number, layer in enumerate(self.linears)
            for kind in ("weight", "bias")
        }

    def forward(self, images: Array) -> Array:
        """Rows (N, inputs) to logits (N, classes)."""
        values = self.linears[0].forward(images)
        for sigmoid, linear in zip(self._sigmoids, self.linears[1:], strict=True):
            values = linear.forward(sigmoid.forward(values))
        return values

    def backward(self, gradient: Array) -> None:
        """From the gradient in the logits (N, classes), that in every parameter; into
        ``gradients``."""
        for sigmoid, linear in zip(
            reversed(self._sigmoids), reversed(self.linears[1:]), strict=True
        ):
            gradient = sigmoid.backward(linear.backward(gradient))
        self.linears[0].learn(gradient)

    def descend(self) -> None:
        """Take ``gradients`` off the parameters, as they are: whoever started ``backward`` has put
        the learning rate in."""
        for layer in self.linears:
            layer.weight -= layer.weight_gradient
            layer.bias -= layer.bias_gradient

    def logits(self, images: Array, at_once: int = 1000) -> Array:
        """Logits of any number of images, a part of them at a time."""
        logits: Array = np.concatenate(
            [
                self.forward(images[start : start + at_once])
                for start in range(0, len(images), at_once)
            ]
        )
        return logits

    def copied(self) -> dict[str, Array]:
        """The parameters as they are now."""
        return {name: array.copy() for name, array in self.parameters.items()}

    def load(self, arrays: Mapping[str, Array]) -> None:
        """Put these numbers in.

        Raises:
            ValueError: they are of another network.
        """
        own = self.parameters
        if {name: array.shape for name, array in own.items()} != {
            name: array.shape for name, array in arrays.items()
        }:
            raise ValueError("these weights belong to a network of other layers")
        for name, array in arrays.items():
            own[name][...] = array
