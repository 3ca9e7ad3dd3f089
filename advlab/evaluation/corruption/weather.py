"""Weather: snow, frost, fog and brightness (arXiv:1903.12261)."""

from __future__ import annotations

import math

import numpy as np

from advlab.evaluation.corruption.blur import moved
from advlab.evaluation.corruption.sampling import Pixels, normal, plasma, uniform, zoomed
from advlab.perturbation.randomness import ImageRandom

_LUMA = np.array([0.299, 0.587, 0.114])
_ICE = np.array([0.87, 1.0, 1.08])  # red, green and blue of frost, relative to its brightness


def snow(
    x: Pixels,
    random: ImageRandom,
    mean: float,
    deviation: float,
    zoom: float,
    threshold: float,
    radius: int,
    sigma: float,
    weight: float,
) -> Pixels:
    """Flakes that fall, twice, over an image that whitens.

    Args:
        mean, deviation: of the normal noise that flakes are made of.
        zoom: by how much flakes are enlarged.
        threshold: below which there is no flake.
        radius, sigma: of the blur along their fall, in pixels.
        weight: weight of the image against its whitened version.
    """
    flakes = zoomed(mean + deviation * normal(random, x.shape[2:]), zoom)
    flakes = np.where(flakes < threshold, 0.0, flakes).clip(0, 1)
    angle = -135 + 90 * uniform(random, (1,))[:, 0]
    layer = moved(flakes[:, None], angle, radius, sigma)
    white: Pixels = np.maximum(x, brightness_of(x) * 1.5 + 0.5)
    snowy: Pixels = weight * x + (1 - weight) * white + layer + layer[:, :, ::-1, ::-1]
    return snowy


def brightness_of(x: Pixels) -> Pixels:
    """The luma of each pixel, (N, 1, H, W); the pixel itself in grey images."""
    if x.shape[1] == 1:
        return x
    red, green, blue = (x[:, number, None] for number in range(3))
    luma: Pixels = _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue
    return luma


def frost(x: Pixels, random: ImageRandom, weight: float, amount: float) -> Pixels:
    """The image behind a pane with frost.

    The authors add photographs of frost. Here it is drawn: ridges of a fractal, with about the
    brightness, contrast and colour of those photographs.

    Args:
        weight: weight of the image.
        amount: weight of the frost.
    """
    side = side_of_plasma(max(x.shape[2:]))
    ground = 0.4 + 0.4 * uniform(random, (1, 1))
    ridges = 1 - np.abs(2 * plasma(random, side, 1.4) - 1)
    veins = 1 - np.abs(2 * plasma(random, side, 1.2) - 1)
    ice = (ground + 0.4 * (ridges**2 - 0.5) + 0.3 * (veins**3 - 0.4))[:, None]
    ice = ice[:, :, : x.shape[2], : x.shape[3]]
    colours = _ICE[:, None, None] if x.shape[1] == 3 else 1.0
    frosted: Pixels = weight * x + amount * (ice * colours).clip(0, 1)
    return frosted


def fog(
    x: Pixels, random: ImageRandom, amount: float, decay: float, widening: float = 1.0
) -> Pixels:
    """A fractal haze added to the image, whose range is then compressed.

    Args:
        amount: weight of the haze, against 1 for white.
        decay: of the haze's fine structure; see ``plasma``.
        widening: the side of the fractal over that of the image, rounded to a power of two.
    """
    side = side_of_plasma(max(x.shape[2:]) * widening)
    haze = plasma(random, side, decay)[:, None, : x.shape[2], : x.shape[3]]
    brightest: Pixels = x.reshape(len(x), -1).max(1)[:, None, None, None]
    foggy: Pixels = (x + amount * haze) * brightest / (brightest + amount)
    return foggy


def side_of_plasma(side: float) -> int:
    """The smallest power of two that is not below ``side``."""
    return int(2 ** max(1, math.ceil(math.log2(side) - 1e-9)))


def brightness(x: Pixels, random: ImageRandom, amount: float) -> Pixels:
    """The value of each pixel (its largest channel) raised, its hue and saturation as they were."""
    value: Pixels = x.max(1, keepdims=True)
    brighter: Pixels = (value + amount).clip(0, 1)
    return np.asarray(np.where(value > 0, x / np.where(value > 0, value, 1) * brighter, brighter))
