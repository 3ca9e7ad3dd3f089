"""Feature squeezing: an adversarial image is taken for another class once its detail is squeezed.

Xu, Evans and Qi 2018, arXiv:1704.01155. He et al. 2017, arXiv:1706.04701, and Sharma and Chen 2018,
arXiv:1803.09868, break it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from advlab.config.options.detection import DetectionOptions
    from advlab.evaluation.detection import DetectorEvidence
    from advlab.evaluation.squeezers import Squeezing


def fitted(evidence: DetectorEvidence, options: DetectionOptions) -> Squeezing:
    """The detector; nothing of it is fitted to images.

    The paper's joint detectors have, for MNIST, one bit and a median of side 2, and for ImageNet
    five bits, a median of side 2, and non-local means with a window of 11, patches of 3 and
    strength 4.
    """
    from advlab.evaluation.squeezers import Squeezing

    grey = evidence.train.pixels.shape[1] == 1
    names = options.squeezers or (["bits", "median"] if grey else ["bits", "median", "means"])
    bits = options.bits or (1 if grey else 5)
    return Squeezing(evidence.network, names, bits, options.median)
