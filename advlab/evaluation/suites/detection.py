"""Detection of adversarial images: a detector beside attacks that do and do not know it.

Carlini and Wagner 2017, arXiv:1705.07263, broke ten detectors by attacks that know them.
"""

from __future__ import annotations

from advlab.config.options.detection import DetectionOptions
from advlab.evaluation.entry import Entry


class Options(DetectionOptions):
    """Detection of adversarial images, under attacks that do and do not know the detector."""


def entries(options: DetectionOptions) -> list[Entry]:
    """The attacks that do not know the detector.

    FGSM and PGD stop at whatever is misclassified. FMN makes images that lie just beyond the
    boundary, and the confident PGD ones that the network is sure of.
    """
    steps = options.steps
    return [
        Entry("FGSM", "fgsm", "white"),
        Entry("PGD", "pgd", "white", {"steps": steps}),
        Entry("PGD-confident", "pgd", "white", {"steps": steps, "confidence": 0.99}),
        Entry("FMN", "fmn", "white", {"steps": 2 * steps}, minimum_norm=True),
    ]
