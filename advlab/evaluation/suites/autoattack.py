"""AutoAttack with its published settings, in its order: the versions standard, plus and rand.

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
    """AutoAttack: APGD-CE, APGD-T, FAB and Square, or its larger or its random version."""

    variant: Annotated[
        Literal["standard", "plus", "rand"],
        Field(
            description=(
                "version of AutoAttack; plus adds APGD-DLR, FAB towards the nearest class and "
                "restarts; rand, for random networks, is APGD-CE and APGD-DLR with gradients "
                "averaged over 20 passes"
            )
        ),
        f.PERTURBATION,
    ] = "standard"
    steps: f.Steps = 100
    queries: f.ScoreQueries = 5000


def entries(options: Options) -> list[Entry]:
    """The attacks of the version; a broken image is not attacked again.

    In L1 APGD-CE of the standard version has five restarts and APGD-T five target classes, else one
    and nine. The plus version is the same in every norm.
    """
    versions = {"standard": _standard, "plus": _plus, "rand": _rand}
    return versions[options.variant](options)


def _standard(options: Options) -> list[Entry]:
    l1 = options.norm == "l1"
    return [
        _apgd_ce(options, restarts=5 if l1 else 1),
        _apgd_t(options, classes=5 if l1 else 9),
        _fab(options),
        _square(options),
    ]


def _plus(options: Options) -> list[Entry]:
    """What the authors' code calls ``fab`` is FAB-nearest here, and its ``fab-t`` is FAB, as in the
    other suites."""
    nearest: dict[str, JsonValue] = {"steps": options.steps, "nearest_class": True, "restarts": 5}
    return [
        _apgd_ce(options, restarts=5),
        _apgd_dlr(options, restarts=5),
        Entry("FAB-nearest", "fab", "white", nearest, minimum_norm=True),
        _square(options),
        _apgd_t(options, classes=9),
        _fab(options),
    ]


def _rand(options: Options) -> list[Entry]:
    pair = [_apgd_ce(options, restarts=1), _apgd_dlr(options, restarts=1)]
    return averaging(pair, _RAND_SAMPLES)


def _apgd_ce(options: Options, restarts: int) -> Entry:
    return Entry("APGD-CE", "apgd", "white", {"steps": options.steps, "restarts": restarts})


def _apgd_dlr(options: Options, restarts: int) -> Entry:
    settings: dict[str, JsonValue] = {
        "steps": options.steps,
        "loss": "dlr",
        "restarts": restarts,
    }
    return Entry("APGD-DLR", "apgd", "white", settings, classes=3)


def _apgd_t(options: Options, classes: int) -> Entry:
    settings: dict[str, JsonValue] = {
        "steps": options.steps,
        "loss": "dlr",
        "target_classes": classes,
    }
    return Entry("APGD-T", "apgd", "white", settings, classes=4)


def _fab(options: Options) -> Entry:
    settings: dict[str, JsonValue] = {"steps": options.steps, "target_classes": 9}
    return Entry("FAB", "fab", "white", settings, minimum_norm=True)


def _square(options: Options) -> Entry:
    return Entry("Square", "square", "black", {"queries": options.queries})
