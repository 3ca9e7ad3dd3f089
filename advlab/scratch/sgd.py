"""One epoch of plain SGD."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from advlab.scratch.layers import Array
from advlab.scratch.loss import Labels, cross_entropy_of_logits, error, one_hot
from advlab.scratch.network import Network


def epoch(
    network: Network,
    images: Array,
    labels: Labels,
    order: NDArray[np.integer[Any]],
    batch_size: int,
    lr: float,
    done: Callable[[int], object] = lambda count: None,
) -> tuple[float, float]:
    """One pass over the images in the order given, a step for each batch; the network is changed in
    place.

    Args:
        images: (N, inputs) in [0, 1], of the network's own type.
        order: a permutation of 0 … N − 1.
        done: called now and then with the number of images since.

    Returns:
        Mean loss and accuracy, each image as it was seen, before the step that it went into. The
        loss is not finite where the weights are not.
    """
    images = np.ascontiguousarray(images)
    classes = len(network.linears[-1].bias)
    targets = one_hot(labels[order], classes, images)
    seen = np.empty((len(order), classes), images.dtype)
    batch = np.empty((min(batch_size, len(order)), images.shape[1]), images.dtype)
    since = 0
    with np.errstate(all="ignore"):  # what is no number any more is seen in the loss
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            inputs = batch[: len(rows)]
            np.take(images, rows, axis=0, out=inputs, mode="clip")
            logits = network.forward(inputs)
            seen[start : start + len(rows)] = logits
            gradient = error(logits, targets[start : start + len(rows)])
            gradient *= lr / len(
                rows
            )  # backward is linear, so the rate goes in here, where the fewest numbers are
            network.backward(gradient)
            network.descend()
            since += len(rows)
            if since >= 4096:
                done(since)
                since = 0
        done(since)
        return cross_entropy_of_logits(seen, labels[order]), accuracy(seen, labels[order])


def accuracy(logits: Array, labels: Labels) -> float:
    """Share of rows of logits (N, classes) that put the label strictly above every other class; a
    tie counts as wrong."""
    own = logits[np.arange(len(labels)), labels]
    others = logits.copy()
    others[np.arange(len(labels)), labels] = -np.inf
    return float((own > others.max(axis=1)).mean())
