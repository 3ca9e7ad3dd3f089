"""Training on augmented images."""

from __future__ import annotations

from torch import Tensor, nn

from advlab.augmentation.pipeline import augment
from advlab.config.options.run import AugmentOptions
from advlab.training.objective import Objective


class Augmented(Objective):
    """The plain loss, on transformed images."""

    def __init__(self, options: AugmentOptions, label_smoothing: float = 0.0) -> None:
        """The transformations, and the share of the target spread over all classes."""
        super().__init__(label_smoothing)
        self.options = options

    def __call__(
        self, model: nn.Module, inputs: Tensor, labels: Tensor, done: float
    ) -> tuple[Tensor, Tensor]:
        """Loss and logits of the images as transformed."""
        return super().__call__(model, augment(inputs, self.options), labels, done)
