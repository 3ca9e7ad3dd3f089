"""Tables and figures of repairs, of one run and over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev

import numpy as np

from advlab.config.references import dataset_title
from advlab.metrics.classification import no_better_than_majority, too_few_for_majority
from advlab.plots.defence import trade
from advlab.plots.sheets import Tile, sheet
from advlab.plots.style import save
from advlab.poisoning.backdoored import RecoveredTrigger
from advlab.results.poison import (
    ImageFigures,
    ImagePoint,
    ImagePoisonResult,
    ImageRepair,
    InputDetection,
    at_rate,
)
from advlab.runs.table import spread, table

TRIGGER_WORDS = {
    "patch": "the patch",
    "blended": "the blended image",
    "sig": "the sinusoid",
    "wanet": "the warping",
    "label-consistent": "the patch",
}
_MOST_SHOWN = 10  # classes of which recovered triggers are drawn


def repair_tables(members: Sequence[ImagePoisonResult]) -> list[str]:
    """A table of the repairs and one of the detectors of triggered inputs, at every poison rate,
    over the runs; none where there was none."""
    repairs: dict[tuple[str, float], list[tuple[ImagePoint, ImageRepair]]] = {}
    detectors: dict[tuple[str, float], list[InputDetection]] = {}
    for result in members:
        for point in result.points:
            for repair in point.repairs:
                repairs.setdefault((repair.method, point.poison_rate), []).append((point, repair))
            for one in point.input_detections:
                detectors.setdefault((one.method, point.poison_rate), []).append(one)
    tables = []
    if repairs:
        header = ["repair", "poison rate", "attack success", "attack success, repaired"]
        header += ["accuracy", "accuracy, repaired"]
        rows = [
            [
                method,
                f"{100 * rate:g} %",
                spread([point.attack_success for point, _ in several]),
                spread([repair.attack_success for _, repair in several]),
                spread([point.accuracy for point, _ in several]),
                spread([repair.repaired.accuracy for _, repair in several]),
                _finding([repair for _, repair in several], members[0].target)
                + _ruined([repair for _, repair in several], members[0]),
            ]
            for (method, rate), several in repairs.items()
        ]
        tables.append(table([*header, "finding"], rows))
    if detectors:
        header = ["detector of inputs", "poison rate", "AUROC", "false rejections"]
        header += ["false acceptances", "attack success, with rejection"]
        header += ["accuracy, with rejection"]
        rows = [
            [
                method,
                f"{100 * rate:g} %",
                _number([one.auroc for one in several]),
                spread([one.false_rejection_rate for one in several]),
                spread([one.false_acceptance_rate for one in several]),
                spread([one.attack_success for one in several]),
                spread([one.screened.accuracy for one in several]),
            ]
            for (method, rate), several in detectors.items()
        ]
        tables.append(table(header, rows))
    return tables


def _finding(several: Sequence[ImageRepair], target: str | None) -> str:
    """What a repair found, over the runs; the truth is used to say so, and for nothing else."""
    first = several[0]
    if first.isolated is not None:
        poisoned = mean(repair.isolated_poisoned or 0 for repair in several)
        return f"{poisoned:.3g} of {first.isolated} isolated images poisoned"
    if first.pruned_units is not None:
        count = mean(repair.pruned_units or 0 for repair in several)
        return f"{count:.3g} of {first.units} units pruned"
    if not first.triggers or len(several) == 1:
        return first.finding
    flagged = [
        {trigger.target for trigger in repair.triggers if trigger.flagged} for repair in several
    ]
    right, wrong = (
        sum(target in one for one in flagged),
        sum(bool(one - {target}) for one in flagged),
    )
    return f"target flagged in {right} of {len(several)} runs, another class in {wrong}"


def _ruined(several: Sequence[ImageRepair], result: ImagePoisonResult) -> str:
    """In how many runs a repair left a network that has nothing to be attacked."""
    majority, total = result.majority_accuracy, result.examples.test
    if majority is None:
        return ""
    count = sum(
        no_better_than_majority(repair.repaired.accuracy, majority, total) for repair in several
    )
    if not count:
        return ""
    runs = "" if len(several) == 1 else f" in {count} of {len(several)} runs"
    if too_few_for_majority(majority, total):
        return f"; {total:,} test images are too few to tell whether the network is ruined{runs}"
    return f"; RUINED the network{runs}: no better than always the same answer"


def _number(values: Sequence[float]) -> str:
    return f"{mean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


def repair_caption(result: ImagePoisonResult) -> str:
    """What the figures of a run's repairs are measured on."""
    last = result.points[-1]
    given: list[int] = [one.clean_images for one in last.repairs]
    given += [one.clean_images for one in last.input_detections]
    clean = f" · {max(given):,} clean images for repairs" if any(given) else ""
    tested = f"{result.examples.test:,} test images"
    return f"{result.origin} · {tested}{clean} · seed {result.seed}"


def draw_repairs(members: Sequence[ImagePoisonResult], file: Path, caption: str) -> None:
    """Draw accuracy and success before and after every repair, at the largest poison rate; nothing
    where there was no repair."""
    first = members[0]
    if not (first.points[-1].repairs or first.points[-1].input_detections):
        return
    figures: dict[str, list[ImageFigures]] = {}
    for result in members:
        clean, last = result.points[0], result.points[-1]
        networks: dict[str, ImageFigures] = {"no poison": clean, "poisoned, no repair": last}
        networks |= {repair.method: repair.repaired for repair in last.repairs}
        networks |= {f"{one.method}, rejecting": one.screened for one in last.input_detections}
        for name, values in networks.items():
            figures.setdefault(name, []).append(values)
    aimed = f"classified as {first.target}, with {TRIGGER_WORDS[first.attack]}\n"
    aimed += "(test images of the other classes)"
    groups = {
        name: {
            "classified correctly, no trigger\n(all test images)": [one.accuracy for one in values],
            aimed: [one.success_rate for one in values],
        }
        for name, values in figures.items()
    }
    title = f"Repairs of {first.model} on {dataset_title(first.dataset)} with a backdoor, "
    title += f"{first.attack} {at_rate(first.poison_rate)}"
    save(trade(groups, first.classes, title, caption, "fraction of the images"), file)


def draw_triggers(
    result: ImagePoisonResult,
    recovered: Mapping[str, Sequence[RecoveredTrigger]],
    folder: Path,
    caption: str,
) -> None:
    """Draw the masks of the triggers that a repair recovered, and what they show, of the classes
    with the smallest masks."""
    for repair in result.points[-1].repairs:
        if repair.method not in recovered:
            continue
        pairs = sorted(
            zip(repair.triggers, recovered[repair.method], strict=True),
            key=lambda pair: pair[1].norm,
        )[:_MOST_SHOWN]
        masks, patterns = [], []
        for figures, trigger in pairs:
            index = "∞" if figures.anomaly_index is None else f"{figures.anomaly_index:.2f}"
            mark = "✗ " if figures.flagged else ""
            words = f"{mark}{figures.target}: {figures.mask_norm:.2f} px\nanomaly index {index}"
            masks.append(Tile(trigger.mask[None].numpy().astype(np.float32), words))
            pattern = (trigger.mask * trigger.pattern).numpy().astype(np.float32)
            patterns.append(Tile(pattern, f"{figures.target}: mask × pattern"))
        title = f"Triggers recovered by {repair.method} from {result.model} on "
        title += f"{dataset_title(result.dataset)} ({result.attack}, target {result.target})"
        key = "✗: flagged, for an index above 2 and a mask below the median"
        key += " · px: sum of the mask · smallest masks first"
        drawn = sheet([*masks, *patterns], title, f"{key} · {caption}", columns=len(pairs))
        save(drawn, folder / f"{repair.method}_triggers.png")
