"""Looking for poisoned rows by several methods, and what a network is worth that was trained without what each suspects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from advlab import names
from advlab.detection._evidence import Evidence
from advlab.metrics.detection import detection_figures, suspects


def hunted(
    methods: Sequence[str],
    evidence: Evidence,
    poisoned: Tensor,
    budget: float | None,
    repaired: Callable[[Tensor], dict[str, Any]],
    done: Callable[[], object],
) -> dict[str, Any]:
    """By method: how well it finds the poison, what a network without its suspects reaches, and the clean rows that cost.

    Args:
        poisoned: numbers of the rows that were changed.
        budget: share of the rows that may be looked at; as many as were poisoned where not given.
        repaired: from the numbers of the rows that are kept to figures of a network trained on them.
        done: called after each method.
    """
    count = len(evidence.labels)
    truth = torch.zeros(count, dtype=torch.bool)
    truth[poisoned] = True
    most = len(poisoned) if budget is None else max(1, round(budget * count))
    found: dict[str, Any] = {}
    for name in methods:
        module = names.load("advlab.detection", name, "detection method")
        suspicion = module.suspicion(evidence)
        kept = torch.ones(count, dtype=torch.bool)
        kept[suspects(suspicion, most)] = False
        found[name] = {
            **detection_figures(suspicion, truth, most),
            "repaired": repaired(kept.nonzero().squeeze(1)),
            "clean_rows_lost": int((~kept & ~truth).sum()),
        }
        if hasattr(module, "suspect"):
            found[name]["phrase"] = module.suspect(evidence)
        done()
    return found
