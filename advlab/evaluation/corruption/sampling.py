"""What corruptions share: pixels, drawn numbers as arrays, and images sampled between pixels.

Everything is computed in NumPy and SciPy, image by image as far as sums go, so that an image gets
the same bits in any batch.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from advlab.perturbation.randomness import ImageRandom

Pixels = NDArray[np.float64]
"""Images (N, C, H, W) in [0, 1]."""


def uniform(random: ImageRandom, shape: tuple[int, ...]) -> Pixels:
    """Uniform numbers in (0, 1), (N, *shape): the middles of 2^24 cells."""
    return random.uniform(shape).numpy().astype(np.float64) + 2.0**-25


def normal(random: ImageRandom, shape: tuple[int, ...]) -> Pixels:
    """Standard normal numbers, (N, *shape)."""
    return random.normal(shape).numpy().astype(np.float64)


def whole(drawn: Pixels, low: int, high: int) -> NDArray[np.int64]:
    """Whole numbers from ``low`` to ``high`` - 1, evenly, from uniform ones in (0, 1)."""
    return np.floor(low + drawn * (high - low)).astype(np.int64)


def smooth(x: Pixels, sigma: float, mode: str = "nearest", truncate: float = 4.0) -> Pixels:
    """Gaussian blur of the last two axes with a standard deviation of ``sigma`` pixels."""
    each = (0.0,) * (x.ndim - 2) + (sigma, sigma)
    blurred: Pixels = ndimage.gaussian_filter(x, each, mode=mode, truncate=truncate)
    return blurred


def zoomed(x: Pixels, factor: float) -> Pixels:
    """The middle of the last two axes, enlarged by ``factor`` ≥ 1 to the size that they had.

    Linear interpolation; of the middle, the smallest whole number of pixels that fills the size,
    the outermost of which lie on the edges of the enlargement.
    """
    down, right = (_enlargement(side, factor) for side in x.shape[-2:])
    return down @ x @ right.T


def _enlargement(side: int, factor: float) -> Pixels:
    """The matrix (side, side) that enlarges the middle of a line of pixels."""
    source = math.ceil(side / factor)
    begin = (side - source) // 2
    size = round(source * factor)
    trimmed = (size - side) // 2
    spacing = (source - 1) / (size - 1) if size > 1 else 0.0
    place = begin + spacing * (trimmed + np.arange(side))
    left = np.minimum(np.floor(place).astype(np.int64), side - 1)
    matrix = np.zeros((side, side))
    rows, fraction = np.arange(side), place - left
    matrix[rows, left] += 1 - fraction
    matrix[rows, np.minimum(left + 1, side - 1)] += fraction
    return matrix


def sampled(image: Pixels, rows: Pixels, columns: Pixels, mode: str) -> Pixels:
    """One image (C, H, W) at these places (H, W) by linear interpolation.

    Args:
        mode: what lies outside, as in ``scipy.ndimage.map_coordinates``.
    """
    options: dict[str, Any] = {"order": 1, "mode": mode}
    return np.stack(
        [ndimage.map_coordinates(channel, (rows, columns), **options) for channel in image]
    )


def plasma(random: ImageRandom, side: int, decay: float) -> Pixels:
    """A fractal height map by the diamond-square algorithm, (N, side, side), from 0 to 1.

    It wraps around. The heights that are added to means of neighbours fall by ``decay``² whenever
    the distance between neighbours is halved.

    Args:
        side: a power of two.
    """
    heights = np.zeros((len(random), side, side))
    step, wobble = side, 100.0

    def around(total: Pixels) -> Pixels:
        drawn = uniform(random, total.shape[1:])
        return total / 4 + wobble**2 * (2 * drawn - 1)

    while step >= 2:
        half = step // 2
        corners = heights[:, ::step, ::step]
        square = corners + np.roll(corners, -1, 1)
        middles = around(square + np.roll(square, -1, 2))
        heights[:, half::step, half::step] = middles
        above = middles + np.roll(middles, 1, 1)
        heights[:, ::step, half::step] = around(above + corners + np.roll(corners, -1, 2))
        beside = middles + np.roll(middles, 1, 2)
        heights[:, half::step, ::step] = around(beside + corners + np.roll(corners, -1, 1))
        step, wobble = half, wobble / decay
    heights -= heights.min((1, 2), keepdims=True)
    heights /= heights.max((1, 2), keepdims=True)
    return heights
