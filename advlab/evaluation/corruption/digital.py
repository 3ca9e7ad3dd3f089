"""Digital corruptions: contrast, elastic transforms, pixelation and JPEG (arXiv:1903.12261)."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from advlab.evaluation.corruption.sampling import Pixels, sampled, smooth, uniform
from advlab.perturbation.randomness import ImageRandom


def contrast(x: Pixels, random: ImageRandom, fraction: float) -> Pixels:
    """Each channel drawn together towards its mean; this fraction of its contrast remains."""
    means: Pixels = x.reshape(*x.shape[:2], -1).mean(2)[:, :, None, None]
    return (x - means) * fraction + means


def elastic_transform(
    x: Pixels, random: ImageRandom, strength: float, sigma: float, shift: float
) -> Pixels:
    """An affine transformation, then a smooth displacement of every pixel.

    Args:
        strength: of the displacement, as a fraction of the side: the factor of uniform noise before
            it is smoothed.
        sigma: standard deviation of that smoothing, as a fraction of the side.
        shift: by how much the three points that define the affine transformation move at most, as a
            fraction of the side.
    """
    height, width = x.shape[2:]
    side = min(height, width)
    moves = (2 * uniform(random, (3, 2)) - 1) * shift * side
    noise = 2 * uniform(random, (2, height, width)) - 1
    displaced = smooth(noise, sigma * side, mode="reflect", truncate=3.0) * strength * side
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    result = np.empty_like(x)
    for number, image in enumerate(x):
        place = _origin(moves[number], height, width)
        down = place[1, 0] * columns + place[1, 1] * rows + place[1, 2]
        right = place[0, 0] * columns + place[0, 1] * rows + place[0, 2]
        turned = sampled(image, down, right, "mirror")
        down, right = displaced[number]
        result[number] = sampled(turned, rows + down, columns + right, "reflect")
    return result


def _origin(moves: Pixels, height: int, width: int) -> Pixels:
    """Where each pixel comes from, as the matrix (2, 3) of (column, row, 1).

    Args:
        moves: of three points around the middle, (3, 2), in pixels.
    """
    reach = min(height, width) // 3
    middle = np.array([height // 2, width // 2], dtype=np.float64)
    points = middle + reach * np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    ones = np.ones((3, 1))
    # The transformation takes the points to the moved ones; a pixel comes from its inverse.
    solved: Pixels = np.linalg.solve(np.hstack([points + moves, ones]), points).T
    return solved


def pixelate(x: Pixels, random: ImageRandom, fraction: float) -> Pixels:
    """Shrunk to this fraction of each side, rounded down, and enlarged again, by means of boxes."""
    height, width = x.shape[2:]
    small = (max(1, int(width * fraction)), max(1, int(height * fraction)))
    result = np.empty_like(x)
    for image, out in zip(to_bytes(x), result, strict=True):
        for number, channel in enumerate(image):
            shrunk = Image.fromarray(channel).resize(small, Image.Resampling.BOX)
            out[number] = np.asarray(shrunk.resize((width, height), Image.Resampling.BOX))
    return result / 255


def jpeg_compression(x: Pixels, random: ImageRandom, quality: int) -> Pixels:
    """Saved as JPEG of this quality, from 1 to 95, and read again."""
    result = np.empty_like(x)
    for number, image in enumerate(to_bytes(x)):
        buffer = BytesIO()
        colours = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
        Image.fromarray(np.ascontiguousarray(colours)).save(buffer, "JPEG", quality=quality)
        read = np.asarray(Image.open(buffer), dtype=np.float64)
        result[number] = read[None] if read.ndim == 2 else read.transpose(2, 0, 1)
    return result / 255


def to_bytes(x: Pixels) -> NDArray[np.uint8]:
    """The nearest of 256 grey levels."""
    levels: NDArray[np.uint8] = np.rint(x.clip(0, 1) * 255).astype(np.uint8)
    return levels
