"""Options by the names that earlier versions had for them, which are still understood and no longer
shown."""

from __future__ import annotations

FORMER_NAMES = {
    "clean_share": "clean_fraction",
    "dose": "poison_rate",
    "ends": "endpoints",
    "first_share": "first_fraction",
    "look_every": "evaluate_every",
    "look_samples": "evaluation_samples",
    "rivals": "target_classes",
    "share": "random_labels",
    "test_share": "test_fraction",
    "yardstick": "feature_classifier",
}


def present_name(option: str) -> str:
    """The name that an option has inside the program now, however it was written: with dashes or by
    a former name."""
    option = option.replace("-", "_")
    return FORMER_NAMES.get(option, option)
