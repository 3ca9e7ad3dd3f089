"""Baselines of a trained encoder: the same encoder untrained, and trained with labels."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from advlab.augmentation.views import Views, view
from advlab.config.options.contrast import ContrastOptions
from advlab.config.options.run import TrainOptions
from advlab.contrastive.trainer import batches_of, two_views, views_generator
from advlab.data.image_set import Images
from advlab.errors import EnvironmentFailure
from advlab.networks import checkpoint
from advlab.networks.layout import place
from advlab.perturbation.randomness import repeatable
from advlab.runs import sealed
from advlab.runs.machine import Machine, derive
from advlab.training.fit import TrainingProgress, fit
from advlab.training.objective import Objective

_FEW_BATCH, _FEW_EPOCHS, _FEW_STEPS = 32, 30, 300  # of trainings on few labels, at least
_SETTLING = 50  # batches; of where a running mean with momentum 0.1 began, half a percent is left


@torch.no_grad()
def untrained(
    encoder: nn.Module, pixels: Tensor, views: Views, options: ContrastOptions, machine: Machine
) -> nn.Module:
    """A copy of an encoder as it was made, its batch normalisation settled as the trained one's: by
    running over views.

    That makes the comparison one of weights alone, but not always a stronger one: of a narrow
    ResNet-18 on CIFAR-10, neighbours found 22 % by settled features and 28 % while the statistics
    were still 0 and 1. So both are evaluated.
    """
    settled = copy.deepcopy(encoder).train()
    remaining = _SETTLING
    with repeatable(derive(options.seed, 38), machine.device):  # dropout draws as well
        for epoch in range(_SETTLING):
            generator = views_generator(options, epoch)
            for index in batches_of(len(pixels), options, epoch)[:remaining]:
                with machine.autocast():
                    settled(two_views(pixels[index], views, generator, machine))
                remaining -= 1
            if remaining <= 0:
                break
    return settled.eval()


class _OnViews(Objective):
    """Cross-entropy on a view of each image, so that both encoders see the same kind of images."""

    def __init__(self, views: Views) -> None:
        super().__init__()
        self.views = views

    def __call__(
        self, model: nn.Module, inputs: Tensor, labels: Tensor, done: float
    ) -> tuple[Tensor, Tensor]:
        # Torch's global generator is a function of the epoch, and so are the views.
        generator = torch.Generator().manual_seed(int(torch.randint(2**31, ())))
        return super().__call__(model, view(inputs, self.views, generator), labels, done)


@dataclass(frozen=True)
class Labelled:
    """A training of encoder and last layer with labels that ended.

    Attributes:
        model: encoder and last layer, in the state of the last epoch.
        progress: how it went.
        file: where the best epoch on validation images is kept.
    """

    model: nn.Sequential
    progress: TrainingProgress
    file: Path

    def best(self) -> nn.Sequential:
        """Encoder and last layer of the best epoch, in evaluation mode.

        Raises:
            UsageError: the file is of another run.
            EnvironmentFailure: the file is missing or damaged.
        """
        stored = sealed.read_tensors(self.file)
        if stored is None:
            raise EnvironmentFailure(
                f"{self.file} is missing, and it held the best epoch; --overwrite starts over"
            )
        self.model.load_state_dict(stored[0])
        self.model.eval()
        return self.model


def supervised(
    encoder: nn.Module,
    features: int,
    train: Images,
    val: Images,
    views: Views,
    options: ContrastOptions,
    machine: Machine,
    folder: Path,
) -> Labelled:
    """A copy of an encoder as it was made, trained with labels for as many epochs, on a view of
    each image, by the usual loop.

    An epoch costs half of what a contrastive one does, which sees two views. Several processes
    train together.

    Args:
        features: how many the encoder gives.
        folder: for its history and its state.

    Raises:
        UsageError: an interrupted training in the folder is of another run.
        EnvironmentFailure: what an interrupted training left is damaged.
    """
    assert options.epochs is not None
    return _with_labels(
        encoder, features, train, val, views, options, options.epochs, machine, folder
    )


def few_labels_training(images: int, options: ContrastOptions) -> tuple[int, int]:
    """Epochs and images in a batch of a training on so few labelled images.

    Batches are small and epochs are added, so that there are enough steps.
    """
    batch_size = max(2, min(options.batch_size, _FEW_BATCH))
    steps = -(-images // batch_size)
    return max(_FEW_EPOCHS, -(-_FEW_STEPS // steps)), batch_size


def on_few_labels(
    encoder: nn.Module,
    features: int,
    train: Images,
    val: Images,
    views: Views,
    options: ContrastOptions,
    machine: Machine,
    folder: Path,
) -> Labelled:
    """A copy of an encoder, with all its weights and a new last layer trained on few labelled
    images.

    The encoder may be trained already, which is fine-tuning (arXiv:2002.05709, section 4.2), or
    not; all else is the same. Arguments and errors are those of ``supervised``.
    """
    epochs, batch_size = few_labels_training(len(train), options)
    options = options.model_copy(update={"batch_size": batch_size})
    return _with_labels(encoder, features, train, val, views, options, epochs, machine, folder)


def _with_labels(
    encoder: nn.Module,
    features: int,
    train: Images,
    val: Images,
    views: Views,
    options: ContrastOptions,
    epochs: int,
    machine: Machine,
    folder: Path,
) -> Labelled:
    folder.mkdir(exist_ok=True)
    torch.manual_seed(derive(options.seed, 33))
    classes = int(train.labels.max()) + 1
    model = nn.Sequential(copy.deepcopy(encoder), nn.Linear(features, classes))
    place(model, machine.device)
    settings = TrainOptions(
        seed=options.seed,
        resume=options.resume,
        epochs=epochs,
        batch_size=options.batch_size,
        schedule="one-cycle",
    )
    best = folder / "best.safetensors"

    def keep(selected: nn.Module, progress: TrainingProgress) -> None:
        sealed.write_tensors(best, checkpoint.contiguous(selected.state_dict()))

    progress = fit(
        model, train, val, settings, machine, folder, keep=keep, objective=_OnViews(views)
    )
    return Labelled(model, progress, best)
