"""The quick suite: a first impression in a tenth of the time.

Its robust accuracy is a loose upper bound.
"""

from __future__ import annotations

from advlab.config import fields as f
from advlab.config.options.run import EvaluateOptions
from advlab.evaluation.entry import Entry


class Options(EvaluateOptions):
    """Quick suite: noise, FGSM, PGD, APGD-CE, APGD-T (three classes), smoothed PGD, Square."""

    steps: f.Steps = 20
    queries: f.Queries = 200


def entries(options: Options) -> list[Entry]:
    """The attacks in order of cost, since a broken image is not attacked again."""
    return [
        Entry("noise", "noise", "control"),
        Entry("FGSM", "fgsm", "white"),
        Entry("PGD", "pgd", "white", {"steps": options.steps}),
        Entry("APGD-CE", "apgd", "white", {"steps": options.steps}),
        Entry(
            "APGD-T-3",
            "apgd",
            "white",
            {"steps": options.steps, "loss": "dlr", "target_classes": 3},
            classes=4,
        ),
        Entry("PGD-smoothed", "pgd", "white", {"steps": options.steps, "smoothing": 5}),
        Entry("Square", "square", "black", {"queries": options.queries}),
    ]
