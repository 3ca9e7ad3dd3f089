"""Layers with forward and backward passes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
"""float32 where it trains, float64 where derivatives are checked; a layer keeps to what it is
given."""


class Linear:
    """y = x W + b.

    Attributes:
        weight: W, (inputs, outputs).
        bias: b, (outputs,).
        weight_gradient: of the last ``backward``, like ``weight``.
        bias_gradient: likewise, like ``bias``.
    """

    def __init__(self, weight: Array, bias: Array) -> None:
        """The layer with these numbers, which it changes in place as it learns."""
        self.weight, self.bias = weight, bias
        self.weight_gradient, self.bias_gradient = np.zeros_like(weight), np.zeros_like(bias)
        self._inputs: Array = weight[:0]

    def forward(self, inputs: Array) -> Array:
        """Inputs x (N, inputs) to outputs (N, outputs); x must stay as it is until ``backward``."""
        self._inputs = inputs
        outputs: Array = inputs @ self.weight
        outputs += self.bias
        return outputs

    def backward(self, gradient: Array) -> Array:
        """From dL/dy (N, outputs): dL/dW = xᵀ dL/dy and dL/db = Σ dL/dy, kept; dL/dx = dL/dy Wᵀ (N,
        inputs), returned."""
        self.learn(gradient)
        passed: Array = gradient @ self.weight.T
        return passed

    def learn(self, gradient: Array) -> None:
        """The part of ``backward`` that the first layer needs, below which nothing asks for a
        gradient."""
        np.matmul(self._inputs.T, gradient, out=self.weight_gradient)
        np.add.reduce(gradient, axis=0, out=self.bias_gradient)


class Sigmoid:
    """s(z) = 1 / (1 + exp(−z)), for each number by itself."""

    def __init__(self) -> None:
        """The layer has no numbers of its own."""
        self._outputs: Array = np.zeros(0)

    def forward(self, inputs: Array) -> Array:
        """Any shape to the same, in [0, 1]; as (1 + tanh(z / 2)) / 2, which no z overflows."""
        outputs: Array = np.tanh(inputs * 0.5)
        outputs += 1
        outputs *= 0.5
        self._outputs = outputs
        return outputs

    def backward(self, gradient: Array) -> Array:
        """ds/dz = s (1 − s)."""
        slope: Array = 1 - self._outputs
        slope *= self._outputs
        slope *= gradient
        return slope


class Softmax:
    """p_i = exp(z_i) / Σ_j exp(z_j), along the last axis."""

    def __init__(self) -> None:
        """The layer has no numbers of its own."""
        self._outputs: Array = np.zeros(0)

    def forward(self, inputs: Array) -> Array:
        """Logits (N, classes) to probabilities; the largest logit is taken off first, which changes
        nothing and overflows nothing."""
        outputs: Array = inputs - np.maximum.reduce(inputs, axis=1, keepdims=True)
        np.exp(outputs, out=outputs)
        outputs /= np.add.reduce(outputs, axis=1, keepdims=True)
        self._outputs = outputs
        return outputs

    def backward(self, gradient: Array) -> Array:
        """dL/dz = J dL/dp with J = diag(p) − p pᵀ, which is symmetric; J is never written out."""
        along = np.add.reduce(gradient * self._outputs, axis=1, keepdims=True)
        passed: Array = self._outputs * (gradient - along)
        return passed


def softmax_jacobian(probabilities: Array) -> Array:
    """∂p_i/∂z_k = p_i (δ_ik − p_k) = diag(p) − p pᵀ, written out for one vector p (classes,):
    (classes, classes)."""
    jacobian: Array = np.diag(probabilities) - np.outer(probabilities, probabilities)
    return jacobian
