"""Confidence intervals of accuracies: how much a figure depends on the images that were drawn."""

from __future__ import annotations

from math import sqrt

from scipy.special import betaincinv, ndtri  # scipy.stats takes a second to import

from advlab.runs.table import in_percent, percent

LEVEL = 0.95
"""The confidence of the intervals in tables."""


def clopper_pearson(correct: int, total: int, level: float = LEVEL) -> tuple[float, float]:
    """Return the exact confidence interval of a probability (Clopper and Pearson 1934).

    Args:
        correct: number of successes, from 0 to ``total``.
        total: number of trials, at least 1.
        level: confidence, in (0, 1); each side is missed with half of what is left of 1.

    Returns:
        Lower and upper limit, in [0, 1].
    """
    tail = (1 - level) / 2
    low = float(betaincinv(correct, total - correct + 1, tail)) if correct > 0 else 0.0
    high = float(betaincinv(correct + 1, total - correct, 1 - tail)) if correct < total else 1.0
    return low, high


def wilson(correct: int, total: int, level: float = LEVEL) -> tuple[float, float]:
    """Return Wilson's confidence interval of a probability (Wilson 1927).

    Args:
        correct: number of successes, from 0 to ``total``.
        total: number of trials, at least 1.
        level: confidence, in (0, 1).

    Returns:
        Lower and upper limit, in [0, 1].
    """
    fraction, z = correct / total, float(ndtri((1 + level) / 2))
    scale = 2 * (total + z**2)
    centre = (2 * total * fraction + z**2) / scale
    half = z / scale * sqrt(4 * total * fraction * (1 - fraction) + z**2)
    # Where all or none are right, rounding would leave the limit a last bit beside its end.
    return (centre - half if correct > 0 else 0.0), (centre + half if correct < total else 1.0)


def interval(accuracy: float, total: int) -> tuple[float, float]:
    """Return the confidence interval of an accuracy on ``total`` examples, at least one."""
    return clopper_pearson(round(accuracy * total), total)


def with_interval(accuracy: float, total: int) -> str:
    """Return an accuracy in percent with its interval, such as ``51.67 % (38.4 to 64.8)``; of
    nothing there is none, ``–``."""
    if total == 0:
        return "–"
    ends = (in_percent(end, places=1) for end in interval(accuracy, total))
    return f"{percent(accuracy)} ({' to '.join(ends)})"
