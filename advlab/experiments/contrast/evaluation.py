"""Linear probe and k-NN evaluation of an encoder and its baselines."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from advlab.config.options.contrast import ContrastOptions
from advlab.data.image_set import Images, ImageSet
from advlab.metrics.classification import accuracy
from advlab.metrics.clusters import cluster_agreement, silhouette
from advlab.metrics.neighbours import nearest, vote
from advlab.metrics.probe import best_probe, fit_probes
from advlab.networks import checkpoint
from advlab.results.contrast import FeatureAccuracies, PixelBaseline
from advlab.runs.machine import Machine
from advlab.training.evaluate import logits_of

_NUMBERS = 500_000_000


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
        raise RuntimeError("the encoder changed while it was evaluated")
    return Features(*parts)


def evaluated(
    features: Features, train: Images, data: ImageSet, options: ContrastOptions
) -> FeatureAccuracies:
    """Accuracy on test images of neighbours and of a probe, both fitted to training images, the
    probe's penalty by validation; and how far the features separate the test images' classes."""
    probe = best_probe(
        fit_probes(features.train, train.labels, len(data.classes)), features.val, data.val.labels
    )
    right = probe.predict(features.test) == data.test.labels
    return FeatureAccuracies(
        knn_accuracy=_of_neighbours(
            features.train, train.labels, features.test, data.test.labels, data, options
        ),
        probe_accuracy=float(right.double().mean()),
        probe_penalty=probe.penalty,
        silhouette=silhouette(features.test, data.test.labels),
        cluster_agreement=cluster_agreement(features.test, data.test.labels, options.seed),
    )


def pixels_evaluated(train: Images, data: ImageSet, options: ContrastOptions) -> PixelBaseline:
    """The same of neighbours among the images themselves, less the training images' mean: what no
    encoder at all is worth.

    Of training images that would not fit into two gigabytes, every second (third, …) is a
    neighbour.
    """
    stride = -(-train.pixels.numel() // _NUMBERS)
    chosen = train.select(torch.arange(0, len(train), stride))
    flat, queries = (images.pixels.flatten(1).float().div_(255) for images in (chosen, data.test))
    mean = flat.mean(0)
    accuracy_of_pixels = _of_neighbours(
        flat.sub_(mean), chosen.labels, queries.sub_(mean), data.test.labels, data, options
    )
    return PixelBaseline(knn_accuracy=accuracy_of_pixels, neighbours_among=len(chosen))


def validated(features: Features, train: Images, data: ImageSet, options: ContrastOptions) -> float:
    """Accuracy on validation images of neighbours among the training images."""
    return _of_neighbours(
        features.train, train.labels, features.val, data.val.labels, data, options
    )


def _of_neighbours(
    known: Tensor,
    labels: Tensor,
    queries: Tensor,
    truth: Tensor,
    data: ImageSet,
    options: ContrastOptions,
) -> float:
    """The fraction of the queries whose class, ``truth``, their neighbours vote for."""
    cosines, index = nearest(queries, known, min(options.neighbours, len(known)))
    voted = vote(cosines, labels[index], len(data.classes), options.vote_temperature)
    return float((voted == truth).double().mean())


def own_accuracy(network: nn.Module, data: ImageSet, machine: Machine) -> float:
    """Accuracy of a whole classifier on test images, in float32."""
    return accuracy(
        logits_of(network, data.test, Machine(machine.device, "fp32")), data.test.labels
    )


def cosines_of(features: Tensor, labels: Tensor) -> tuple[float | None, float | None]:
    """Mean cosine of test images with others of their class, and of other classes; None where there
    are none. With features that are all 0 every cosine is 0."""
    unit = torch.nn.functional.normalize(features, dim=1)
    total = unit.sum(0)
    count = len(unit)
    classes = int(labels.max()) + 1
    sums = torch.zeros(classes, unit.shape[1]).index_add_(0, labels, unit)
    sizes = torch.bincount(labels, minlength=classes)
    own = float(unit.square().sum())  # of each image with itself
    alike = float(sums.square().sum()) - own
    pairs = int((sizes * (sizes - 1)).sum())
    every = float(total.square().sum()) - own
    others = count * (count - 1) - pairs
    return alike / pairs if pairs else None, (every - alike) / others if others else None
