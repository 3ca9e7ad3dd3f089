"""Feature squeezing: a median filter, non-local means, and the detector made of squeezers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from advlab.evaluation.detection import Detector, precise
from advlab.networks.filters import BitDepth

_GREY_LEVELS = 255


class Squeezing(Detector):
    """The largest L1 distance between the probabilities for an image and for a squeezed one.

    Scores lie in [0, 2]. A reduction to fewer grey levels is passed backwards as the identity
    (BPDA, arXiv:1802.00420).
    """

    def __init__(self, network: nn.Module, names: Sequence[str], bits: int, side: int) -> None:
        """Guard ``network``.

        Args:
            names: of the squeezers: ``bits``, ``median``, ``means``.
            bits: per channel, 1 to 8.
            side: of the median filter, in pixels.
        """
        super().__init__()
        self.network = network
        levels = BitDepth(bits)
        levels.straight_through = True
        known: Mapping[str, Callable[[Tensor], Tensor]] = {
            "bits": levels,
            "median": lambda images: median(images, side),
            "means": non_local_means,
        }
        self.squeezers = {name: known[name] for name in known if name in names}
        self._strengths: dict[str, object] = {"bits": bits, "median": side, "means": "11-3-4"}

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and scores.

        Probabilities are computed in float64: in float32 those of a network that is sure of itself
        would have no gradient.
        """
        logits = self.network(images)
        probabilities = precise(logits).softmax(dim=1)
        distances = [
            (precise(self.network(squeeze(images))).softmax(dim=1) - probabilities).abs().sum(dim=1)
            for squeeze in self.squeezers.values()
        ]
        return logits, torch.stack(distances).amax(dim=0)

    def settings(self) -> dict[str, object]:
        """The squeezers and their strengths."""
        return {name: self._strengths[name] for name in self.squeezers}


def median(images: Tensor, size: int) -> Tensor:
    """Each pixel the median of a square of this side, as ``scipy.ndimage.median_filter`` gives it.

    The square of an even side reaches farther up and left, and the greater of the two middle values
    is the median. Edges are mirrored, the edge pixels included. The gradient leads to the one pixel
    that was chosen.

    Args:
        images: (N, C, H, W).
    """
    padded = _mirrored(images, size // 2, size - size // 2 - 1)
    windows = padded.unfold(2, size, 1).unfold(3, size, 1).flatten(-2)
    chosen: Tensor = windows.kthvalue(size * size // 2 + 1, dim=-1).values
    return chosen


def non_local_means(
    images: Tensor, window: int = 11, patch: int = 3, strength: float = 4.0
) -> Tensor:
    """Each pixel a weighted mean of those in the window around it (Buades et al. 2005).

    A weight is exp(−d² / strength²), where d² is the mean squared difference, in grey levels,
    between the patches around the two pixels, over all channels. Edges are mirrored, the edge
    pixels included. It is differentiable.

    Args:
        images: (N, C, H, W) in [0, 1].
        window: side of the window in pixels, odd.
        patch: side of the patches in pixels, odd.
        strength: in grey levels, above 0.
    """
    reach, border = window // 2, patch // 2
    height, width = images.shape[2:]
    wide = _mirrored(images, reach + border, reach + border)
    inner = wide[:, :, reach : reach + height + 2 * border, reach : reach + width + 2 * border]
    total, weights = torch.zeros_like(images), torch.zeros_like(images[:, :1])
    for down in range(window):
        for right in range(window):
            moved = wide[
                :, :, down : down + height + 2 * border, right : right + width + 2 * border
            ]
            squared = ((moved - inner) * _GREY_LEVELS).square().mean(dim=1, keepdim=True)
            distance = functional.avg_pool2d(squared, patch, stride=1)
            weight = torch.exp(-distance / strength**2)
            total = total + weight * moved[:, :, border : border + height, border : border + width]
            weights = weights + weight
    return total / weights


def _mirrored(images: Tensor, before: int, after: int) -> Tensor:
    """The images with a border of mirrored pixels, above and left, and below and right."""
    for dim in (2, 3):
        index = np.pad(np.arange(images.shape[dim]), (before, after), mode="symmetric")
        images = images.index_select(dim, torch.from_numpy(index).to(images.device))
    return images
