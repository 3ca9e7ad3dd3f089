"""Finite differences of a function, to check derivatives against."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from advlab.scratch.layers import Array


def central(
    value: Callable[[], float],
    array: Array,
    entries: NDArray[np.int64] | None = None,
    step: float = 1e-4,
) -> Array:
    """Derivatives of ``value`` in entries of ``array``, which must be float64, with an error of the
    order of h⁴.

    (f(x − 2h) − 8 f(x − h) + 8 f(x + h) − f(x + 2h)) / 12h.

    Args:
        value: reads ``array``, which is moved under it and put back.
        entries: flat numbers of the entries; all of them where not given.
        step: h.

    Returns:
        A derivative for each entry, flat.

    Raises:
        ValueError: the array does not lie in one piece, or is not float64.
    """
    flat = array.reshape(-1)
    if array.dtype != np.float64 or not np.shares_memory(flat, array):
        raise ValueError("the array must be float64 and lie in one piece")
    chosen = np.arange(flat.size) if entries is None else entries
    derivatives = np.zeros(len(chosen))
    for place, entry in enumerate(chosen):
        before = flat[entry]
        for steps, weight in ((-2, 1), (-1, -8), (1, 8), (2, -1)):
            flat[entry] = before + steps * step
            derivatives[place] += weight * value()
        flat[entry] = before
    return derivatives / (12 * step)
