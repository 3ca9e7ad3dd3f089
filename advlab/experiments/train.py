"""``advlab train MODEL``: load, build, fit, measure, draw, write."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from advlab.config.commands import TrainOptions
from advlab.config.resolve import Config, Plan
from advlab.datasets import _load as datasets
from advlab.datasets._set import Images, ImageSet, take
from advlab.experiments._grid import run_plan
from advlab.metrics.classification import accuracy, confusion_matrix
from advlab.models._network import architecture_of, assemble, count_parameters
from advlab.plots.confusion import confusion
from advlab.plots.sheets import Tile, sheet
from advlab.plots.style import save
from advlab.plots.training import curves
from advlab.runs.folder import RunFolder, automatic_name
from advlab.runs.machine import Machine, derive, prepare
from advlab.runs.table import percent, table
from advlab.training import checkpoint
from advlab.training.evaluate import logits_of
from advlab.training.fit import Progress, fit

_MISTAKES = 24


def main(plan: Plan) -> int:
    """Run every cell of the plan; exit status 0 where all of them finished."""
    return run_plan(plan, run, headline="test_accuracy")


def run(config: Config, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Train one network, unless its run is there already.

    Returns:
        The run's metrics, with its folder under ``folder``.
    """
    data = datasets.load(config.options)
    config = config.changed(dataset=data.name)
    options = config.options
    assert isinstance(options, TrainOptions)
    train = data.train if options.train_size is None else take(data.train, options.train_size, options.seed)
    name = automatic_name(config)
    config = config.changed(epochs=epochs_of(options, len(train)))
    options = config.options
    folder = RunFolder(config, name)
    folder.check_unchanged()
    say(data.introduction())
    if folder.finished and not options.overwrite:
        folder.tidy()
        return _finished(folder, say)
    machine = prepare(options)
    with folder.claim():
        if folder.finished:  # by another process, while this one was getting here
            return _finished(folder, say)
        metrics = _train(config.component, options, train, data, machine, folder, say)
    return {**metrics, "folder": str(folder.path)}


def _finished(folder: RunFolder, say: Callable[[str], None]) -> dict[str, Any]:
    metrics = folder.metrics()
    say(f"{folder.path} is finished already: test accuracy {percent(metrics['test_accuracy'])} (--overwrite runs it again)")
    return {**metrics, "folder": str(folder.path)}


def epochs_of(options: TrainOptions, images: int) -> int:
    """The epochs asked for; else the network's usual number, or as many as a small set needs for enough steps."""
    steps = -(-images // options.batch_size)
    return options.epochs or max(options.usual_epochs, -(-options.least_steps // steps))


def _train(
    name: str, options: TrainOptions, train: Images, data: ImageSet, machine: Machine, folder: RunFolder, say: Callable[[str], None]
) -> dict[str, Any]:
    started = time.perf_counter()
    torch.manual_seed(derive(options.seed, 3))
    mean, std = channel_statistics(train)
    model = assemble(name, architecture_of(name, options), data.shape, len(data.classes), mean, std)
    model.to(machine.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    parameters = count_parameters(model)
    say(f"{name}: {parameters:,} parameters, {len(train):,} training images, {machine.precision} on {machine.device}, seed {options.seed}")
    file = folder.path / checkpoint.FILE

    def card(progress: Progress) -> checkpoint.Card:
        return checkpoint.Card(
            model=name,
            architecture=architecture_of(name, options).model_dump(),
            shape=data.shape,
            classes=data.classes,
            dataset=data.name,
            data={"split_seed": options.split_seed, "image_size": options.image_size},
            training={"seed": options.seed, "epoch": progress.best_epoch, "val_accuracy": progress.best_accuracy},
        )

    progress = fit(
        model, train, data.val, options, machine, folder.path, keep=lambda kept, now: checkpoint.save(file, kept, card(now)), say=say
    )
    best, _ = checkpoint.load(file)
    best.to(machine.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    # The figure that is reported, and that every attack starts from, is taken in the network's own float32.
    test_logits = logits_of(best, data.test, Machine(machine.device, "fp32"))
    test_loss = float(functional.cross_entropy(test_logits, data.test.labels))
    metrics = {
        "command": "train",
        "model": name,
        "dataset": data.name,
        "origin": data.origin,
        "test_accuracy": accuracy(test_logits, data.test.labels),
        "test_loss": test_loss if math.isfinite(test_loss) else None,
        "val_accuracy": progress.best_accuracy,
        "train_accuracy": progress.history[progress.best_epoch - 1]["accuracy"],
        "best_epoch": progress.best_epoch,
        "epochs": progress.epoch,
        "parameters": parameters,
        "seed": options.seed,
        "images": {"train": len(train), "val": len(data.val), "test": len(data.test)},
        "data_sha256": data.sha256(),
        "checkpoint": checkpoint.FILE,
        "checkpoint_sha256": checkpoint.sha256(file),
        "seconds": round(progress.seconds, 4),
        "total_seconds": round(progress.seconds + time.perf_counter() - started, 4),
        "machine": machine.describe(),
    }
    draw(folder.path, metrics, progress, data, test_logits, options)
    folder.finish(metrics)
    _report(metrics, folder.path, say)
    return metrics


def channel_statistics(images: Images) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel, of pixels in [0, 1], from a histogram of the bytes."""
    mean, std = [], []
    level = torch.arange(256, dtype=torch.float64) / 255
    for channel in range(images.pixels.shape[1]):
        counts = torch.zeros(256, dtype=torch.float64)
        for part in images.pixels[:, channel].split(4096):
            counts += torch.bincount(part.flatten(), minlength=256)
        share = counts / counts.sum()
        centre = float((share * level).sum())
        mean.append(centre)
        std.append(max(float((share * (level - centre) ** 2).sum()) ** 0.5, 1e-3))
    return mean, std


def draw(folder: Path, metrics: dict[str, Any], progress: Progress, data: ImageSet, logits: Tensor, options: TrainOptions) -> None:
    """The pictures of a training: curves, confusion matrix, worst mistakes."""
    caption = (
        f"{data.origin} · seed {metrics['seed']} · {metrics['machine']['precision']} · test accuracy {percent(metrics['test_accuracy'])}"
    )
    name = f"{metrics['model']} on {data.name}"
    save(curves(progress.history, progress.best_epoch, f"Training of {name}", caption, options.label_smoothing > 0), folder / "curves.png")
    labels, predicted = data.test.labels, logits.argmax(1)
    counts = confusion_matrix(labels, predicted, len(data.classes)).numpy()
    save(confusion(counts, data.classes, f"Test images of {name}", caption), folder / "confusion.png")
    probabilities = nn.functional.softmax(logits, dim=1)
    wrong = (predicted != labels).nonzero().squeeze(1)
    worst = wrong[probabilities[wrong, predicted[wrong]].argsort(descending=True, stable=True)][:_MISTAKES]
    tiles = [
        Tile(
            data.test.inputs(slice(i, i + 1), "cpu")[0].numpy(),
            f"no. {i}: {data.classes[labels[i]]}\nas {data.classes[predicted[i]]} ({100 * float(probabilities[i, predicted[i]]):.0f} %)",
        )
        for i in worst.tolist()
    ]
    title = f"Worst of {len(wrong)} mistakes of {name}" if tiles else f"No mistakes of {name}"
    save(sheet(tiles, title, caption), folder / "mistakes.png")


def _report(metrics: dict[str, Any], folder: Path, say: Callable[[str], None]) -> None:
    rows = [
        ["test accuracy", percent(metrics["test_accuracy"])],
        ["validation accuracy", percent(metrics["val_accuracy"])],
        ["kept epoch", f"{metrics['best_epoch']} of {metrics['epochs']}"],
        ["parameters", f"{metrics['parameters']:,}"],
        ["seconds", f"{metrics['seconds']:.1f}"],
    ]
    say(table([f"{metrics['model']} on {metrics['dataset']}", ""], rows))
    say(f"in {folder}: {checkpoint.FILE}, metrics.json, history.jsonl, config.yaml, curves.png, confusion.png, mistakes.png")
