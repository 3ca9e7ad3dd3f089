"""The checks of what an attack reached, with the names and thresholds of ``advlab evaluate``."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from advlab.evaluation.checks import finite_outputs, vanished_gradients
from advlab.perturbation.sweep import Point, Tasks
from advlab.perturbation.victim import GradientCount


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
    return sentences | _unusable(sum(point.unusable_gradients for point in points))


def of_gradients(gradients: GradientCount, withstood: int, total: int) -> dict[str, str]:
    """The checks of the gradients that an attack followed, a sentence by the name of each that
    fails.

    Args:
        withstood: how many images did not reach their goal.
        total: how many images there are.
    """
    return {**vanished_gradients(gradients, withstood, total), **_unusable(gradients.unusable)}


def _unusable(times: int) -> dict[str, str]:
    """The check whether images had a gradient that can be followed.

    Args:
        times: how often an image had none.
    """
    if not times:
        return {}
    return {
        "unusable gradients": (
            f"{times:,} times an image had no gradient, or one with NaN or infinity; there the "
            "attack stood still, and the network may only look robust"
        )
    }


def finite(clean: Tensor, attacked: Tensor, tasks: Tasks) -> dict[str, str]:
    """The check whether all images get finite logits; empty where they do.

    Args:
        clean: logits on the unperturbed images, (N, classes).
        attacked: logits on what the attack made of each task's image, (T, classes).
    """
    return finite_outputs(clean[tasks.index], attacked)
