"""Training on augmented images and texts."""

from __future__ import annotations

from torch import Tensor, nn

from advlab.augmentation.pipeline import augment
from advlab.config.options.run import AugmentOptions
from advlab.training.changed_texts import drop_words, substitute_words, swap_words
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

    def __init__(
        self,
        objective: Objective,
        dropped: float,
        swapped: float,
        substituted: float = 0.0,
        near: Tensor | None = None,
    ) -> None:
        """The objective, the probability that a word becomes unknown, the pairs of words that
        change places as a fraction of the words, the probability that a word becomes one near to
        it, and the words near to each; see ``advlab.training.changed_texts``."""
        super().__init__(objective.label_smoothing)
        self.objective, self.dropped, self.swapped = objective, dropped, swapped
        self.substituted, self.near = substituted, near

    def weigh_classes(self, weights: Tensor) -> None:
        """Weigh the loss that the texts are given to."""
        self.objective.weigh_classes(weights)

    def __call__(
        self, model: nn.Module, inputs: Tensor, labels: Tensor, done: float
    ) -> tuple[Tensor, Tensor]:
        """Loss and logits of the texts as changed."""
        changed = inputs
        if self.near is not None:
            changed = substitute_words(changed, self.substituted, self.near)
        changed = swap_words(drop_words(changed, self.dropped), self.swapped)
        return self.objective(model, changed, labels, done)
