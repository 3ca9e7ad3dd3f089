"""``advlab train MODEL``: load, build, fit, measure, draw, write."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from advlab.config.commands import AugmentOptions, TrainOptions
from advlab.config.resolve import Config, Plan
from advlab.datasets import _load as datasets
from advlab.datasets._set import Images, ImageSet, take
from advlab.experiments import _train_text
from advlab.experiments._fitting import epochs_of, fit_network
from advlab.experiments._grid import run_plan
from advlab.metrics.classification import confusion_matrix
from advlab.models._text import takes_texts
from advlab.plots.confusion import confusion
from advlab.plots.sheets import Tile, sheet
from advlab.plots.style import save
from advlab.plots.training import curves
from advlab.runs.folder import RunFolder, automatic_name
from advlab.runs.machine import Machine, prepare
from advlab.runs.table import percent, table
from advlab.training import checkpoint
from advlab.training.augmented import Augmented
from advlab.training.fit import Progress
from advlab.training.objective import Objective

_MISTAKES = 24


def main(plan: Plan) -> int:
    """Run every cell of the plan; exit status 0 where all of them finished."""
    return run_plan(plan, run, headline="test_accuracy")


def run(config: Config, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Train one network, unless its run is there already.

    Returns:
        The run's metrics, with its folder under ``folder``.
    """
    if takes_texts(config.component):
        return _train_text.run(config, say)
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


def _train(
    name: str, options: TrainOptions, train: Images, data: ImageSet, machine: Machine, folder: RunFolder, say: Callable[[str], None]
) -> dict[str, Any]:
    started = time.perf_counter()
    fitted = fit_network(name, options, train, data, machine, folder.path, say, objective=_objective(options))
    metrics = {"command": "train", **fitted.figures, "total_seconds": round(time.perf_counter() - started, 4)}
    draw(folder.path, metrics, fitted.progress, data, fitted.test_logits, options)
    folder.finish(metrics)
    _report(metrics, folder.path, say)
    return metrics


def _objective(options: TrainOptions) -> Objective:
    """The plain loss, on transformed images where any transformation is asked for."""
    none = AugmentOptions().model_dump()
    asked = {key: getattr(options, key, default) for key, default in none.items()}
    if asked == none:
        return Objective(options.label_smoothing)
    return Augmented(AugmentOptions(**asked), options.label_smoothing)


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
