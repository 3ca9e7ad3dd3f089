"""The memorisation experiment: two classes, with random labels for a fraction of the images."""

from __future__ import annotations

import tempfile
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from advlab.data.image_set import Images, ImageSet
from advlab.experiments.starting import starting_network
from advlab.logs import silenced
from advlab.metrics.classification import is_correct
from advlab.metrics.intervals import wilson
from advlab.networks.classifier import count_parameters
from advlab.networks.layout import place
from advlab.progress import with_progress
from advlab.results.memorize import MemorizePoint
from advlab.runs.machine import Machine, derive
from advlab.training.evaluate import logits_of
from advlab.training.fit import TrainingProgress, fit

_TRAIN, _TEST = 50, 51


@dataclass(frozen=True)
class Training:
    """One training.

    Attributes:
        point: what the result says of it.
        history: loss and accuracy of the pass over the training images, by epoch.
    """

    point: MemorizePoint
    history: list[dict[str, float]]


def halves(classes: tuple[str, ...]) -> str:
    """What the two true classes are: the later half of the data set's classes against the earlier
    one."""
    middle = len(classes) // 2

    def named(part: tuple[str, ...]) -> str:
        return part[0] if len(part) == 1 else f"{part[0]} to {part[-1]}"

    return f"{named(classes[middle:])} against {named(classes[:middle])}"


def in_two(images: Images, classes: int) -> Images:
    """The same images with labels 1 for the later half of the classes (of digits: 5 or more) and 0
    for the earlier one."""
    return Images(images.pixels, (images.labels >= classes // 2).long())


def drawn(labels: Tensor, share: float, seed: int) -> Tensor:
    """Labels (N,) of two classes, those of a share of the images drawn by a fair coin, which may
    draw the true one.

    A larger share has every label that a smaller one has drawn, as it was drawn.
    """
    random = torch.Generator().manual_seed(seed)
    which = torch.randperm(len(labels), generator=random)[: round(share * len(labels))]
    coins = torch.randint(0, 2, (len(labels),), generator=random)
    mixed = labels.clone()
    mixed[which] = coins[which]
    return mixed


def study(
    name: str, options: Any, train: Images, data: ImageSet, machine: Machine
) -> list[Training]:
    """Train the network ``name`` on the true labels and on each share of drawn ones, always from
    the same weights.

    Args:
        train: the images to learn, with the data set's own labels.

    Returns:
        A training for each share, that of the true labels (share 0) first.
    """
    train, test = in_two(train, len(data.classes)), in_two(data.test, len(data.classes))
    trainings = []
    for share in with_progress(
        sorted({0.0, *options.random_labels}), "fractions of random labels", "trainings"
    ):
        task = Images(train.pixels, drawn(train.labels, share, derive(options.seed, _TRAIN)))
        asked = Images(test.pixels, drawn(test.labels, share, derive(options.seed, _TEST)))
        # Every training would log the same.
        with nullcontext() if share == 0 else silenced():
            trainings.append(
                _trained(name, options, task, asked, test.labels, share, data.shape, machine)
            )
    return trainings


def _trained(
    name: str,
    options: Any,
    task: Images,
    asked: Images,
    truth: Tensor,
    share: float,
    shape: tuple[int, int, int],
    machine: Machine,
) -> Training:
    model = starting_network(name, options, shape, ("0", "1"), task)
    place(model, machine.device)
    best, progress = _fitted(model, task, options, machine)
    plain = Machine(machine.device, "fp32")
    known, logits = logits_of(best, task, plain), logits_of(best, asked, plain)
    right = int(is_correct(logits, asked.labels).sum())
    history = [
        {key: record[key] for key in ("epoch", "loss", "accuracy")} for record in progress.history
    ]
    point = MemorizePoint(
        random_fraction=share,
        train_accuracy=float(is_correct(known, task.labels).double().mean()),
        train_loss=float(nn.functional.cross_entropy(known, task.labels)),
        test_accuracy=right / len(asked),
        test_interval=wilson(right, len(asked)),
        test_accuracy_on_true_labels=float(is_correct(logits, truth).double().mean()),
        epochs_to_fit=epochs_to_fit(progress.history),
        epochs=progress.epoch,
        parameters=count_parameters(model),
    )
    return Training(point, history)


def _fitted(
    model: nn.Module, task: Images, options: Any, machine: Machine
) -> tuple[nn.Module, TrainingProgress]:
    """The network after its last epoch with the most training images right. There is nothing to
    validate on but these."""
    best_state: dict[str, Tensor] = {}

    def keep(network: nn.Module, progress: TrainingProgress) -> None:
        state = network.state_dict()
        best_state.update({name: value.detach().clone() for name, value in state.items()})

    alone = options.model_copy(update={"resume": False})
    with tempfile.TemporaryDirectory() as folder:
        progress = fit(
            model,
            task,
            task,
            alone,
            machine,
            Path(folder),
            keep=keep,
            lasting=False,
        )
    model.load_state_dict(best_state)
    return model.eval(), progress


def epochs_to_fit(history: list[dict[str, float]]) -> int | None:
    """The first epoch with every training image right, in the pass that trained or in the
    evaluation after it; None without one.

    Both count: batch normalisation takes some epochs to know its averages, and dropout never stops
    guessing.
    """
    return next(
        (
            int(record["epoch"])
            for record in history
            if max(record["accuracy"], record["val_accuracy"]) == 1
        ),
        None,
    )
