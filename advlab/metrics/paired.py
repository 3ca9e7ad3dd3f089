"""McNemar's test: whether two networks differ on the same images by more than chance."""

from __future__ import annotations

from scipy.stats import binom


def mcnemar(first_only: int, second_only: int) -> float:
    """Return the p-value of the exact test of McNemar (1947), two-sided.

    Only images that exactly one of two networks has right tell them apart. If both were equally
    good, each of these images would belong to either network with probability one half.

    Args:
        first_only: number of images that only the first network has right.
        second_only: number of images that only the second network has right.

    Returns:
        The probability, in (0, 1], that equally good networks differ by so much or more; 1 where no
        image tells them apart.
    """
    fewer, total = min(first_only, second_only), first_only + second_only
    return min(1.0, 2 * float(binom.cdf(fewer, total, 0.5)))
