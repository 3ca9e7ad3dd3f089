"""Detection of poisoned rows, and training without the suspected rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from advlab.components import load_component
from advlab.metrics.detection import detection_metrics, most_suspicious
from advlab.poisoning.evidence import Evidence
from advlab.results.poison import DetectionFigures
from advlab.runs.table import percent, table

F = TypeVar("F")
D = TypeVar("D", bound=DetectionFigures)


def detections(
    methods: Sequence[str],
    evidence: Evidence,
    poisoned: Tensor,
    budget: float | None,
    repaired: Callable[[Tensor], F],
    done: Callable[[], object],
) -> list[tuple[DetectionFigures, F]]:
    """How well each method finds the poison, and figures of a network trained without its suspects.

    Args:
        poisoned: numbers of the rows that were changed.
        budget: fraction of the rows that may be looked at; None for as many as were poisoned.
        repaired: trains a network on the rows of these numbers and returns its figures.
        done: called after each method.
    """
    count = len(evidence.labels)
    truth = torch.zeros(count, dtype=torch.bool)
    truth[poisoned] = True
    most = len(poisoned) if budget is None else max(1, round(budget * count))
    most = min(most, count - 1)  # a network is trained on what is left
    results = []
    for name in dict.fromkeys(methods):
        module = load_component("advlab.poisoning.detectors", name, "detection method")
        suspicion = module.suspicion(evidence)
        remaining = torch.ones(count, dtype=torch.bool)
        remaining[most_suspicious(suspicion, most)] = False
        areas = detection_metrics(suspicion, truth, most)
        figures = DetectionFigures(
            method=name,
            auroc=areas["auroc"],
            auprc=areas["auprc"],
            auprc_at_chance=areas["auprc_at_chance"],
            budget=most,
            precision=areas["precision"],
            recall=areas["recall"],
            clean_rows_lost=int((~remaining & ~truth).sum()),
            phrase=module.suspect(evidence) if hasattr(module, "suspect") else None,
        )
        results.append((figures, repaired(remaining.nonzero().squeeze(1))))
        done()
    return results


def table_of_detectors(
    detections: Sequence[D], repaired_column: str, repaired: Callable[[D], float | None]
) -> str:
    """The figures of each method as a table for the terminal; empty without a method.

    Args:
        repaired_column: the head of the column of ``repaired``.
        repaired: the figure of the network that was trained without a method's suspects; None
            where there is none.
    """
    if not detections:
        return ""
    head = ["detector", "AUROC", "AUPRC", "precision", "recall"]
    rows = []
    for one in detections:
        after = repaired(one)
        rows.append(
            [
                one.method + (f" ({one.phrase!r})" if one.phrase else ""),
                f"{one.auroc:.3f}",
                f"{one.auprc:.3f}",
                percent(one.precision),
                percent(one.recall),
                "–" if after is None else percent(after),
                f"{one.clean_rows_lost:,}",
            ]
        )
    return table([*head, repaired_column, "clean rows removed"], rows)
