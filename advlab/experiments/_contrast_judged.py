"""What features are worth: nearest neighbours and a linear probe, for a learnt encoder and those it is held against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from advlab.config.contrast import ContrastOptions
from advlab.datasets._set import Images, ImageSet
from advlab.metrics.classification import accuracy
from advlab.metrics.neighbours import nearest, vote
from advlab.metrics.probe import choose, fit_probes
from advlab.runs.machine import Machine
from advlab.training import checkpoint
from advlab.training.evaluate import logits_of


@dataclass(frozen=True)
class Features:
    """An encoder's features of every image, float32 (N, D), on the CPU."""

    train: Tensor
    val: Tensor
    test: Tensor


def features_of(encoder: nn.Module, train: Images, data: ImageSet, machine: Machine) -> Features:
    """Taken in float32, the encoder in evaluation mode and as it was afterwards.

    Raises:
        RuntimeError: it was not: something changed its weights or statistics.
    """
    before = checkpoint.sha256_of(encoder)
    encoder.eval()
    exact = Machine(machine.device, "fp32")
    parts = [logits_of(encoder, images, exact) for images in (train, data.val, data.test)]
    if checkpoint.sha256_of(encoder) != before:
        raise RuntimeError("the encoder changed while it was judged")
    return Features(*parts)


def pixels_of(train: Images, data: ImageSet) -> Features:
    """The images themselves as features, less the training images' mean: what no encoder at all is worth."""
    flat = [images.pixels.flatten(1).float().div(255) for images in (train, data.val, data.test)]
    mean = flat[0].mean(0)
    return Features(*(part - mean for part in flat))


def judged(features: Features, train: Images, data: ImageSet, options: ContrastOptions, probed: bool = True) -> dict[str, Any]:
    """Accuracy on test images of neighbours and of a probe, both fitted to training images; the probe's penalty by validation."""
    classes = len(data.classes)
    count = min(options.neighbours, len(train))
    cosines, index = nearest(features.test, features.train, count)
    voted = vote(cosines, train.labels[index], classes, options.vote_temperature)
    figures: dict[str, Any] = {"knn_accuracy": float((voted == data.test.labels).double().mean())}
    if probed:
        probe = choose(fit_probes(features.train, train.labels, classes), features.val, data.val.labels)
        right = probe.predict(features.test) == data.test.labels
        figures |= {"probe_accuracy": float(right.double().mean()), "probe_penalty": probe.penalty}
    return figures


def own_accuracy(network: nn.Module, data: ImageSet, machine: Machine) -> float:
    """Accuracy of a whole classifier on test images, in float32."""
    return accuracy(logits_of(network, data.test, Machine(machine.device, "fp32")), data.test.labels)


def spread_of(features: Tensor, labels: Tensor) -> dict[str, float]:
    """Mean cosine of test images with others of their class, and of other classes."""
    unit = torch.nn.functional.normalize(features, dim=1)
    total = unit.sum(0)
    count = len(unit)
    classes = int(labels.max()) + 1
    sums = torch.zeros(classes, unit.shape[1]).index_add_(0, labels, unit)
    sizes = torch.bincount(labels, minlength=classes)
    alike = float(sums.square().sum()) - count
    pairs = int((sizes * (sizes - 1)).sum())
    every = float(total.square().sum()) - count
    return {"cosine_same_class": alike / pairs, "cosine_other_class": (every - alike) / (count * (count - 1) - pairs)}
