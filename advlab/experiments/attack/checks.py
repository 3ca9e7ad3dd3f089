"""The checks of what an attack reached, with the names and thresholds of ``advlab evaluate``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from advlab.evaluation.checks import finite_outputs, vanished_gradients
from advlab.logs import logger
from advlab.perturbation.sweep import Point, Tasks


def failed(points: Sequence[Point], tasks: Tasks, clean: Tensor) -> dict[str, str]:
    """The checks that fail at any ε, a sentence by the name of each.

    Args:
        points: what the attack reached.
        clean: logits on the unperturbed images, (N, classes).
    """
    sentences: dict[str, str] = {}
    for point in points:
        sentences |= finite(clean, point.logits, tasks)
        withstood = int((~point.reached).sum())
        sentences |= vanished_gradients(point.gradients, withstood, len(tasks))
    unusable = sum(point.unusable_gradients for point in points)
    if unusable:
        sentences["unusable gradients"] = (
            f"{unusable:,} times an image had no gradient, or one with NaN or infinity; there the "
            "attack stood still, and the network may only look robust"
        )
    return sentences


def finite(clean: Tensor, attacked: Tensor, tasks: Tasks) -> dict[str, str]:
    """The check whether all images get finite logits; empty where they do.

    Args:
        clean: logits on the unperturbed images, (N, classes).
        attacked: logits on what the attack made of each task's image, (T, classes).
    """
    return finite_outputs(clean[tasks.index], attacked)


def report(failed: Mapping[str, str]) -> None:
    """A line for each check that failed."""
    for name, sentence in failed.items():
        logger.info(f"CHECK FAILED: {name}: {sentence}")
