"""The standard suite: attacks with AutoAttack's budget where they win something."""

from __future__ import annotations

from functools import partial

from advlab.config import fields as f
from advlab.config.options.run import EvaluateOptions
from advlab.evaluation.entry import Entry

_SHORT = 5  # the first attacks have one of so many parts of the steps
_LEAST = 10  # but so many, where the others have

_white = partial(Entry, sight="white", nearest_first=True)


class Options(EvaluateOptions):
    """Standard suite: short attacks on all images, AutoAttack's on those nearest to breaking."""

    steps: f.Steps = 100
    queries: f.ScoreQueries = 5000
    decisions: f.DecisionQueries = 500


def entries(options: Options) -> list[Entry]:
    """Short attacks on all images, then longer ones on the images nearest to being broken first.

    A longer attack goes on to further images as long as it breaks some; one with further restarts
    is run where the same attack broke any. APGD on cross-entropy and, towards other classes, on the
    ratio of logits, FAB and Square are the four of AutoAttack, with its steps and queries (Croce
    and Hein 2020, arXiv:2003.01690; in L1 2021, arXiv:2103.01208). Gradient ascent comes before
    FAB, which else would break what it would have broken, so that a check tells masked gradients.
    The smoothed PGD follows gradients that are averages over ten points around the image; on a
    sound network it breaks next to nothing that the attacks before it left.
    """
    steps = options.steps
    short = min(steps, max(_LEAST, steps // _SHORT))
    half = max(1, steps // 2)
    apgd_t = {"loss": "dlr"}
    return [
        Entry("noise", "noise", "control"),
        Entry("FGSM", "fgsm", "white"),
        Entry("PGD", "pgd", "white", {"steps": short}),
        Entry("PGD-margin", "pgd", "white", {"steps": short, "loss": "margin"}),
        Entry(
            "APGD-T-3",
            "apgd",
            "white",
            {**apgd_t, "steps": short, "target_classes": 3},
            classes=4,
        ),
        _white("APGD-CE", "apgd", settings={"steps": steps}),
        _white("FAB-3", "fab", settings={"steps": steps, "target_classes": 3}, minimum_norm=True),
        _white(
            "APGD-CE-restarts",
            "apgd",
            settings={"steps": steps, "restarts": 4},
            after="APGD-CE",
            seed_shift=1,
        ),
        _white(
            "FAB-restarts",
            "fab",
            settings={"steps": steps, "target_classes": 3, "restarts": 2, "random_start": True},
            minimum_norm=True,
            after="FAB-3",
        ),
        _white(
            "APGD-T", "apgd", settings={**apgd_t, "steps": steps, "target_classes": 9}, classes=4
        ),
        _white("FAB", "fab", settings={"steps": steps}, minimum_norm=True, after="FAB-3"),
        _white("PGD-smoothed", "pgd", settings={"steps": half, "smoothing": 10}),
        Entry("transfer", "pgd", "black", {"steps": 20, "loss": "margin"}, transfer=True),
        Entry("Square", "square", "black", {"queries": options.queries}, nearest_first=True),
        Entry(
            "HopSkipJump",
            "hopskipjump",
            "black",
            {"queries": options.decisions},
            nearest_first=True,
        ),
    ]
