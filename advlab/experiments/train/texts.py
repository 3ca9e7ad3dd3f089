"""``advlab train`` for text models."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from advlab.config.options.run import TrainOptions
from advlab.config.references import dataset_title
from advlab.config.resolve import Config
from advlab.data import load_texts as texts
from advlab.data.text_set import Texts, TextSet
from advlab.errors import UsageError
from advlab.experiments.fitting import carry_out_training, fit_texts, weighs_classes
from advlab.experiments.train.report import report, train_result
from advlab.metrics.classification import confusion_matrix
from advlab.plots.confusion import confusion
from advlab.plots.style import save
from advlab.plots.training import curves
from advlab.results.train import TrainResult
from advlab.runs.files import write_text
from advlab.runs.machine import Machine, derive, prepare
from advlab.runs.results import Finished
from advlab.runs.table import percent, table
from advlab.training.fit import TrainingProgress

_MISTAKES = 24
_SHOWN = 160  # characters of a text in a table


def run(config: Config) -> Finished[TrainResult]:
    """Train one network on texts, unless its run is there already."""
    if config.options.image_size is not None:
        raise UsageError(f"--image-size: {config.component} reads texts")
    data = texts.load(config.options)
    config = config.changed(dataset=data.name)
    options: TrainOptions = config.options
    train = taken(data.train, options.train_size, options.seed)
    return carry_out_training(
        config,
        data,
        len(train),
        TrainResult,
        lambda settled, folder: _measure(settled, train, data, folder),
        report,
    )


def _measure(config: Config, train: Texts, data: TextSet, folder: Path) -> TrainResult:
    machine = machine_for_texts(config.options)
    fitted = fit_texts(config.component, config.options, train, data, machine, folder)
    result = train_result(config, data, fitted, machine)
    _draw(folder, result, fitted.progress, data, fitted.test_logits, config.options)
    return result


def taken(train: Texts, count: int | None, seed: int) -> Texts:
    """``count`` of the texts, drawn by ``seed``, in their old order; all of them for None.

    Raises:
        UsageError: there are not so many.
    """
    if count is None:
        return train
    if count > len(train):
        raise UsageError(f"cannot train on {count:,} texts: there are {len(train):,}")
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(derive(seed, 4)))
    return train.select(order[:count].sort().values)


def machine_for_texts(options: TrainOptions) -> Machine:
    """As asked for; where nothing was, float32: recurrent steps are too small to gain from anything
    shorter."""
    machine = prepare(options)
    return Machine(machine.device, "fp32") if options.precision == "auto" else machine


def _draw(
    folder: Path,
    result: TrainResult,
    progress: TrainingProgress,
    data: TextSet,
    logits: Tensor,
    options: TrainOptions,
) -> None:
    """The pictures of a training, and its worst mistakes as a table."""
    source = result.examples.of(data.origin, len(data.train))
    caption = f"{source} · seed {result.seed} · test accuracy {percent(result.test_accuracy)}"
    name = f"{result.model} on {dataset_title(data.name)}"
    save(
        curves(
            progress.history,
            progress.best_epoch,
            f"Training of {name}",
            caption,
            options.label_smoothing > 0,
            weighs_classes(options),
        ),
        folder / "curves.png",
    )
    labels, predicted = data.test.labels, logits.argmax(1)
    counts = confusion_matrix(labels, predicted, len(data.classes)).numpy()
    save(
        confusion(
            counts,
            data.classes,
            f"Confusion matrix: {name}, {len(labels):,} test texts",
            caption,
            unit="texts",
        ),
        folder / "confusion.png",
    )
    probabilities = logits.softmax(dim=1)
    wrong = (predicted != labels).nonzero().squeeze(1)
    worst = wrong[probabilities[wrong, predicted[wrong]].argsort(descending=True, stable=True)][
        :_MISTAKES
    ].tolist()
    rows = [
        [
            data.classes[labels[i]],
            data.classes[predicted[i]],
            percent(float(probabilities[i, predicted[i]])),
            shortened(data.test.texts[i]),
        ]
        for i in worst
    ]
    write_text(
        folder / "mistakes.md",
        f"{table(['true class', 'predicted', 'probability', 'text'], rows)}\n\n{caption}\n",
    )


def shortened(text: str) -> str:
    """A text for a cell of a table."""
    one_line = " ".join(text.split())
    return one_line if len(one_line) <= _SHOWN else one_line[: _SHOWN - 1] + "…"
