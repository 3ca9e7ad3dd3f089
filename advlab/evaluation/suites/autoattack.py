"""AutoAttack with its published settings, in its order: the standard and the rand version.

Croce and Hein 2020, arXiv:2003.01690, and 2021, arXiv:2103.01208, for L1.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from advlab.config import fields as f
from advlab.config.options.run import EvaluateOptions
from advlab.evaluation.entry import Entry, averaging

_RAND_SAMPLES = 20


class Options(EvaluateOptions):
    """AutoAttack: APGD-CE, APGD-T, FAB and Square, or its version for random networks."""

    variant: Annotated[
        Literal["standard", "rand"],
        Field(
            description=(
                "version of AutoAttack; rand, for random networks, is APGD-CE and APGD-DLR with "
                "gradients averaged over 20 passes"
            )
        ),
        f.PERTURBATION,
    ] = "standard"
    steps: f.Steps = 100
    queries: f.ScoreQueries = 5000


def entries(options: Options) -> list[Entry]:
    """The attacks of the version; a broken image is not attacked again.

    In L1 APGD-CE of the standard version has five restarts and APGD-T five target classes, else one
    and nine.
    """
    steps, l1 = options.steps, options.norm == "l1"
    if options.variant == "rand":
        pair = [
            Entry("APGD-CE", "apgd", "white", {"steps": steps}),
            Entry("APGD-DLR", "apgd", "white", {"steps": steps, "loss": "dlr"}, classes=3),
        ]
        return averaging(pair, _RAND_SAMPLES)
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
