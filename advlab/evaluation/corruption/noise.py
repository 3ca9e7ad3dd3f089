"""Noise of cameras: Gaussian, shot and impulse noise (arXiv:1903.12261)."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri, pdtr

from advlab.evaluation.corruption.sampling import Pixels, normal, uniform
from advlab.perturbation.randomness import ImageRandom


def gaussian_noise(x: Pixels, random: ImageRandom, deviation: float) -> Pixels:
    """Normal noise of this standard deviation on every entry, as in low light."""
    return x + deviation * normal(random, x.shape[1:])


def shot_noise(x: Pixels, random: ImageRandom, photons: float) -> Pixels:
    """Each entry is a Poisson number of photons, of which a white one has ``photons`` on
    average."""
    return poisson(photons * x, uniform(random, x.shape[1:])) / photons


def impulse_noise(x: Pixels, random: ImageRandom, amount: float) -> Pixels:
    """This fraction of the entries becomes black or white, either with equal chance."""
    struck = uniform(random, x.shape[1:]) < amount
    white = uniform(random, x.shape[1:]) < 0.5
    return np.where(struck, white.astype(np.float64), x)


def poisson(mean: Pixels, drawn: Pixels) -> Pixels:
    """Poisson numbers of these means, by the inverse of the distribution function at ``drawn``.

    The smallest whole number whose distribution function is at least ``drawn``.
    """
    # It is a few steps from the quantile of a normal distribution with its skewness corrected.
    z = ndtri(drawn)
    count = np.floor(np.maximum(mean + np.sqrt(mean) * z + (z * z - 1) / 6, 0.0))
    shape, count, mean, drawn = mean.shape, count.ravel(), mean.ravel(), drawn.ravel()
    low = np.flatnonzero(pdtr(count, mean) < drawn)
    while len(low):
        count[low] += 1
        low = low[pdtr(count[low], mean[low]) < drawn[low]]
    high = np.flatnonzero(count)
    while len(high):
        high = high[pdtr(count[high] - 1, mean[high]) >= drawn[high]]
        count[high] -= 1
        high = high[count[high] > 0]
    counts: Pixels = count.reshape(shape)
    return counts
