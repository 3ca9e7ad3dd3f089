"""What a detector of triggered inputs is given, and the threshold of its suspicions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

from torch import Tensor

from advlab.data.image_set import Images


@dataclass(frozen=True)
class InputEvidence:
    """A network at work, and clean images of its owner.

    Attributes:
        logits: of the network: from images float32 (N, C, H, W) in [0, 1] to (N, classes), on the
            CPU.
        clean: images without a trigger.
        seed: of whatever is drawn.
    """

    logits: Callable[[Tensor], Tensor]
    clean: Images
    seed: int


def rejection_threshold(clean_suspicion: Tensor, false_rejections: float) -> float:
    """The suspicion above which an image is rejected: of a normal distribution with mean and sample
    standard deviation of the clean images' suspicions, this fraction lies above it.

    Args:
        clean_suspicion: (N,), of at least two images that the detector did not use.
        false_rejections: fraction in (0, 1) of clean images that may be rejected.
    """
    values = clean_suspicion.double()
    mean, deviation = float(values.mean()), float(values.std())
    return mean + deviation * NormalDist().inv_cdf(1 - false_rejections)
