"""Training of networks for images, again and again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from advlab.data.image_set import Images, ImageSet
from advlab.experiments.fitting import epochs_of, hidden_of, trained
from advlab.experiments.starting import starting_network
from advlab.metrics.classification import accuracy
from advlab.networks.layout import place
from advlab.results.poison import ImageFigures
from advlab.runs.machine import Machine
from advlab.training.evaluate import logits_of


@dataclass(frozen=True)
class ImageTrainer:
    """Trains one kind of network again and again, always from the same weights, and keeps its best
    epoch on the validation images."""

    name: str
    options: Any
    data: ImageSet
    machine: Machine

    def __call__(self, train: Images) -> nn.Module:
        """A network trained on these images, in evaluation mode."""
        return trained(self.fresh(train), train, self.data.val, self.settled(train), self.machine)

    def reseeded(self, seed: int) -> ImageTrainer:
        """The same with another seed."""
        return replace(self, options=self.options.model_copy(update={"seed": seed}))

    def settled(self, train: Images) -> Any:
        """The options of a training on these images, with its number of epochs."""
        return self.options.model_copy(
            update={"epochs": epochs_of(self.options, len(train)), "resume": False},
        )

    def fresh(self, train: Images) -> nn.Module:
        """The network before its first training step on these images, on the machine's device."""
        return place(self.untrained(train), self.machine.device)

    def untrained(self, train: Images) -> nn.Module:
        """The same on the CPU, in the memory format in which it was built."""
        data = self.data
        return starting_network(self.name, self.settled(train), data.shape, data.classes, train)

    def logits(self, model: nn.Module, images: Images) -> Tensor:
        """Logits (N, classes) in float32, on the CPU."""
        return logits_of(model, images, Machine(self.machine.device, "fp32"))

    def hidden(self, model: nn.Module, images: Images) -> Tensor:
        """What the last layer sees of each image, (N, D), on the CPU."""
        return hidden_of(model, images, Machine(self.machine.device, "fp32"))

    def figures(
        self, model: nn.Module, test_images: tuple[Images, Images], target: int
    ) -> ImageFigures:
        """Accuracy on the clean test images, and how often the images that the attack is after get
        the target.

        Args:
            test_images: all without a trigger, and those that the attack is after with it.
        """
        test, after = test_images
        reached = self.logits(model, after).argmax(dim=1) == target
        return ImageFigures(
            accuracy=accuracy(self.logits(model, test), test.labels),
            success_rate=float(reached.double().mean()),
        )
