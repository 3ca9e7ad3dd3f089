"""``advlab scratch train``: load, draw weights, descend epoch by epoch, keep the best, measure, draw."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from advlab.config.resolve import Config
from advlab.config.scratch import ScratchTrainOptions
from advlab.datasets import _load as datasets
from advlab.datasets._set import Images, ImageSet, take
from advlab.errors import WorldError
from advlab.metrics.classification import confusion_matrix
from advlab.plots.confusion import confusion
from advlab.plots.style import save
from advlab.plots.training import curves
from advlab.runs.files import write_text
from advlab.runs.folder import RunFolder, automatic_name
from advlab.runs.machine import Machine, derive
from advlab.runs.table import percent, table
from advlab.scratch import _weights
from advlab.scratch._layers import Array
from advlab.scratch._loss import Labels, cross_entropy_of_logits
from advlab.scratch._network import Network
from advlab.scratch._sgd import accuracy, epoch

STATE, WEIGHTS, HISTORY = "resume.safetensors", "model.safetensors", "history.jsonl"
MACHINE = Machine(torch.device("cpu"), "fp32")

Say = Callable[[str], None]


@dataclass
class Progress:
    """Where a training stands: the epochs done, the best of them on validation images, and what each of them said."""

    epoch: int = 0
    best_epoch: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


def run(config: Config, say: Say = print) -> dict[str, Any]:
    """Train one network, unless its run is there already.

    Returns:
        The run's metrics, with its folder under ``folder``.

    Raises:
        WorldError: the loss stopped being a number.
    """
    options: ScratchTrainOptions = config.options
    data = datasets.load(options)
    config = config.changed(dataset=data.name)
    train = data.train if options.train_size is None else take(data.train, options.train_size, options.seed)
    folder = RunFolder(config, automatic_name(config))
    folder.check_unchanged()
    say(data.introduction())
    if folder.finished and not options.overwrite:
        return _finished(folder, say)
    with folder.claim(), threadpool_limits(1, user_api="blas"):  # a batch is too small to share, and the bits depend on the sharing
        if folder.finished:
            return _finished(folder, say)
        metrics = _train(config.options, train, data, folder.path, say)
        folder.finish(metrics)
    _report(metrics, folder.path, say)
    return {**metrics, "folder": str(folder.path)}


def _finished(folder: RunFolder, say: Say) -> dict[str, Any]:
    folder.tidy()
    metrics = folder.metrics()
    say(f"{folder.path} is finished already: test accuracy {percent(metrics['test_accuracy'])} (--overwrite runs it again)")
    return {**metrics, "folder": str(folder.path)}


def _train(options: ScratchTrainOptions, train: Images, data: ImageSet, folder: Path, say: Say) -> dict[str, Any]:
    inputs, labels = rows(train)
    sizes = [inputs.shape[1], *options.hidden, len(data.classes)]
    network = Network.drawn(sizes, np.random.default_rng(derive(options.seed, 3)))
    parameters = sum(array.size for array in network.parameters.values())
    say(f"{'-'.join(map(str, sizes))}: {parameters:,} parameters, {len(train):,} training images, seed {options.seed}")
    best, progress = fit(network, inputs, labels, rows(data.val), options, folder, say)
    network.load(best)
    _weights.store(folder / WEIGHTS, best, {"sizes": sizes, "dataset": data.name, "seed": options.seed, "epoch": progress.best_epoch})
    test_inputs, test_labels = rows(data.test)
    logits = network.logits(test_inputs)
    kept = progress.history[progress.best_epoch - 1]
    metrics: dict[str, Any] = {
        "command": "scratch",
        "model": "-".join(map(str, sizes)),
        "dataset": data.name,
        "origin": data.origin,
        "lr": options.lr,
        "test_accuracy": accuracy(logits, test_labels),
        "test_loss": cross_entropy_of_logits(logits, test_labels),
        "val_accuracy": kept["val_accuracy"],
        "train_accuracy": kept["accuracy"],
        "best_epoch": progress.best_epoch,
        "epochs": progress.epoch,
        "parameters": parameters,
        "seed": options.seed,
        "images": {"train": len(train), "val": len(data.val), "test": len(data.test)},
        "data_sha256": data.sha256(),
        "checkpoint": WEIGHTS,
        "seconds": round(progress.seconds, 4),
        "machine": {**MACHINE.describe(), "numpy": np.__version__, "threads": 1},
    }
    caption = f"{data.origin} · learning rate {options.lr:g}, seed {options.seed} · test accuracy {percent(metrics['test_accuracy'])}"
    title = f"by hand, {metrics['model']} on {data.name}"
    save(curves(progress.history, progress.best_epoch, f"Training {title}", caption, smoothed=False), folder / "curves.png")
    counts = confusion_matrix(data.test.labels, torch.from_numpy(logits).argmax(1), len(data.classes)).numpy()
    save(confusion(counts, data.classes, f"Test images, {title}", caption), folder / "confusion.png")
    return metrics


def rows(images: Images) -> tuple[Array, Labels]:
    """Images as rows (N, C·H·W) of float32 in [0, 1], widened from bytes once; and their labels."""
    flat = images.pixels.flatten(1).numpy().astype(np.float32)
    flat /= 255
    return flat, images.labels.numpy()


def fit(
    network: Network, inputs: Array, labels: Labels, val: tuple[Array, Labels], options: ScratchTrainOptions, folder: Path, say: Say
) -> tuple[dict[str, Array], Progress]:
    """Train ``network`` in place, going on where an interrupted run of the same settings stopped.

    Returns:
        The weights of the best epoch on the validation images (the last of several as good), and what happened.

    Raises:
        WorldError: the loss stopped being a number.
    """
    best, progress = network.copied(), Progress()
    if options.resume and (folder / STATE).is_file():
        best, progress = _restored(folder / STATE, network)
        say(f"going on after epoch {progress.epoch} of {options.epochs}")
    _write_history(folder, progress.history)
    while progress.epoch < options.epochs:
        started = time.perf_counter()
        order = np.random.default_rng(derive(options.seed, 0, progress.epoch)).permutation(len(labels))
        words = f"epoch {progress.epoch + 1}/{options.epochs}"
        with tqdm(total=len(order), desc=words, unit=" images", leave=False, disable=None) as bar:
            loss, right = epoch(network, inputs, labels, order, options.batch_size, options.lr, bar.update)
        speed = len(order) / (time.perf_counter() - started)
        with np.errstate(all="ignore"):
            logits = network.logits(val[0])
            val_loss = cross_entropy_of_logits(logits, val[1])
        if not (math.isfinite(loss) and math.isfinite(val_loss)):
            raise WorldError(
                f"the loss stopped being a number in epoch {progress.epoch + 1}, at learning rate {options.lr:g}; a smaller --lr helps"
            )
        progress.epoch += 1
        progress.seconds += time.perf_counter() - started
        record = {"loss": loss, "accuracy": right, "val_loss": val_loss, "val_accuracy": accuracy(logits, val[1]), "lr": options.lr}
        timing = {"images_per_second": round(speed, 1), "seconds": round(progress.seconds, 3)}
        progress.history.append({"epoch": progress.epoch, **record, **timing})
        if not progress.best_epoch or record["val_accuracy"] >= progress.history[progress.best_epoch - 1]["val_accuracy"]:
            best, progress.best_epoch = network.copied(), progress.epoch
        parts = {"now": network.parameters, "best": best}
        _weights.store(
            folder / STATE, {f"{part}.{name}": array for part, held in parts.items() for name, array in held.items()}, asdict(progress)
        )
        _write_history(folder, progress.history)
    return best, progress


def _restored(path: Path, network: Network) -> tuple[dict[str, Array], Progress]:
    """Put back the network as it was, and hand out the best one so far."""
    arrays, said = _weights.read(path)
    best = {name.removeprefix("best."): array for name, array in arrays.items() if name.startswith("best.")}
    try:
        network.load({name.removeprefix("now."): array for name, array in arrays.items() if name.startswith("now.")})
        return best, Progress(**said)
    except (TypeError, ValueError) as error:
        raise WorldError(f"{path} cannot be resumed from ({error}); --overwrite starts over") from error


def _write_history(folder: Path, history: Sequence[dict[str, float]]) -> None:
    write_text(folder / HISTORY, "".join(json.dumps(record, allow_nan=False) + "\n" for record in history))


def _report(metrics: dict[str, Any], folder: Path, say: Say) -> None:
    lines = [
        ["test accuracy", percent(metrics["test_accuracy"])],
        ["validation accuracy", percent(metrics["val_accuracy"])],
        ["kept epoch", f"{metrics['best_epoch']} of {metrics['epochs']}"],
        ["parameters", f"{metrics['parameters']:,}"],
        ["seconds", f"{metrics['seconds']:.1f}"],
    ]
    say(table([f"{metrics['model']} by hand on {metrics['dataset']}, lr {metrics['lr']:g}", ""], lines))
    say(f"in {folder}: {WEIGHTS}, metrics.json, {HISTORY}, config.yaml, curves.png, confusion.png")
