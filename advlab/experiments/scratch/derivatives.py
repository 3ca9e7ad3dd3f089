"""Derivatives by formula, by finite differences and by autograd, in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from advlab.scratch.finite_differences import central
from advlab.scratch.layers import Array, Linear, Sigmoid, Softmax, softmax_jacobian
from advlab.scratch.loss import cross_entropy, cross_entropy_of_logits, error, one_hot
from advlab.scratch.network import Network

INPUTS, UNITS, CLASSES = 12, 7, 10


@dataclass(frozen=True)
class Compared:
    """One derivative by its formula, and its largest absolute differences.

    Attributes:
        of: whose derivative.
        formula: what stands in the code.
        entries: how many entries were held against finite differences; autograd is held against
            all.
    """

    of: str
    formula: str
    entries: int
    finite_differences: float
    autograd: float

    @property
    def largest(self) -> float:
        """The larger of the two."""
        return max(self.finite_differences, self.autograd)


def derivatives(
    random: np.random.Generator, rows: int, hidden: Sequence[int], entries: int
) -> list[Compared]:
    """Compare every layer's derivatives, the two derivatives on paper, and the whole network's.

    Args:
        random: what inputs, weights and labels are drawn from.
        rows: inputs at a time.
        hidden: units of the network's hidden layers, between 784 inputs and 10 classes.
        entries: how many entries of each of its arrays finite differences are taken of.
    """
    return [
        *_linear(random, rows),
        _sigmoid(random, rows),
        *_softmax(random, rows),
        *_cross_entropy(random, rows),
        *_network(random, rows, hidden, entries),
    ]


def _held(
    of: str,
    formula: str,
    ours: Array,
    numerical: Array,
    autograd: Tensor,
    chosen: NDArray[np.int64] | None = None,
) -> Compared:
    flat = ours.reshape(-1)
    some = flat if chosen is None else flat[chosen]
    return Compared(
        of,
        formula,
        len(some),
        float(np.abs(some - numerical).max()),
        float(np.abs(flat - autograd.detach().reshape(-1).numpy()).max()),
    )


def _tensor(array: Array) -> Tensor:
    return torch.from_numpy(array.copy()).requires_grad_()


def _linear(random: np.random.Generator, rows: int) -> list[Compared]:
    inputs, along = random.standard_normal((rows, INPUTS)), random.standard_normal((rows, UNITS))
    layer = Linear(random.standard_normal((INPUTS, UNITS)), random.standard_normal(UNITS))

    def value() -> float:
        return float((layer.forward(inputs) * along).sum())

    value()
    ours = {
        "input": layer.backward(along),
        "weight": layer.weight_gradient,
        "bias": layer.bias_gradient,
    }
    x, w, b = (_tensor(array) for array in (inputs, layer.weight, layer.bias))
    (functional.linear(x, w.T, b) * torch.from_numpy(along)).sum().backward()
    return [
        _held(
            f"linear, {name}", formula, np.array(ours[name]), central(value, array), _grad(theirs)
        )
        for (name, formula), array, theirs in zip(
            (("input", "dL/dy Wᵀ"), ("weight", "xᵀ dL/dy"), ("bias", "Σ dL/dy")),
            (inputs, layer.weight, layer.bias),
            (x, w, b),
            strict=True,
        )
    ]


def _grad(tensor: Tensor) -> Tensor:
    assert tensor.grad is not None
    return tensor.grad


def _through(
    layer: Sigmoid | Softmax, theirs: Callable[[Tensor], Tensor], inputs: Array, along: Array
) -> tuple[Array, Array, Tensor]:
    """The gradient in the input of Σ layer(input) · along: ours, by differences, autograd's."""

    def value() -> float:
        return float((layer.forward(inputs) * along).sum())

    value()
    ours = np.array(layer.backward(along))
    x = _tensor(inputs)
    (theirs(x) * torch.from_numpy(along)).sum().backward()
    return ours, central(value, inputs), _grad(x)


def _sigmoid(random: np.random.Generator, rows: int) -> Compared:
    inputs, along = 3 * random.standard_normal((rows, UNITS)), random.standard_normal((rows, UNITS))
    return _held(
        "sigmoid, input", "s (1 − s) dL/ds", *_through(Sigmoid(), torch.sigmoid, inputs, along)
    )


def _softmax(random: np.random.Generator, rows: int) -> list[Compared]:
    inputs, along = (
        2 * random.standard_normal((rows, CLASSES)),
        random.standard_normal((rows, CLASSES)),
    )
    layer = _held(
        "softmax, input",
        "p (g − Σ g p), g = dL/dp",
        *_through(Softmax(), lambda z: z.softmax(1), inputs, along),
    )
    ours, numerical, autograd = [], [], []
    for row in inputs[:, None]:
        ours.append(softmax_jacobian(Softmax().forward(row)[0]))
        for unit in range(CLASSES):

            def value(row: Array = row, unit: int = unit) -> float:
                return float(Softmax().forward(row)[0, unit])

            numerical.append(central(value, row))
        jacobian: Any = torch.autograd.functional.jacobian(
            lambda z: z.softmax(0), torch.from_numpy(row[0].copy())
        )
        autograd.append(jacobian)
    paper = _held(
        "softmax, Jacobian",
        "diag(p) − p pᵀ",
        np.stack(ours),
        np.concatenate(numerical),
        torch.stack(autograd),
    )
    return [layer, paper]


def _cross_entropy(random: np.random.Generator, rows: int) -> list[Compared]:
    logits, labels = 2 * random.standard_normal((rows, CLASSES)), random.integers(0, CLASSES, rows)
    targets = one_hot(labels, CLASSES, logits)
    probabilities = Softmax().forward(
        logits / 8
    )  # none near nought, where the logarithm is too steep for differences
    numbers = torch.from_numpy(labels)
    p, z = _tensor(probabilities), _tensor(logits)
    functional.nll_loss(p.log(), numbers).backward()
    functional.cross_entropy(z, numbers).backward()
    alone = central(lambda: cross_entropy(probabilities, targets)[0], probabilities)
    layer = Softmax()
    chained = layer.backward(cross_entropy(layer.forward(logits), targets)[1])
    together = central(lambda: cross_entropy_of_logits(logits, labels), logits)
    return [
        _held(
            "cross-entropy, probabilities",
            "−y / (N p)",
            np.array(cross_entropy(probabilities, targets)[1]),
            alone,
            _grad(p),
        ),
        _held(
            "cross-entropy of softmax, chained",
            "J (−y / (N p))",
            np.array(chained),
            together,
            _grad(z),
        ),
        _held(
            "cross-entropy of softmax, combined",
            "(p − y) / N",
            np.array(error(logits, targets) / rows),
            together,
            _grad(z),
        ),
    ]


def _network(
    random: np.random.Generator, rows: int, hidden: Sequence[int], entries: int
) -> list[Compared]:
    network = Network.drawn([784, *hidden, CLASSES], random, np.float64)
    images, labels = random.random((rows, 784)), random.integers(0, CLASSES, rows)
    network.backward(error(network.forward(images), one_hot(labels, CLASSES, images)) / rows)
    ours = {name: np.array(gradient) for name, gradient in network.gradients.items()}
    theirs = {name: _tensor(np.array(array)) for name, array in network.parameters.items()}
    values = torch.from_numpy(images)
    for number in range(len(hidden) + 1):
        values = functional.linear(
            torch.sigmoid(values) if number else values,
            theirs[f"{number}.weight"].T,
            theirs[f"{number}.bias"],
        )
    functional.cross_entropy(values, torch.from_numpy(labels)).backward()
    compared = []
    for name, array in network.parameters.items():
        chosen = np.sort(random.permutation(array.size)[:entries])
        numerical = central(
            lambda: cross_entropy_of_logits(network.forward(images), labels), array, chosen
        )
        formula = f"network {'-'.join(map(str, [784, *hidden, CLASSES]))}"
        compared.append(
            _held(
                f"whole network, {name}",
                formula,
                ours[name],
                numerical,
                _grad(theirs[name]),
                chosen,
            )
        )
    return compared
