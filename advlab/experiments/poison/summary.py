"""Summaries of poisoning studies over several seeds: ``poison.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev

from advlab.logs import logger
from advlab.metrics.classification import majority_warning
from advlab.results.poison import (
    DetectionSpread,
    ImagePoisonResult,
    PoisonSummary,
    RepairSpread,
    Spread,
    TextFigures,
    TextPoisonResult,
)
from advlab.runs.files import write_json

# By poison rate, for each figure its values over the seeds.
Curve = dict[float, dict[str, list[float]]]

# Columns about a trigger, in the table of a run and in that of a comparison.
WITH_TRIGGER = "target, with trigger"
WITH_ANOTHER_WORD = "target, with another word"
CONTROL_ACCURACY = "accuracy, random control"


def warn_of_majority(result: TextPoisonResult | ImagePoisonResult, unit: str) -> None:
    """Say so where the network without poison is no better than always the same answer.

    Args:
        unit: what was tested on, such as ``test images``.
    """
    warning = majority_warning(
        "the network without poison",
        result.accuracy_before,
        result.majority_accuracy,
        result.examples.test,
        unit,
    )
    if warning:
        logger.info(f"WARNING: {warning}")


def repaired_column(attack: str) -> str:
    """The name of what is measured on texts after a repair: with a trigger how often it fires."""
    return f"{WITH_TRIGGER if attack == 'trigger' else 'entity accuracy'}, repaired"


def repaired_figure(repaired: TextFigures, attack: str) -> float | None:
    """The figure of that column; None where there are no such texts."""
    return repaired.success_rate if attack == "trigger" else repaired.entity_accuracy


def slug_of(label: str, groups: Mapping[str, object]) -> str:
    """What a setting adds to the names of its files: nothing where it is the only one."""
    return "" if len(groups) == 1 else "-" + "".join(c if c.isalnum() else "_" for c in label)


def rate_column(label: str) -> str:
    """The head of a column of poison rates, with the setting of the table if it has a name."""
    return f"poison rate, {label}" if label else "poison rate"


def summary_of(
    members: Sequence[TextPoisonResult] | Sequence[ImagePoisonResult],
    figures: Sequence[str],
) -> PoisonSummary:
    """The runs of one setting over their seeds.

    Args:
        figures: names of the fields to sum up; those that are None in every run are left out.
    """
    every = {name: [getattr(result, name) for result in members] for name in figures}
    measured = {
        name: [value for value in values if value is not None] for name, values in every.items()
    }
    areas: dict[str, list[tuple[float, float]]] = {}
    for result in members:
        for one in result.points[-1].detections:
            areas.setdefault(one.method, []).append((one.auroc, one.auprc))
    repaired: dict[str, list[tuple[float, float]]] = {}
    for result in members:
        if isinstance(result, ImagePoisonResult):
            for method, accuracy, success in _repaired(result):
                repaired.setdefault(method, []).append((accuracy, success))
    return PoisonSummary(
        poison_rate=members[0].poison_rate,
        seeds=len(members),
        poisoned=_spread([result.poisoned for result in members]),
        figures={name: _spread(values) for name, values in measured.items() if values},
        detections=[
            DetectionSpread(
                method=method,
                auroc=_spread([a for a, _ in values]),
                auprc=_spread([b for _, b in values]),
            )
            for method, values in areas.items()
        ],
        repairs=[
            RepairSpread(
                method=method,
                accuracy=_spread([a for a, _ in values]),
                attack_success=_spread([b for _, b in values]),
            )
            for method, values in repaired.items()
        ],
    )


def _repaired(result: ImagePoisonResult) -> list[tuple[str, float, float]]:
    """Every method at the largest poison rate, with accuracy and attack success after it."""
    last = result.points[-1]
    repairs = [(one.method, one.repaired.accuracy, one.attack_success) for one in last.repairs]
    screened = [
        (one.method, one.screened.accuracy, one.attack_success) for one in last.input_detections
    ]
    return repairs + screened


def write_summaries(folder: Path, summaries: Mapping[str, PoisonSummary]) -> None:
    """Write ``poison.json``, which holds a summary for each setting."""
    write_json(
        folder / "poison.json",
        {label: summary.model_dump(mode="json") for label, summary in summaries.items()},
    )


def _spread(values: Sequence[float]) -> Spread:
    return Spread(mean=mean(values), std=stdev(values) if len(values) > 1 else None)
