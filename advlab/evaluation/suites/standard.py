"""The standard suite: eleven attacks, for robustness figures that are to be published."""

from __future__ import annotations

from advlab.config import fields as f
from advlab.config.options.run import EvaluateOptions
from advlab.evaluation.entry import Entry


class Options(EvaluateOptions):
    """Standard suite: noise, FGSM, PGD (three forms), APGD-CE, APGD-T, FAB, three black boxes."""

    steps: f.Steps = 50
    queries: f.ScoreQueries = 2000
    decisions: f.DecisionQueries = 500


def entries(options: Options) -> list[Entry]:
    """The attacks in order of cost, since a broken image is not attacked again.

    APGD on cross-entropy and, towards each of nine other classes, on the ratio of logits, FAB and
    Square are the four of AutoAttack (Croce and Hein 2020, arXiv:2003.01690). In L1 FAB breaks many
    images that no gradient ascent does, and takes twice as many steps. The smoothed PGD follows
    gradients that are averages over ten points around the image; on a sound network it breaks next
    to nothing that the attacks before it left.
    """
    steps = options.steps
    fab_steps = 2 * steps if options.norm == "l1" else steps
    return [
        Entry("noise", "noise", "control"),
        Entry("FGSM", "fgsm", "white"),
        Entry("PGD", "pgd", "white", {"steps": steps, "restarts": 2}),
        Entry("PGD-margin", "pgd", "white", {"steps": steps, "restarts": 2, "loss": "margin"}),
        Entry("APGD-CE", "apgd", "white", {"steps": steps}),
        Entry(
            "APGD-T",
            "apgd",
            "white",
            {"steps": steps, "loss": "dlr", "target_classes": 9},
            classes=4,
        ),
        Entry("FAB", "fab", "white", {"steps": fab_steps}, minimum_norm=True),
        Entry("PGD-smoothed", "pgd", "white", {"steps": steps, "smoothing": 10}),
        Entry("transfer", "pgd", "black", {"steps": 20, "loss": "margin"}, transfer=True),
        Entry("Square", "square", "black", {"queries": options.queries}),
        Entry("HopSkipJump", "hopskipjump", "black", {"queries": options.decisions}),
    ]
