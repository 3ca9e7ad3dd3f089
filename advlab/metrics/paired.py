"""McNemar's test: whether two networks differ on the same images by more than chance."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from scipy.special import bdtr  # scipy.stats takes a second to import


def mcnemar(first_only: int, second_only: int) -> float:
    """Return the p-value of the exact test of McNemar (1947), two-sided.

    Only images that exactly one of two networks has right tell them apart. If both were equally
    good, each of these images would belong to either network with probability one half.

    Args:
        first_only: number of images that only the first network has right.
        second_only: number of images that only the second network has right.

    Returns:
        The probability, in (0, 1], that equally good networks differ by so much or more; 1 where no
        image tells them apart. It is never below the smallest normal number of float64, 2e-308.
    """
    fewer, total = min(first_only, second_only), first_only + second_only
    if 2 * fewer >= total - 1:  # as even as can be, which no rounding is to hide
        return 1.0
    # Of a thousand images that one network alone has right, it would be rounded to 0.
    return max(2 * float(bdtr(fewer, total, 0.5)), sys.float_info.min)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for the number of tests by the method of Holm (1979).

    If all whose adjusted value is at most α are called significant, the probability of even one
    false finding among them is at most α, however the tests depend on each other.

    Args:
        p_values: of each test, in [0, 1].

    Returns:
        An adjusted value for each, in the same order: the k-th smallest of m times m + 1 - k, at
        least the adjusted one before it and at most 1.
    """
    adjusted = [0.0] * len(p_values)
    least = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = least
    return adjusted
