"""The corruptions by name, and their parameters for each severity and size of images.

Natural images have the 15 kinds of Hendrycks and Dietterich 2019 (arXiv:1903.12261), with the
parameters of CIFAR-10-C at 32 × 32 and those of ImageNet-C at 224 × 224. Digits have the 15 kinds
of MNIST-C (Mu and Gilmer 2019, arXiv:1906.02337).
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from advlab.evaluation.corruption import blur, digital, digits, noise, weather
from advlab.evaluation.corruption.digital import to_bytes
from advlab.evaluation.corruption.sampling import Pixels
from advlab.perturbation.randomness import ImageRandom
from advlab.runs.machine import derive

SEVERITIES = (1, 2, 3, 4, 5)
NATURAL, DIGITS = "natural images", "digits"
SMALL, LARGE = 32, 224  # sides of CIFAR-10-C and of ImageNet-C
_SMALLEST_DIGIT = 16
_ENTRIES = 1 << 21  # of the images that are corrupted at a time
_DRAWN = 43  # sets the numbers of corruptions apart from those of attacks

Parameters = tuple[float, ...]


@dataclass(frozen=True)
class Corruption:
    """A kind of corruption.

    Attributes:
        name: as the papers have it.
        group: noise, blur, weather, digital, or of digits geometry and strokes.
        function: from images (N, C, H, W) in [0, 1], random numbers and parameters to images, which
            may leave [0, 1].
        small: its parameters at each severity; of natural images at 32 × 32.
        large: those of natural images at 224 × 224; of digits empty.
        counts: which parameters are whole numbers, by position.
    """

    name: str
    group: str
    function: Callable[..., Pixels]
    small: tuple[Parameters, ...]
    large: tuple[Parameters, ...] = ()
    counts: tuple[int, ...] = ()

    def parameters(self, severity: int, side: int) -> Parameters:
        """The parameters at a severity from 1 to 5 for images whose shorter side has this many
        pixels.

        Of natural images each is the power of the side that meets both published values, a straight
        line in the logarithm of the side where one of them is not positive, and that of the nearer
        published size outside. Whole numbers are rounded.
        """
        values = list(self.small[severity - 1])
        if self.large:
            between = math.log(side / SMALL) / math.log(LARGE / SMALL)
            at = min(max(between, 0.0), 1.0)
            ends = zip(values, self.large[severity - 1], strict=True)
            values = [_between(low, high, at) for low, high in ends]
        return tuple(
            max(1, round(value)) if place in self.counts else value
            for place, value in enumerate(values)
        )

    def apply(self, images: Tensor, numbers: Tensor, severity: int, seed: int) -> Tensor:
        """The images corrupted, in 256 grey levels as such sets are published.

        Args:
            images: float32 (N, C, H, W) in [0, 1], on the CPU.
            numbers: of the images in their data set, int64 (N,). What is drawn for an image depends
                on it, on the kind and on the seed: all severities share it.
            severity: from 1 to 5.
            seed: of what is drawn.

        Returns:
            float32 (N, C, H, W), multiples of 1 / 255.
        """
        values = self.parameters(severity, min(images.shape[2:]))
        drawn = derive(seed, _DRAWN, zlib.crc32(self.name.encode()))
        parts = []
        at_once = max(1, _ENTRIES // images[0].numel())
        for part in torch.arange(len(images)).split(at_once):
            random = ImageRandom(drawn, numbers[part])
            x = images[part].numpy().astype(np.float64)
            parts.append(torch.from_numpy(to_bytes(self.function(x, random, *values))))
        levels = torch.cat(parts)
        return levels.float().div_(torch.tensor(255.0))


def _between(low: float, high: float, at: float) -> float:
    """What lies between two values at this fraction of the way."""
    if low > 0 and high > 0:
        return float(low * (high / low) ** at)
    return low + (high - low) * at


def suited(channels: int, height: int, width: int) -> str | None:
    """Which corruptions suit images of this shape; None where none do."""
    side = min(height, width)
    if side >= SMALL and channels in (1, 3):
        return NATURAL
    if channels == 1 and side >= _SMALLEST_DIGIT:
        return DIGITS
    return None


def _ones(*values: float) -> tuple[Parameters, ...]:
    return tuple((value,) for value in values)


def _zooms(ends: Sequence[float], spacings: Sequence[float]) -> tuple[Parameters, ...]:
    """How many enlargements there are below each end, and their spacing."""
    return tuple(
        (len(np.arange(1, end, spacing)), spacing)
        for end, spacing in zip(ends, spacings, strict=True)
    )


# The parameters of the first severity, then those of the others, as the authors' code has them.
_NATURAL = (
    Corruption(
        "gaussian_noise",
        "noise",
        noise.gaussian_noise,
        _ones(0.04, 0.06, 0.08, 0.09, 0.10),
        _ones(0.08, 0.12, 0.18, 0.26, 0.38),
    ),
    Corruption(
        "shot_noise",
        "noise",
        noise.shot_noise,
        _ones(500, 250, 100, 75, 50),
        _ones(60, 25, 12, 5, 3),
    ),
    Corruption(
        "impulse_noise",
        "noise",
        noise.impulse_noise,
        _ones(0.01, 0.02, 0.03, 0.05, 0.07),
        _ones(0.03, 0.06, 0.09, 0.17, 0.27),
    ),
    Corruption(
        "defocus_blur",
        "blur",
        blur.defocus_blur,
        ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    ),
    Corruption(
        "glass_blur",
        "blur",
        blur.glass_blur,
        ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
        ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
        counts=(1, 2),
    ),
    Corruption(
        "motion_blur",
        "blur",
        blur.motion_blur,
        ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
        ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
        counts=(0,),
    ),
    Corruption(
        "zoom_blur",
        "blur",
        blur.zoom_blur,
        _zooms((1.06, 1.11, 1.16, 1.21, 1.26), (0.01, 0.01, 0.01, 0.01, 0.01)),
        _zooms((1.11, 1.16, 1.21, 1.26, 1.31), (0.01, 0.01, 0.02, 0.02, 0.03)),
        counts=(0,),
    ),
    Corruption(
        "snow",
        "weather",
        weather.snow,
        (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
        (
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
        counts=(4,),
    ),
    Corruption(
        "frost",
        "weather",
        weather.frost,
        ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
        ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
    ),
    Corruption(
        "fog",
        "weather",
        weather.fog,
        ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
        ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    ),
    Corruption(
        "brightness",
        "weather",
        weather.brightness,
        _ones(0.05, 0.1, 0.15, 0.2, 0.3),
        _ones(0.1, 0.2, 0.3, 0.4, 0.5),
    ),
    Corruption(
        "contrast",
        "digital",
        digital.contrast,
        _ones(0.75, 0.5, 0.4, 0.3, 0.15),
        _ones(0.4, 0.3, 0.2, 0.1, 0.05),
    ),
    Corruption(
        "elastic_transform",
        "digital",
        digital.elastic_transform,
        ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
        # The authors' code has 244 in place of 224.
        tuple(
            (244 / 224 * strength, 244 / 224 * sigma, 244 / 224 * shift)
            for strength, sigma, shift in (
                (2, 0.7, 0.1),
                (2, 0.08, 0.2),
                (0.05, 0.01, 0.02),
                (0.07, 0.01, 0.02),
                (0.12, 0.01, 0.02),
            )
        ),
    ),
    Corruption(
        "pixelate",
        "digital",
        digital.pixelate,
        _ones(0.95, 0.9, 0.85, 0.75, 0.65),
        _ones(0.6, 0.5, 0.4, 0.3, 0.25),
    ),
    Corruption(
        "jpeg_compression",
        "digital",
        digital.jpeg_compression,
        _ones(80, 65, 58, 50, 40),
        _ones(25, 18, 15, 10, 7),
        counts=(0,),
    ),
)

# MNIST-C has one strength of each kind, which lies among these. Its code has five of most; those of
# stripe, dotted_line, zigzag and canny_edges are advlab's.
_DIGITS = (
    Corruption("shot_noise", "noise", noise.shot_noise, _ones(60, 25, 12, 5, 3)),
    Corruption("impulse_noise", "noise", noise.impulse_noise, _ones(0.03, 0.06, 0.09, 0.17, 0.27)),
    Corruption(
        "glass_blur",
        "blur",
        digits.glass_blur,
        ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    ),
    Corruption(
        "motion_blur",
        "blur",
        digits.motion_blur,
        ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    ),
    Corruption("shear", "geometry", digits.shear, _ones(0.2, 0.4, 0.6, 0.8, 1.0)),
    Corruption("scale", "geometry", digits.scale, _ones(0.9, 0.8, 0.7, 0.6, 0.5)),
    Corruption("rotate", "geometry", digits.rotate, _ones(0.2, 0.4, 0.6, 0.8, 1.0)),
    Corruption("brightness", "weather", weather.brightness, _ones(0.1, 0.2, 0.3, 0.4, 0.5)),
    Corruption("translate", "geometry", digits.translate, _ones(1, 2, 3, 4, 5)),
    Corruption("stripe", "strokes", digits.stripe, _ones(3, 5, 7, 9, 11)),
    Corruption(
        "fog",
        "weather",
        digits.fog,
        ((1.5, 2), (2.0, 2), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4)),
    ),
    Corruption(
        "spatter",
        "weather",
        digits.spatter,
        (
            (0.65, 0.3, 4, 0.69, 0.6),
            (0.65, 0.3, 3, 0.68, 0.6),
            (0.65, 0.3, 2, 0.68, 0.5),
            (0.65, 0.3, 1, 0.65, 1.5),
            (0.67, 0.4, 1, 0.65, 1.5),
        ),
    ),
    Corruption("dotted_line", "strokes", digits.dotted_line, _ones(1, 2, 3, 4, 5), counts=(0,)),
    Corruption("zigzag", "strokes", digits.zigzag, _ones(1, 2, 3, 4, 5), counts=(0,)),
    Corruption("canny_edges", "strokes", digits.canny_edges, _ones(0.2, 0.4, 0.6, 0.8, 1.0)),
)

KINDS = {NATURAL: _NATURAL, DIGITS: _DIGITS}
"""The corruptions of each sort of images, in the order of the papers."""


def names() -> list[str]:
    """Every corruption of any sort of images, each once."""
    return list(dict.fromkeys(kind.name for kinds in KINDS.values() for kind in kinds))
