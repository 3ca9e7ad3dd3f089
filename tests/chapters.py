"""The demonstration's chapters on a small budget."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from advlab.experiments.demo.chapters import CHAPTERS, Chapter

SMALLER: dict[str, dict[str, Any]] = {
    "train": {"epochs": 1, "train_size": 200},
    "attack": {"limit": 20},
    "defend": {"epochs": 1, "limit": 20, "train_size": 150},
    "poison": {"epochs": 1, "seeds": 2, "poison_rate": [1.0]},
    "gan": {"width": 2, "epochs": 1, "samples": 60, "evaluation_samples": 60, "train_size": 200},
}


def small_chapters() -> list[Chapter]:
    """Every chapter, each of its steps with less to do."""
    return [
        replace(
            chapter,
            steps=[
                replace(step, flags={**step.flags, **SMALLER[step.command]})
                for step in chapter.steps
            ],
        )
        for chapter in CHAPTERS
    ]
