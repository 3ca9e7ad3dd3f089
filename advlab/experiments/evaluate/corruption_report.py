"""The result of a measurement under corruptions: figures, table and sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from torch import Tensor

from advlab.config.options.run import CorruptionOptions
from advlab.config.resolve import Config
from advlab.data.image_set import Images, ImageSet
from advlab.evaluation.checks import log_failed
from advlab.evaluation.corruption.catalogue import Corruption
from advlab.experiments.target_model import TargetModel
from advlab.experiments.titles import title_of
from advlab.logs import logger
from advlab.metrics.intervals import clopper_pearson, with_interval
from advlab.plots.corruptions import accuracy_against_severity, corrupted
from advlab.plots.heat import heat
from advlab.plots.style import save
from advlab.results.evaluate import CorruptedPoint, CorruptionError, CorruptionResult
from advlab.runs.machine import Machine
from advlab.runs.table import counted, percent, table


def result_of(
    config: Config,
    sort: str,
    kinds: Sequence[Corruption],
    correct: Mapping[str, Tensor],
    target: TargetModel,
    reference: TargetModel | None,
    data: ImageSet,
    machine: Machine,
    seconds: float,
    failed: Mapping[str, str],
) -> CorruptionResult:
    """The result of a measurement.

    Args:
        sort: of images: natural images or digits.
        correct: which images are classified correctly; see ``Answers``.
        failed: the checks of the networks that failed, a sentence by the name of each.
    """
    options: CorruptionOptions = config.options
    severities = sorted(set(options.severities))
    errors = [_error(kind, correct) for kind in kinds]
    relative = [one.relative_error for one in errors if one.relative_error is not None]
    clean = correct["network/clean"]
    return CorruptionResult.model_validate(
        {
            "command": "evaluate",
            "component": config.component,
            "dataset": data.name,
            "origin": data.origin,
            "data_sha256": data.sha256(),
            "model": target.record.model,
            "seed": options.seed,
            "seconds": round(seconds, 3),
            "machine": machine.describe(),
            "images": clean.shape[1],
            "image_sort": sort,
            "classes": len(data.classes),
            "clean_accuracy": _fraction(clean),
            "mean_corruption_error": mean(one.error for one in errors),
            "relative_mce": mean(relative) if len(relative) == len(errors) else None,
            "severities": severities,
            "corruptions": errors,
            "points": [point for kind in kinds for point in _points(kind, severities, correct)],
            "network": target.record,
            "reference": None if reference is None else reference.record,
            "checks_failed": {**failed, **_checks(correct)},
            "reference_clean_accuracy": (
                None if reference is None else _fraction(correct["reference/clean"])
            ),
        }
    )


def _checks(correct: Mapping[str, Tensor]) -> dict[str, str]:
    """The check whether all images get finite logits, of either network; empty where they do."""
    failed = {}
    for network in ("network", "reference"):
        flags = [value for key, value in correct.items() if key.startswith(f"finite/{network}/")]
        missing = sum(int((~one).sum()) for one in flags)
        if missing:
            whose = "" if network == "network" else " of the reference"
            failed[f"non-finite outputs{whose}"] = (
                f"{missing:,} of {sum(one.numel() for one in flags):,} answers, to the images as "
                "they are and corrupted, are not finite (NaN or infinite), and count as wrong"
            )
    return failed


def _fraction(flags: Tensor) -> float:
    """The fraction of the flags that is set."""
    return int(flags.sum()) / flags.numel()


def _error(kind: Corruption, correct: Mapping[str, Tensor]) -> CorruptionError:
    """The error under one corruption, over its severities."""
    error, relative = 1 - _fraction(correct[f"network/{kind.name}"]), None
    other = correct.get(f"reference/{kind.name}")
    if other is not None and not bool(other.all()):
        relative = error / (1 - _fraction(other))
    return CorruptionError(
        corruption=kind.name, group=kind.group, error=error, relative_error=relative
    )


def _points(
    kind: Corruption, severities: Sequence[int], correct: Mapping[str, Tensor]
) -> list[CorruptedPoint]:
    """The accuracy under one corruption at each severity."""
    other = correct.get(f"reference/{kind.name}")
    points = []
    for place, severity in enumerate(severities):
        row = correct[f"network/{kind.name}"][place]
        low, high = clopper_pearson(int(row.sum()), len(row))
        points.append(
            CorruptedPoint(
                corruption=kind.name,
                severity=severity,
                accuracy=_fraction(row),
                low=low,
                high=high,
                reference_accuracy=None if other is None else _fraction(other[place]),
            )
        )
    return points


def draw(
    folder: Path, result: CorruptionResult, images: Images, kinds: Sequence[Corruption]
) -> None:
    """Accuracy as a heat map, beside that of a reference, and against severity; and one image under
    each corruption."""
    what = f"{title_of(result.network)} on {result.dataset}"
    caption = (
        f"{result.origin} · {counted(result.images, 'test image')} · seed {result.seed} · "
        f"clean accuracy {percent(result.clean_accuracy)}"
    )
    framed = "the lowest framed"
    reference: list[tuple[int, float]] = []
    values = _grid(result, [point.accuracy for point in result.points])
    tables = {title_of(result.network): values}
    if result.reference is not None:
        beside = [p.reference_accuracy for p in result.points if p.reference_accuracy is not None]
        tables[f"reference: {title_of(result.reference)}"] = _grid(result, beside)
        framed = "the lowest of each network framed"
        if result.reference_clean_accuracy is not None:
            framed += " · clean accuracy of the reference "
            framed += percent(result.reference_clean_accuracy)
            means = _grid(result, beside).mean(0).tolist()
            reference = [(0, result.reference_clean_accuracy)]
            reference += zip(result.severities, means, strict=True)
    severities = [f"severity {severity}" for severity in result.severities]
    names = [one.corruption.replace("_", " ") for one in result.corruptions]
    drawn = heat(
        tables,
        names,
        severities,
        f"Accuracy under corruptions of {what}",
        f"{caption} · in %, {framed}",
        quantity="accuracy",
        percent=True,
        lower=True,
    )
    save(drawn, folder / "heatmap.png")
    drawn = accuracy_against_severity(
        _curves(result, values),
        result.clean_accuracy,
        1 / result.classes,
        f"Accuracy under corruptions of {what}",
        f"{caption} · means over the corruptions of each group",
        reference,
    )
    save(drawn, folder / "curve.png")
    first = images.inputs(slice(0, 1))
    rows = {
        kind.name.replace("_", " "): [
            first[0].numpy(),
            *(
                kind.apply(first, torch.tensor([0]), severity, result.seed)[0].numpy()
                for severity in result.severities
            ),
        ]
        for kind in kinds
    }
    title = f"Corruptions of a test image of {result.dataset}"
    caption = f"{result.origin} · test image 0 · seed {result.seed}"
    drawn = corrupted(rows, ["uncorrupted", *severities], title, caption)
    save(drawn, folder / "examples.png")


def _grid(
    result: CorruptionResult, accuracies: Sequence[float]
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """The accuracies of all points as (corruptions, severities)."""
    every = np.array(accuracies, dtype=np.float64)
    return every.reshape(len(result.corruptions), len(result.severities))


def _curves(
    result: CorruptionResult, values: np.ndarray[tuple[int, int], np.dtype[np.float64]]
) -> dict[str, list[tuple[int, float]]]:
    """The mean accuracy at each severity, of each group and of all corruptions."""
    groups: dict[str, list[int]] = {}
    for row, one in enumerate(result.corruptions):
        groups.setdefault(one.group, []).append(row)
    groups["all corruptions"] = list(range(len(result.corruptions)))
    return {
        name: [
            (severity, float(values[rows, column].mean()))
            for column, severity in enumerate(result.severities)
        ]
        for name, rows in groups.items()
    }


def sentence(result: CorruptionResult) -> str:
    """The figures in a line, with what they hold for."""
    clean = with_interval(result.clean_accuracy, result.images)
    every = f"{counted(len(result.corruptions), 'corruption')} of {result.image_sort}"
    text = (
        f"mean corruption error {percent(result.mean_corruption_error)} over {every} and "
        f"severities {', '.join(map(str, result.severities))}, clean error "
        f"{percent(1 - result.clean_accuracy)}, on {counted(result.images, 'image')} of "
        f"{result.dataset}; clean accuracy {clean}, with 95 % intervals"
    )
    if result.reference is None:
        return f"{text}; unnormalised: no reference network was given"
    where = title_of(result.reference)
    if result.relative_mce is None:
        return f"{text}; unnormalised: {where} makes no error under some corruption"
    return f"{text}; mCE {percent(result.relative_mce)} relative to {where}"


def report(result: CorruptionResult) -> None:
    """Print a row for each corruption, then the sentence."""
    by_kind: dict[str, list[CorruptedPoint]] = {}
    for point in result.points:
        by_kind.setdefault(point.corruption, []).append(point)
    relative = result.reference is not None
    rows = [
        [
            one.corruption,
            *(_cell(point) for point in by_kind[one.corruption]),
            f"{100 * one.error:.2f}",
            *([_percentage(one.relative_error)] if relative else []),
        ]
        for one in result.corruptions
    ]
    severities = [f"severity {severity}" for severity in result.severities]
    header = ["accuracy in %", *severities, "mean error", *(["relative"] if relative else [])]
    logger.info(table(header, rows))
    logger.info(sentence(result))
    log_failed(result.checks_failed)


def _cell(point: CorruptedPoint) -> str:
    """An accuracy with its interval, in percent."""
    return f"{100 * point.accuracy:.2f} ({100 * point.low:.1f} to {100 * point.high:.1f})"


def _percentage(value: float | None) -> str:
    """A fraction in percent; a dash where there is none."""
    return "–" if value is None else f"{100 * value:.2f}"
