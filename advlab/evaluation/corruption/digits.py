"""Corruptions of handwritten digits, bright on dark (MNIST-C, arXiv:1906.02337).

Lengths are in pixels of images of 28 × 28, and grow with the side.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from advlab.evaluation.corruption import blur, weather
from advlab.evaluation.corruption.sampling import Pixels, normal, sampled, smooth, uniform, whole
from advlab.perturbation.randomness import ImageRandom

SIDE = 28
_MUD = 63 / 255
_SOLID = 0.8  # the mud that is thinner than this is none
_LINE = 2.3  # pixels from the middle of a line to where its logarithm would be infinite
_HAZE = 256  # side of the fractal, in pixels
_DASH = 2  # pixels
_ZIGZAG = 2.0  # length of half a tooth, and its height, in pixels
_EDGES = 0.1, 0.2  # gradients of a weak and of a strong edge


def affine(x: Pixels, matrices: Pixels, offsets: Pixels | None = None) -> Pixels:
    """Each image transformed by linear interpolation; what comes from outside is black.

    Args:
        matrices: from the place (column, row) of a pixel, seen from the middle, to that where it
            comes from; (N, 2, 2).
        offsets: added to it, in pixels, (N, 2).
    """
    height, width = x.shape[2:]
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    middle = (height - 1) / 2, (width - 1) / 2
    rows, columns = rows - middle[0], columns - middle[1]
    result = np.empty_like(x)
    for number, ((a, b), (c, d)) in enumerate(matrices):
        right, down = (0.0, 0.0) if offsets is None else offsets[number]
        result[number] = sampled(
            x[number],
            c * columns + d * rows + middle[0] + down,
            a * columns + b * rows + middle[1] + right,
            "grid-constant",
        )
    return result


def glass_blur(x: Pixels, random: ImageRandom, sigma: float, reach: int, rounds: int) -> Pixels:
    """That of natural images, but half of the pixels keep their places in each round."""
    unit = _unit(x)
    return blur.glass_blur(x, random, sigma * unit, max(1, round(reach * unit)), rounds, 0.5)


def motion_blur(x: Pixels, random: ImageRandom, radius: float, sigma: float) -> Pixels:
    """That of natural images."""
    return blur.motion_blur(x, random, max(1, round(radius * _unit(x))), sigma * _unit(x))


def fog(x: Pixels, random: ImageRandom, amount: float, decay: float) -> Pixels:
    """That of natural images; a part of a fractal nine times as large."""
    return weather.fog(x, random, amount, decay, _HAZE / SIDE)


def shear(x: Pixels, random: ImageRandom, angle: float) -> Pixels:
    """Sheared by this angle in radians, to the left or to the right."""
    turned = _signs(random) * angle
    zero, one = np.zeros_like(turned), np.ones_like(turned)
    return affine(x, _matrices(one, -np.sin(turned), zero, np.cos(turned)))


def rotate(x: Pixels, random: ImageRandom, angle: float) -> Pixels:
    """Rotated about the middle by this angle in radians, in either direction."""
    turned = _signs(random) * angle
    sine, cosine = np.sin(turned), np.cos(turned)
    return affine(x, _matrices(cosine, -sine, sine, cosine))


def scale(x: Pixels, random: ImageRandom, factor: float) -> Pixels:
    """Shrunk to ``factor`` of its size around the middle."""
    grown = np.full(len(x), 1 / factor)
    return affine(x, _matrices(grown, 0 * grown, 0 * grown, grown))


def translate(x: Pixels, random: ImageRandom, distance: float) -> Pixels:
    """Shifted by this many pixels along both sides, in one of four directions."""
    moves = np.stack([_signs(random), _signs(random)], 1) * distance * _unit(x)
    return affine(x, np.broadcast_to(np.eye(2), (len(x), 2, 2)), moves)


def _matrices(a: Pixels, b: Pixels, c: Pixels, d: Pixels) -> Pixels:
    return np.stack([np.stack([a, b], 1), np.stack([c, d], 1)], 1)


def _signs(random: ImageRandom) -> Pixels:
    """-1 or 1 for each image."""
    return np.where(uniform(random, (1,))[:, 0] < 0.5, -1.0, 1.0)


def _unit(x: Pixels) -> float:
    """How many pixels one pixel of 28 × 28 is."""
    return float(min(x.shape[2:]) / SIDE)


def stripe(x: Pixels, random: ImageRandom, width: float) -> Pixels:
    """The left and right edge inverted, each ``width`` pixels wide."""
    edge = round(width * x.shape[3] / SIDE)
    result = x.copy()
    for part in (slice(0, edge), slice(x.shape[3] - edge, None)):
        result[:, :, :, part] = 1 - x[:, :, :, part]
    return result


def spatter(
    x: Pixels,
    random: ImageRandom,
    mean: float,
    deviation: float,
    size: float,
    threshold: float,
    rim: float,
) -> Pixels:
    """Drops of mud.

    Args:
        mean, deviation: of normal noise.
        size: standard deviation of the blur that makes drops of it, in pixels.
        threshold: above which there is mud.
        rim: standard deviation of the blur of the drops' rims, in pixels.
    """
    liquid = smooth(mean + deviation * normal(random, x.shape[2:]), size * _unit(x))
    mud = smooth((liquid > threshold).astype(np.float64), rim * _unit(x))
    mud = np.where(mud < _SOLID, 0.0, mud)[:, None]
    return x * (1 - mud) + _MUD * mud


def dotted_line(x: Pixels, random: ImageRandom, lines: int) -> Pixels:
    """This many dotted lines from the left to the right edge."""
    side = x.shape[3]
    ends = whole(uniform(random, (lines, 2)), 0, side - 1)
    dash = max(1, round(_DASH * _unit(x)))
    drawn = np.arange(side) // dash % 2 == 1
    result = x.copy()
    for number, image_ends in enumerate(ends):
        for left, right in image_ends:
            line = segment(x.shape[2:], (0.0, float(left)), (side - 1.0, float(right)))
            result[number] = (result[number] + line * drawn).clip(0, 1)
    return result


def zigzag(x: Pixels, random: ImageRandom, lines: int) -> Pixels:
    """This many zigzag lines from left to right."""
    unit, side = _unit(x), x.shape[3]
    begin = whole(uniform(random, (lines,)), 0, side - 1)
    climb = whole(uniform(random, (lines,)), -5, 5) * unit
    result = x.copy()
    for number in range(len(x)):
        for low, rise in zip(begin[number], climb[number], strict=True):
            points = _zigzag((2 * unit, float(low)), (side - 3 * unit, low + rise), unit)
            for one, other in itertools.pairwise(points):
                line = segment(x.shape[2:], tuple(one), tuple(other))
                result[number] = (result[number] + line).clip(0, 1)
    return result


def _zigzag(start: tuple[float, float], end: tuple[float, float], unit: float) -> Pixels:
    """The corners (column, row) of a zigzag along the line between two points, (M, 2)."""
    tooth = _ZIGZAG * unit
    across, down = end[0] - start[0], end[1] - start[1]
    length = math.hypot(across, down)
    teeth = range(int((length - tooth) // (2 * tooth)) + 1)
    tips = [((2 * number + 1) * tooth, (-1) ** number * tooth) for number in teeth]
    corners: Pixels = np.array([(0.0, 0.0), *tips, (length, 0.0)])
    direction = np.array([[across, -down], [down, across]]) / length
    points: Pixels = corners @ direction.T + np.array(start)
    return points


def segment(shape: tuple[int, ...], start: tuple[float, ...], end: tuple[float, ...]) -> Pixels:
    """A line between two points (column, row), from 1 in its middle to 0 beside it, (H, W).

    The distance is measured along the column; the line has the columns between its ends. One that
    has no width is empty.
    """
    height, width = shape
    reach = _LINE * min(shape) / SIDE
    (left, top), (right, bottom) = start, end
    if right <= left:
        return np.zeros(shape)
    columns = np.arange(width)
    middle = top + (bottom - top) / (right - left) * (columns - left)
    distance = np.abs(np.arange(height)[:, None] - middle).clip(0, reach - 1e-10)
    line = (np.log(1 - distance / reach) + 1).clip(0, 1)
    outside = (columns < math.floor(left)) | (columns >= math.ceil(right))
    return np.where(outside, 0.0, line)


def canny_edges(x: Pixels, random: ImageRandom, amount: float) -> Pixels:
    """The image blended with its edges, of which ``amount`` in [0, 1] is the weight."""
    edges = np.stack([canny(image[0]) for image in x])[:, None]
    return (1 - amount) * x + amount * edges


def canny(image: Pixels) -> NDArray[np.bool_]:
    """The edges of an image (H, W) by Canny's method, after a Gaussian blur of one pixel."""
    weight = smooth(np.ones_like(image), 1.0, mode="constant")
    blurred = smooth(image, 1.0, mode="constant") / (weight + np.finfo(np.float64).eps)
    down, right = ndimage.sobel(blurred, axis=0), ndimage.sobel(blurred, axis=1)
    steepness = np.sqrt(down * down + right * right)
    weak, strong = _EDGES
    ridge = _is_ridge(steepness, down, right) & (steepness >= weak)
    groups, _ = ndimage.label(ridge, np.ones((3, 3)))
    with_strong = np.unique(groups[ridge & (steepness >= strong)])
    edges: NDArray[np.bool_] = np.isin(groups, with_strong[with_strong > 0])
    return edges


def _is_ridge(steepness: Pixels, down: Pixels, right: Pixels) -> NDArray[np.bool_]:
    """Where no place across the edge, before or behind, is steeper; never at the border."""
    height, width = steepness.shape
    rows, columns = np.mgrid[1 : height - 1, 1 : width - 1]
    here, row, column = (part[1:-1, 1:-1] for part in (steepness, down, right))
    step_down = np.where(row < 0, -1, 1)
    step_right = np.where(column < 0, -1, 1)
    steep = np.abs(row) > np.abs(column)
    longer = np.maximum(np.abs(row), np.abs(column))
    weight = np.minimum(np.abs(row), np.abs(column)) / np.where(longer > 0, longer, 1)
    result = np.zeros(steepness.shape, dtype=bool)
    highest = np.ones(here.shape, dtype=bool)
    for sign in (-1, 1):
        straight = steepness[
            rows + sign * np.where(steep, step_down, 0),
            columns + sign * np.where(steep, 0, step_right),
        ]
        diagonal = steepness[rows + sign * step_down, columns + sign * step_right]
        highest &= weight * diagonal + (1 - weight) * straight <= here
    result[1:-1, 1:-1] = highest & (here > 0)
    return result
