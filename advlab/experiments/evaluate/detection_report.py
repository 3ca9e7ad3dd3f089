"""The result of a measurement of a detector: figures, table and sentence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from advlab.config.options.detection import DetectionOptions
from advlab.config.resolve import Config
from advlab.data.image_set import ImageSet
from advlab.experiments.titles import title_of
from advlab.logs import logger
from advlab.metrics.detection import auroc, roc_curve
from advlab.metrics.intervals import clopper_pearson
from advlab.plots.detection import roc_curves, score_histograms
from advlab.plots.style import save
from advlab.results.attack import ball
from advlab.results.evaluate import DetectedAttack, DetectionResult
from advlab.runs.machine import Machine
from advlab.runs.results import NetworkRecord
from advlab.runs.table import counted, percent, seconds_text, table


def result_of(
    config: Config,
    detector_settings: Mapping[str, object],
    settings: Mapping[str, Mapping[str, Any]],
    network: NetworkRecord,
    data: ImageSet,
    tensors: Mapping[str, Tensor],
    seconds: Mapping[str, float],
    threshold: float,
    machine: Machine,
    failed: Mapping[str, str],
) -> DetectionResult:
    """The result of a measurement.

    Args:
        settings: those of each attack by its name, the last one the attack that knows the detector.
        tensors: see ``Scores``.
        seconds: that each attack took.
        failed: the checks that failed, a sentence by the name of each.
    """
    options: DetectionOptions = config.options
    correct, clean = tensors["test/correct"], tensors["test/scores"]
    labels = list(settings)
    attacks = [
        _attack(label, label == labels[-1], tensors, threshold, seconds[label], settings[label])
        for label in labels
    ]
    flagged = clean > threshold
    return DetectionResult.model_validate(
        {
            "command": "evaluate",
            "component": config.component,
            "dataset": data.name,
            "origin": data.origin,
            "data_sha256": data.sha256(),
            "model": network.model,
            "seed": options.seed,
            "seconds": round(sum(seconds.values()), 3),
            "machine": machine.describe(),
            "checks_failed": dict(failed),
            "detector": options.detector,
            "detector_settings": dict(detector_settings),
            "norm": options.norm,
            "eps": options.eps,
            "images": len(clean),
            "classes": len(data.classes),
            "validation_images": len(tensors["validation/scores"]),
            "false_alarms": options.false_alarms,
            "threshold": threshold,
            "false_alarm_rate": _fraction(flagged),
            "clean_accuracy": _fraction(correct),
            "clean_accuracy_with_detector": _fraction(correct & ~flagged),
            "robust_accuracy": _robust(labels, tensors, None),
            "robust_accuracy_unaware": _robust(labels[:-1], tensors, threshold),
            "robust_accuracy_with_detector": _robust(labels, tensors, threshold),
            "attacks": attacks,
            "network": network,
        }
    )


def _fraction(flags: Tensor) -> float:
    """The fraction of the flags that is set."""
    return int(flags.sum()) / flags.numel()


def _robust(labels: list[str], tensors: Mapping[str, Tensor], threshold: float | None) -> float:
    """The fraction of all test images that these attacks leave robust.

    Args:
        threshold: above which an image is detected; None without a detector.
    """
    robust = torch.ones(int(tensors["test/correct"].sum()), dtype=torch.bool)
    for label in labels:
        harmless = tensors[f"{label}/correct"]
        if threshold is not None:
            harmless = harmless | (tensors[f"{label}/scores"] > threshold)
        robust &= harmless
    return int(robust.sum()) / len(tensors["test/correct"])


def _attack(
    label: str,
    knows_detector: bool,
    tensors: Mapping[str, Tensor],
    threshold: float,
    seconds: float,
    settings: Mapping[str, Any],
) -> DetectedAttack:
    """What one attack reached."""
    broken = ~tensors[f"{label}/correct"]
    scores = tensors[f"{label}/scores"][broken]
    figures: dict[str, float] = {}
    if len(scores):
        detected = int((scores > threshold).sum())
        low, high = clopper_pearson(detected, len(scores))
        figures = {
            "auroc": auroc(scores, tensors["test/scores"]),
            "detected": detected / len(scores),
            "low": low,
            "high": high,
        }
    return DetectedAttack.model_validate(
        {
            **dict.fromkeys(("auroc", "detected", "low", "high")),
            **figures,
            "attack": label,
            "knows_detector": knows_detector,
            "attacked": len(broken),
            "broken": len(scores),
            "robust_accuracy": _robust([label], tensors, None),
            "robust_accuracy_with_detector": _robust([label], tensors, threshold),
            "seconds": round(seconds, 3),
            "settings": dict(settings),
        }
    )


def draw(folder: Path, result: DetectionResult, tensors: Mapping[str, Tensor]) -> None:
    """The ROC curve of each attack, and the scores of clean and of broken images."""
    what = f"{result.detector} on {title_of(result.network)}, {result.dataset}"
    caption = (
        f"{result.origin} · {counted(result.images, 'test image')} · "
        f"{ball(result.eps, result.norm)} · seed {result.seed} · threshold at "
        f"{percent(result.false_alarms)} of {counted(result.validation_images, 'validation image')}"
    )
    clean, broken = tensors["test/scores"], {}
    for one in result.attacks:
        scores = tensors[f"{one.attack}/scores"][~tensors[f"{one.attack}/correct"]]
        if len(scores):
            broken[one.attack] = scores
    if not broken:
        return
    curves = {name: roc_curve(scores, clean) for name, scores in broken.items()}
    areas = {one.attack: one.auroc for one in result.attacks if one.auroc is not None}
    drawn = roc_curves(curves, areas, result.false_alarm_rate, f"Detection by {what}", caption)
    save(drawn, folder / "roc.png")
    drawn = score_histograms(
        clean.tolist(),
        {name: scores.tolist() for name, scores in broken.items()},
        result.threshold,
        f"Scores of {what}",
        f"{caption} · attacks: misclassified images alone",
    )
    save(drawn, folder / "scores.png")


def sentence(result: DetectionResult) -> str:
    """The figures in a line, with what they hold for."""
    robust = percent(result.robust_accuracy_with_detector)
    line = (
        f"robust accuracy with {result.detector} ≤ {robust} {ball(result.eps, result.norm)} on "
        f"{counted(result.images, 'image')} of {result.dataset}; under the attacks that do not "
        f"know the detector {percent(result.robust_accuracy_unaware)}, without it "
        f"{percent(result.robust_accuracy)}; clean accuracy {percent(result.clean_accuracy)}, "
        f"{percent(result.clean_accuracy_with_detector)} if false alarms count as errors, which "
        f"{percent(result.false_alarm_rate)} of the test images raise"
    )
    doubt = result.doubt()
    return f"{line}; {doubt}" if doubt else line


def report(result: DetectionResult) -> None:
    """Print a row for each attack, then the sentence."""
    rows = [
        [
            one.attack,
            "yes" if one.knows_detector else "no",
            f"{one.broken:,} of {one.attacked:,}",
            "–" if one.auroc is None else f"{one.auroc:.3f}",
            _detected(one),
            percent(one.robust_accuracy),
            percent(one.robust_accuracy_with_detector),
            seconds_text(one.seconds),
        ]
        for one in result.attacks
    ]
    header = ["attack", "knows the detector", "misclassified", "AUROC", "detected (95 % interval)"]
    header += ["robust without", "robust with", "seconds"]
    logger.info(table(header, rows))
    logger.info(sentence(result))


def _detected(one: DetectedAttack) -> str:
    """The detection rate with its interval, in percent."""
    if one.detected is None or one.low is None or one.high is None:
        return "–"
    return f"{100 * one.detected:.2f} % ({100 * one.low:.1f} to {100 * one.high:.1f})"
