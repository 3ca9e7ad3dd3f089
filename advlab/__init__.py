"""advlab: a laboratory for adversarial machine learning.

``import advlab`` loads neither torch nor any other large library; the names below do when they are
first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advlab.api import (
        AttackResult,
        CertificationResult,
        EvaluationResult,
        SuiteRow,
        VerificationResult,
        attack,
        certify,
        evaluate,
        load_dataset,
        load_model,
        run,
        verify,
    )

__version__ = "0.1.0"

__all__ = [
    "AttackResult",
    "CertificationResult",
    "EvaluationResult",
    "SuiteRow",
    "VerificationResult",
    "attack",
    "certify",
    "evaluate",
    "load_dataset",
    "load_model",
    "run",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("advlab.api"), name)
    raise AttributeError(f"module 'advlab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
