"""The four attacks of AutoAttack with its standard settings, in its order.

Croce and Hein 2020, arXiv:2003.01690, and 2021, arXiv:2103.01208, for L1.
"""

from __future__ import annotations

from pydantic import JsonValue

from advlab.config import fields as f
from advlab.config.options.run import EvaluateOptions
from advlab.evaluation.entry import Entry


class Options(EvaluateOptions):
    """AutoAttack: APGD-CE, APGD-T, FAB and Square with the settings of its standard version."""

    steps: f.Steps = 100
    queries: f.ScoreQueries = 5000


def entries(options: Options) -> list[Entry]:
    """The attacks of the standard version; a broken image is not attacked again.

    In L1 APGD-CE has five restarts and APGD-T five target classes, else one and nine.
    """
    steps, l1 = options.steps, options.norm == "l1"
    targeted: dict[str, JsonValue] = {
        "steps": steps,
        "loss": "dlr",
        "target_classes": 5 if l1 else 9,
    }
    return [
        Entry("APGD-CE", "apgd", "white", {"steps": steps, "restarts": 5 if l1 else 1}),
        Entry("APGD-T", "apgd", "white", targeted, classes=4),
        Entry("FAB", "fab", "white", {"steps": steps, "target_classes": 9}, minimum_norm=True),
        Entry("Square", "square", "black", {"queries": options.queries}),
    ]
