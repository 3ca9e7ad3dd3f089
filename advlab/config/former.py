"""Former names of options. They are understood everywhere and no longer shown."""

from __future__ import annotations

FORMER_NAMES = {
    "clean_share": "clean_fraction",
    "dose": "poison_rate",
    "ends": "endpoints",
    "first_share": "first_fraction",
    "look": "view",
    "look_every": "evaluate_every",
    "look_samples": "evaluation_samples",
    "rivals": "target_classes",
    "share": "random_labels",
    "test_share": "test_fraction",
    "yardstick": "feature_classifier",
}


def present_name(option: str) -> str:
    """The present name of an option, with underscores, from its present or a former name."""
    option = option.replace("-", "_")
    return FORMER_NAMES.get(option, option)
