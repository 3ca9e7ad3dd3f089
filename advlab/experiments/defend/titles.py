"""What a defence is called where figures and tables name it."""

from __future__ import annotations

from typing import Any


def defence_title(component: str, options: Any) -> str:
    """The defence, and which of several trainings it was, such as ``smooth, training macer``."""
    training: str | None = getattr(options, "training", None)
    return component if training is None else f"{component}, training {training}"
