"""What a repair is given: a network trained on poisoned images, clean images, and a trainer."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from advlab.config.options.run import TrainOptions
from advlab.data.image_set import Images
from advlab.metrics.classification import accuracy
from advlab.runs.machine import Machine, derive
from advlab.training.evaluate import logits_of
from advlab.training.fit import fit
from advlab.training.objective import Objective


@dataclass(frozen=True)
class RepairSettings:
    """What the user decides about repairs.

    Attributes:
        epochs: of the training on clean images that ends a repair.
        prune_limit: by how much pruning may lower the accuracy on the clean images, a fraction.
        isolated_fraction: fraction of the training images that ABL takes for poisoned.
    """

    epochs: int
    prune_limit: float
    isolated_fraction: float


@dataclass(frozen=True)
class BackdooredNetwork:
    """A network with a backdoor, as its owner has it.

    Attributes:
        network: in evaluation mode, on the machine's device. A repair changes a copy.
        fresh: makes the network as it was before its first training step.
        train: the images that it was trained on. Which of them were changed is not known here.
        clean: images without a trigger, with true labels, that it was not trained on.
        classes: names of the classes, by label.
        options: of the training; the number of epochs is settled.
        settings: what the user decides about repairs.
        seed: of whatever is drawn.
    """

    network: nn.Module
    fresh: Callable[[], nn.Module]
    train: Images
    clean: Images
    classes: tuple[str, ...]
    options: TrainOptions
    machine: Machine
    settings: RepairSettings
    seed: int

    def logits(self, network: nn.Module, images: Images) -> Tensor:
        """Logits (N, classes) of a network in evaluation mode, in float32, on the CPU."""
        return logits_of(network, images, Machine(self.machine.device, "fp32"))

    def clean_accuracy(self, network: nn.Module) -> float:
        """Accuracy on the clean images, a fraction."""
        return accuracy(self.logits(network, self.clean), self.clean.labels)

    def retrained(
        self,
        network: nn.Module,
        images: Images,
        epochs: int,
        part: int,
        objective: Objective | None = None,
        slower: float = 1.0,
    ) -> nn.Module:
        """A copy of ``network`` after further training, in evaluation mode.

        It is trained as the options say, but for the number of epochs. The last epoch is taken:
        no images are set aside to choose another.

        Args:
            part: tells the random numbers of several trainings of one repair apart.
            objective: loss of a batch; by default the cross-entropy of the training.
            slower: what the learning rate is divided by.

        Raises:
            EnvironmentFailure: the loss stopped being a number.
        """
        changed = {
            "epochs": epochs,
            "lr": self.options.lr / slower,
            "seed": derive(self.seed, part),
            "resume": False,
            "patience": None,
            "average_decay": 0.0,
        }
        copied = copy.deepcopy(network)
        with tempfile.TemporaryDirectory() as folder:
            fit(
                copied,
                images,
                self.clean,
                self.options.model_copy(update=changed),
                self.machine,
                Path(folder),
                keep=lambda network, progress: None,
                objective=objective,
                lasting=False,
            )
        return copied.eval()


@dataclass(frozen=True)
class RecoveredTrigger:
    """A trigger that makes a network give one class, found by optimisation.

    Attributes:
        mask: how much of each pixel is replaced, in [0, 1], float32 (H, W).
        pattern: by what, float32 (C, H, W) in [0, 1].
        norm: sum of the mask, in pixels.
        success_rate: of the clean images of other classes, the fraction that gets the class with
            the trigger.
        anomaly_index: distance of the norm from the median over the classes, in units of the
            scaled median absolute deviation.
        flagged: whether the class is taken for the target of a backdoor.
    """

    mask: Tensor
    pattern: Tensor
    norm: float
    success_rate: float
    anomaly_index: float
    flagged: bool

    def __call__(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) in [0, 1] with the trigger: ``(1 - mask) * x + mask * pattern``."""
        mask = self.mask.to(images.device)
        return (1 - mask) * images + mask * self.pattern.to(images.device)


@dataclass(frozen=True)
class Repaired:
    """The outcome of a repair.

    Attributes:
        network: in evaluation mode.
        finding: what the repair found or did, in a few words.
        clean_images: how many clean images it was given; 0 where it used none.
        pruned_units, units: of pruning: how many units were removed, of how many.
        triggers: of a search for triggers: one for each class.
        isolated: of a repair that looks for poisoned training images: their numbers, ascending.
    """

    network: nn.Module
    finding: str
    clean_images: int = 0
    pruned_units: int | None = None
    units: int | None = None
    triggers: tuple[RecoveredTrigger, ...] = ()
    isolated: Tensor | None = None


def unit_pixels(images: Images) -> Images:
    """The same images with pixels float32 in [0, 1], which a trigger with a soft mask needs."""
    return Images(images.inputs(slice(None)), images.labels)


def with_trigger(
    images: Images, trigger: RecoveredTrigger, fraction: float, seed: int
) -> tuple[Images, Tensor]:
    """Images with a trigger in a random part of them, and the numbers of those; all labels stay.

    Args:
        fraction: of the images, at least one of them.
    """
    random = torch.Generator().manual_seed(seed)
    count = max(1, round(fraction * len(images)))
    rows = torch.randperm(len(images), generator=random)[:count].sort().values
    pixels = unit_pixels(images).pixels
    pixels[rows] = trigger(pixels[rows])
    return Images(pixels, images.labels), rows
