"""Images sampled from a generator, of all classes or of some."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from advlab.gan.feature_classifier import FeatureClassifier
from advlab.gan.networks import latents, pixels_of
from advlab.progress import progress_bar
from advlab.runs.machine import derive

_BATCH = 500
_MOST = 20_000  # images made before a class that is not among them is given up ...
_MOST_EACH = 50  # ... or this many for each one that is wanted, where that is more


def drawn(generator: nn.Module, zdim: int, count: int, seed: int) -> Tensor:
    """Images, uint8 (count, C, H, W), of z that follow from the seed."""
    return pixels_of(generator, latents(seed, count, zdim))


def drawn_of(
    generator: nn.Module,
    zdim: int,
    count: int,
    seed: int,
    feature_classifier: FeatureClassifier,
    classes: Sequence[int],
) -> tuple[list[Tensor], int]:
    """Images of some classes, as the feature classifier takes them, and how many were made for it.

    Returns:
        For each class images uint8 (n, C, H, W), where n is ``count``, or less where the class is
        too rare; and how many images were made until there were enough of each, or it was given up.
    """
    by_class: list[list[Tensor]] = [[] for _ in classes]
    have, generated = [0] * len(classes), 0
    most = max(_MOST, _MOST_EACH * count)
    with progress_bar(most, "generating, at most", "images") as bar:
        while min(have) < count and generated < most:
            pixels = pixels_of(generator, latents(derive(seed, 1, generated), _BATCH, zdim))
            labels = feature_classifier(pixels).labels
            for place, number in enumerate(classes):
                by_class[place].append(pixels[labels == number])
                have[place] += len(by_class[place][-1])
            generated += _BATCH
            bar.update(_BATCH)
    return [torch.cat(parts)[:count] for parts in by_class], generated
