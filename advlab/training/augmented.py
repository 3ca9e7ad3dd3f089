"""Training on augmented images and texts."""

from __future__ import annotations

from torch import Tensor, nn

from advlab.augmentation.pipeline import augment
from advlab.config.options.run import AugmentOptions
from advlab.training.changed_texts import drop_words, swap_words
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


class AugmentedTexts(Objective):
    """Another objective, on changed texts."""

    def __init__(self, objective: Objective, dropped: float, swapped: float) -> None:
        """The objective, the probability that a word becomes unknown, and the pairs of words that
        change places as a fraction of the words; see ``advlab.training.changed_texts``."""
        super().__init__(objective.label_smoothing)
        self.objective, self.dropped, self.swapped = objective, dropped, swapped

    def weigh_classes(self, weights: Tensor) -> None:
        """Weigh the loss that the texts are given to."""
        self.objective.weigh_classes(weights)

    def __call__(
        self, model: nn.Module, inputs: Tensor, labels: Tensor, done: float
    ) -> tuple[Tensor, Tensor]:
        """Loss and logits of the texts as changed."""
        changed = swap_words(drop_words(inputs, self.dropped), self.swapped)
        return self.objective(model, changed, labels, done)
