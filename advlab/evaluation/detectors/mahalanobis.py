"""Mahalanobis: an adversarial image's features lie far from those of every class.

Lee et al. 2018, arXiv:1807.03888: class-conditional Gaussians with one covariance. Here they are of
the last layer's input alone, without the paper's noise on the inputs and its mixture of layers,
whose weights are fitted to adversarial images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from advlab.errors import UsageError

if TYPE_CHECKING:
    from advlab.config.options.detection import DetectionOptions
    from advlab.evaluation.class_gaussians import Mahalanobis
    from advlab.evaluation.detection import DetectorEvidence


def fitted(evidence: DetectorEvidence, options: DetectionOptions) -> Mahalanobis:
    """The detector, fitted to the features of the training images.

    Raises:
        UsageError: the network has no last layer whose input are features.
    """
    import torch

    from advlab.evaluation.class_gaussians import Mahalanobis, gaussians
    from advlab.networks.adapter import copied
    from advlab.networks.headless import without_head
    from advlab.training.evaluate import EVALUATION_BATCH

    shape = evidence.train.pixels.shape
    copy = copied(evidence.network)  # the last layer is taken off, which gives the logits
    encoder = without_head(copy, evidence.name, (shape[1], shape[2], shape[3]))
    with torch.no_grad():
        features = [
            encoder(evidence.train.inputs(slice(start, start + EVALUATION_BATCH), evidence.device))
            for start in range(0, len(evidence.train), EVALUATION_BATCH)
        ]
    means, whitening = gaussians(torch.cat(features).cpu(), evidence.train.labels)
    if not len(whitening):
        raise UsageError(f"{evidence.name}: its features do not vary within the classes")
    dtype = torch.float32 if evidence.device.type == "mps" else torch.float64  # as ``precise``
    means, whitening = (one.to(evidence.device, dtype) for one in (means, whitening))
    return Mahalanobis(evidence.network, encoder, means, whitening)
