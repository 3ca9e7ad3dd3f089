"""A target model that counts what it is asked, and answers nothing but logits."""

from __future__ import annotations

from typing import Any, NoReturn

from torch import Tensor, nn

from advlab.perturbation.victim import Victim


class Watched(Victim):
    """Counts queries of all images, which lie in [0, 1], and has no gradients.

    Attributes:
        asked: how many images it was asked about.
        largest: the most of them at once.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network)
        self.asked, self.largest = 0, 0

    def logits(self, images: Tensor) -> Tensor:
        assert images.min() >= 0
        assert images.max() <= 1
        self.asked += len(images)
        self.largest = max(self.largest, len(images))
        return super().logits(images)

    def estimate(self, *_: Any) -> NoReturn:
        raise AssertionError("no logits in fast arithmetic")

    def gradient(self, *_: Any) -> NoReturn:
        raise AssertionError("no gradients")

    def gradient_of(self, *_: Any) -> NoReturn:
        raise AssertionError("no gradients")
