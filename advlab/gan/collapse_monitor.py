"""The collapse monitor: indicators of mode collapse and of a dominant discriminator.

Every threshold is relative to real images under the same measurement with as many of them, so that
none depends on the data set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from advlab.gan.feature_classifier import Measured
from advlab.gan.losses import PROBABILITIES
from advlab.metrics.generative import (
    effective_classes,
    mean_distance,
    modes,
    nearest_neighbour_distances,
)

# Real images reach 1 in all of these (0 in duplicates). Healthy games pass the limits within their
# first epochs and stay far from them; a limit is where nobody would doubt any longer.
_FEW_CLASSES = 0.5  # of the classes real images are taken for
_UNEVEN = 0.4  # of their effective number
_ALIKE = 0.5  # of the mean distance between two real images
_COPIED = 0.25  # of the images have a twin nearer than ...
_NEAR = 0.3  # ... this share of the usual distance between a real image and its nearest
_SURE = 0.01  # the discriminator is wrong by less than this, on average
_STILL = 1e-4  # of the gradient that the generator had at first
_PATIENCE = 3  # evaluations in a row that show a collapse, before training stops


@dataclass(frozen=True)
class CollapseIndicator:
    """A finding of the collapse monitor.

    Attributes:
        name: its name.
        words: the finding in words, with figures.
        collapse: whether it shows a lack of diverse images; else the training makes no progress.
    """

    name: str
    words: str
    collapse: bool


class Diversity:
    """The diversity of generated images, relative to real ones."""

    def __init__(self, real: Measured, pixels: Tensor, others: Measured) -> None:
        """Take the classifier's outputs for real images, and their pixels, uint8 (N, C, H, W).

        Args:
            others: what it says of other real images. Of very many classes a sample misses some by
                chance: those that these hit are all that may be asked for.
        """
        self._counts = real.counts()
        self._classes = max(1, modes(others.counts(), self._counts).hit)
        self._effective = effective_classes(self._counts)
        self._distance = mean_distance(real.features)
        self._near = _NEAR * float(nearest_neighbour_distances(_flat(pixels)).median())

    def __call__(self, generated: Measured, pixels: Tensor) -> dict[str, float]:
        """Modes hit, effective classes and mean distance as shares of the real ones, share of
        near-duplicates."""
        counts = generated.counts()
        coverage = modes(counts, self._counts)
        return {
            "modes": coverage.hit,
            "real_modes": self._classes,
            "imbalance": coverage.imbalance,
            "evenness": effective_classes(counts) / self._effective,
            "spread": mean_distance(generated.features) / max(self._distance, 1e-12),
            "duplicates": float(
                (nearest_neighbour_distances(_flat(pixels)) < self._near).double().mean()
            ),
        }


def _flat(pixels: Tensor) -> Tensor:
    return pixels.flatten(1).float()


def indicators_of(
    variety: Mapping[str, float], steps: Mapping[str, Tensor], loss: str, first_gradient: float
) -> list[CollapseIndicator]:
    """The findings at one evaluation.

    Args:
        variety: the figures of ``Diversity``.
        steps: the columns of the steps since the evaluation before.
        first_gradient: norm of the generator's gradient in the first epoch.
    """
    indicators = []
    hit, total = int(variety["modes"]), int(variety["real_modes"])
    if hit < _FEW_CLASSES * total:
        indicators.append(
            CollapseIndicator("modes", f"images of {hit} of {total} classes only", True)
        )
    elif variety["evenness"] < _UNEVEN:
        indicators.append(
            CollapseIndicator(
                "balance",
                f"{100 * variety['evenness']:.0f} % as many kinds as real images, nearly all of "
                "a few classes",
                True,
            )
        )
    if variety["spread"] < _ALIKE:
        indicators.append(
            CollapseIndicator(
                "diversity",
                f"images lie {100 * variety['spread']:.0f} % as far apart as real ones",
                True,
            )
        )
    if variety["duplicates"] > _COPIED:
        indicators.append(
            CollapseIndicator(
                "duplicates",
                f"{100 * variety['duplicates']:.0f} % of the images have a near-copy among the "
                "others",
                True,
            )
        )
    real, fake = float(steps["d_real"].mean()), float(steps["d_fake"].mean())
    if loss in PROBABILITIES and real > 1 - _SURE and fake < _SURE:
        indicators.append(
            CollapseIndicator(
                "saturated",
                f"the discriminator cannot be fooled: D(real) {real:.3f}, D(fake) {fake:.3f}",
                False,
            )
        )
    if loss == "hinge" and float(steps["loss_d"].mean()) < _SURE:
        indicators.append(
            CollapseIndicator(
                "saturated",
                "the discriminator cannot be fooled: its loss is "
                f"{float(steps['loss_d'].mean()):.4f}",
                False,
            )
        )
    gradient = float(steps["grad_g"].mean())
    if gradient < _STILL * first_gradient:
        indicators.append(
            CollapseIndicator(
                "still",
                f"the generator's gradient is gone: {gradient:.1e}, {first_gradient:.1e} at first",
                False,
            )
        )
    return indicators


def is_lasting(evaluations: Sequence[Mapping[str, object]]) -> bool:
    """Whether each of the last evaluations showed a collapse."""
    last = evaluations[-_PATIENCE:]
    return len(last) == _PATIENCE and all(one["collapsed"] for one in last)
