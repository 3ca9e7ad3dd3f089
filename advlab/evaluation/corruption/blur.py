"""Blur: out of focus, frosted glass, motion, and zoom (arXiv:1903.12261)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from advlab.evaluation.corruption.sampling import Pixels, smooth, uniform, whole, zoomed
from advlab.perturbation.randomness import ImageRandom

_TILT = 45.0  # degrees by which motion may deviate from the horizontal


def defocus_blur(x: Pixels, random: ImageRandom, radius: float, smoothing: float) -> Pixels:
    """Every pixel becomes a disk of this radius in pixels, whose rim is smoothed."""
    kernel = disk(radius, smoothing)
    blurred: Pixels = ndimage.correlate(x, kernel[None, None], mode="mirror")
    return blurred


def disk(radius: float, smoothing: float) -> Pixels:
    """A disk of sum 1, smoothed by a Gaussian of 3 or, above a radius of 8, of 5 pixels."""
    width = 1 if radius <= 8 else 2
    reach = math.ceil(radius) + width
    place = np.arange(-reach, reach + 1)
    inside = (place[:, None] ** 2 + place[None, :] ** 2 <= radius**2).astype(np.float64)
    rim = np.exp(-(np.arange(-width, width + 1) ** 2) / (2 * smoothing**2))
    rim /= rim.sum()
    blurred = ndimage.correlate1d(inside / inside.sum(), rim, 0, mode="constant")
    kernel: Pixels = ndimage.correlate1d(blurred, rim, 1, mode="constant")
    return kernel


def glass_blur(
    x: Pixels, random: ImageRandom, sigma: float, reach: int, rounds: int, chance: float = 1.0
) -> Pixels:
    """Pixels change places with near ones, between two Gaussian blurs.

    The authors' code copies the near pixel instead where an image has colours.

    Args:
        sigma: standard deviation of the blurs, in pixels.
        reach: how far apart the two may be, in pixels.
        rounds: how often every pixel has its turn.
        chance: that it changes places in its turn.
    """
    blurred = np.floor(smooth(x, sigma) * 255) / 255
    _, _, height, width = x.shape
    drawn = uniform(random, (rounds, height, width, 3))
    steps, turns = whole(drawn[..., :2], -reach, reach), drawn[..., 2] < chance
    for number in range(rounds):
        _swap(blurred, steps[:, number], turns[:, number], reach)
    return smooth(blurred, sigma)


def _swap(x: Pixels, steps: NDArray[np.int64], turns: NDArray[np.bool_], reach: int) -> None:
    """Let pixels change places in order from the lower right, in all images at once.

    Args:
        steps: columns and rows to the other pixel, (N, H, W, 2).
        turns: which pixels have a turn, (N, H, W).
    """
    _, _, height, width = x.shape
    images = np.arange(len(x))
    for row in range(height - reach, reach, -1):
        for column in range(width - reach, reach, -1):
            chosen = images[turns[:, row, column]]
            right, down = steps[chosen, row, column].T
            there = x[chosen, :, row + down, column + right]
            x[chosen, :, row + down, column + right] = x[chosen, :, row, column]
            x[chosen, :, row, column] = there


def motion_blur(x: Pixels, random: ImageRandom, radius: int, sigma: float) -> Pixels:
    """Blur along a direction within 45° of the horizontal, drawn for each image."""
    angle = (2 * uniform(random, (1,))[:, 0] - 1) * _TILT
    return moved(x, angle, radius, sigma)


def moved(x: Pixels, angle: Pixels, radius: int, sigma: float) -> Pixels:
    """The images blurred to one side along a line, by half of a Gaussian.

    Args:
        angle: of each line, in degrees (N,).
        radius: in pixels; the line has 2 · radius + 1 of them.
        sigma: standard deviation of the Gaussian, in pixels.
    """
    _, _, height, width = x.shape
    place = np.arange(2 * radius + 1)
    weight = np.exp(-(place**2) / (2 * sigma**2))
    weight /= weight.sum()
    padding = [(0, 0), (0, 0), (2 * radius, 2 * radius), (2 * radius, 2 * radius)]
    padded = np.pad(x, padding, mode="edge")
    result = np.zeros_like(x)
    for number, degrees in enumerate(angle):
        right = np.ceil(place * math.cos(math.radians(degrees)) - 0.5).astype(np.int64)
        down = np.ceil(place * math.sin(math.radians(degrees)) - 0.5).astype(np.int64)
        for share, row, column in zip(weight, down + 2 * radius, right + 2 * radius, strict=True):
            window = padded[number, :, row : row + height, column : column + width]
            result[number] += share * window
    return result


def zoom_blur(x: Pixels, random: ImageRandom, count: int, spacing: float) -> Pixels:
    """The mean of the image and ``count`` enlargements of it by 1, 1 + spacing, and so on."""
    total = x.copy()
    for number in range(count):
        total += zoomed(x, 1 + number * spacing)
    return total / (count + 1)
