"""``advlab contrast``: load, make, train without labels, judge the frozen encoder, draw, write."""

from __future__ import annotations

import copy
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from advlab.augmentation.views import Views
from advlab.config.contrast import ContrastOptions
from advlab.config.resolve import Config, Plan
from advlab.contrastive import _checkpoint
from advlab.contrastive._card import FILE, Card
from advlab.contrastive._loop import STATE, Progress, train
from advlab.contrastive._network import Contrast
from advlab.contrastive._nt_xent import lower_bound, uninformed
from advlab.contrastive._rivals import supervised, untrained
from advlab.contrastive._settled import card_of, epochs_of, views_of
from advlab.datasets import _load as datasets
from advlab.datasets._set import Images, ImageSet, take
from advlab.experiments._contrast_judged import Features, features_of, judged, own_accuracy, pixels_judged, spread_of
from advlab.experiments._contrast_pictures import draw
from advlab.experiments._fitting import channel_statistics
from advlab.experiments._grid import run_plan
from advlab.models._network import count_parameters
from advlab.networks.layout import place
from advlab.runs.folder import RunFolder, automatic_name
from advlab.runs.machine import Machine, derive, prepare
from advlab.runs.table import percent, table
from advlab.training import checkpoint

_SUPERVISED = "supervised"


def main(plan: Plan) -> int:
    """Run every cell of the plan; exit status 0 where all of them finished."""
    return run_plan(plan, run, headline="knn_accuracy")


def run(config: Config, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Train one encoder, unless its run is there already.

    Returns:
        The run's metrics, with its folder under ``folder``.
    """
    data = datasets.load(config.options)
    config = config.changed(dataset=data.name)
    options: ContrastOptions = config.options
    card = card_of(options, data.shape, data.classes, data.name)
    images = data.train if options.train_size is None else take(data.train, options.train_size, options.seed)
    name = automatic_name(config)
    config = config.changed(epochs=epochs_of(options, len(images)))
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
        if options.overwrite or not options.resume:
            shutil.rmtree(folder.path / _SUPERVISED, ignore_errors=True)
        metrics = _contrast(card, options, images, data, machine, folder, say)
    return {**metrics, "folder": str(folder.path)}


def _contrast(
    card: Card, options: ContrastOptions, images: Images, data: ImageSet, machine: Machine, folder: RunFolder, say: Callable[[str], None]
) -> dict[str, Any]:
    started = time.perf_counter()
    views = views_of(options, data.shape[0])
    torch.manual_seed(derive(options.seed, 32))
    network = Contrast(card, *channel_statistics(images))
    place(network, machine.device)
    fresh = copy.deepcopy(network.encoder)
    say(
        f"{card.encoder}, width {card.width}: {count_parameters(network.encoder):,} parameters, and {count_parameters(network.head):,} in "
        f"the projection head; {len(images):,} training images, {options.epochs} epochs, {machine.precision} on {machine.device}, "
        f"seed {options.seed}"
    )
    progress = train(network, images.pixels, views, options, machine, folder.path, say)
    _keep(folder.path, network, card, options, progress)
    kept, _ = _checkpoint.load(folder.path)
    metrics, pictured = _judged(kept, fresh, images, views, options, data, machine, folder.path, say)
    metrics = {
        "command": "contrast",
        "method": "simclr",
        "encoder": card.encoder,
        "width": card.width,
        "projection": list(card.projection),
        "dataset": data.name,
        "origin": data.origin,
        **metrics,
        **_trained(progress, options),
        "views": vars(views),
        "seed": options.seed,
        "parameters": count_parameters(kept.encoder),
        "images": {"train": len(images), "val": len(data.val), "test": len(data.test)},
        "data_sha256": data.sha256(),
        "checkpoint": FILE,
        "checkpoint_sha256": checkpoint.sha256(folder.path / FILE),
        "seconds": round(progress.seconds, 4),
        "total_seconds": round(time.perf_counter() - started, 4),
        "machine": machine.describe(),
    }
    draw(folder.path, metrics, progress, pictured, images, data, views, options)
    folder.finish(metrics)
    (folder.path / _SUPERVISED / STATE).unlink(missing_ok=True)
    _report(metrics, folder.path, say)
    return metrics


def _keep(folder: Path, network: Contrast, card: Card, options: ContrastOptions, progress: Progress) -> None:
    """The last epoch's networks: there is no epoch to choose without labels."""
    figures = {"seed": options.seed, "epochs": progress.epoch, "loss": progress.history[-1]["loss"]}
    _checkpoint.save(folder / FILE, network, card.model_copy(update={"training": figures}))


def _judged(
    kept: Contrast,
    fresh: nn.Module,
    images: Images,
    views: Views,
    options: ContrastOptions,
    data: ImageSet,
    machine: Machine,
    folder: Path,
    say: Callable[[str], None],
) -> tuple[dict[str, Any], Features]:
    """The figures of the encoder that the file holds and of its rivals; and its features, for the pictures."""
    encoder = place(kept.encoder, machine.device)
    before = checkpoint.sha256_of(encoder)
    features = features_of(encoder, images, data, machine)
    figures: dict[str, Any] = {**judged(features, images, data, options), **spread_of(features.test, data.test.labels)}
    random = features_of(untrained(fresh, images.pixels, views, options, machine), images, data, machine)
    figures |= {f"random_{key}": value for key, value in judged(random, images, data, options).items()}
    raw = features_of(fresh, images, data, machine)
    figures |= {f"random_raw_{key}": value for key, value in judged(raw, images, data, options).items()}
    figures |= pixels_judged(images, data, options)
    if options.supervised:
        say("the same encoder with labels, to compare with")
        width = features.train.shape[1]
        rival, classifier, fitted = supervised(fresh, width, images, data.val, views, options, machine, folder / _SUPERVISED, say)
        of_rival = judged(features_of(rival, images, data, machine), images, data, options)
        figures |= {f"supervised_{key}": value for key, value in of_rival.items()}
        figures |= {"supervised_accuracy": own_accuracy(classifier, data, machine), "supervised_seconds": round(fitted.seconds, 4)}
    figures |= {"encoder_sha256_before": before, "encoder_sha256_after": checkpoint.sha256_of(encoder)}
    return figures, features


def _trained(progress: Progress, options: ContrastOptions) -> dict[str, Any]:
    """How the training went: the loss beside what it cannot go below, and what it is where nothing is known."""
    middle = len(progress.history) // 2
    return {
        "loss": progress.history[-1]["loss"],
        "first_loss": progress.losses[0],
        "loss_bound": lower_bound(options.batch_size, options.temperature),
        "loss_uninformed": uninformed(options.batch_size),
        "found": progress.history[-1]["found"],
        "temperature": options.temperature,
        "batch_size": options.batch_size,
        "accumulate": options.accumulate,
        "epochs": progress.epoch,
        "batches": len(progress.losses),
        "images_per_second": sorted(record["images_per_second"] for record in progress.history)[middle],
        "views_share_of_time": sorted(record["views_share"] for record in progress.history)[middle],
    }


def _finished(folder: RunFolder, say: Callable[[str], None]) -> dict[str, Any]:
    metrics = folder.metrics()
    say(f"{folder.path} is finished already (--overwrite runs it again)")
    _report(metrics, folder.path, say)
    return {**metrics, "folder": str(folder.path)}


def _report(metrics: dict[str, Any], folder: Path, say: Callable[[str], None]) -> None:
    rows = [
        ["SimCLR", percent(metrics["knn_accuracy"]), percent(metrics["probe_accuracy"])],
        ["untrained", percent(metrics["random_knn_accuracy"]), percent(metrics["random_probe_accuracy"])],
        ["untrained, statistics too", percent(metrics["random_raw_knn_accuracy"]), percent(metrics["random_raw_probe_accuracy"])],
        ["the pixels themselves", percent(metrics["pixels_knn_accuracy"]), ""],
    ]
    if "supervised_knn_accuracy" in metrics:
        rows.append(["trained with labels", percent(metrics["supervised_knn_accuracy"]), percent(metrics["supervised_probe_accuracy"])])
    say(table([f"{metrics['encoder']} on {metrics['dataset']}", "k-NN", "linear probe"], rows))
    say(
        f"NT-Xent {metrics['loss']:.4f} in the last epoch; knowing nothing it is {metrics['loss_uninformed']:.4f}, and it cannot go below "
        f"{metrics['loss_bound']:.4f}; {100 * metrics['found']:.1f} % of the views find their partner"
    )
    same = "unchanged" if metrics["encoder_sha256_before"] == metrics["encoder_sha256_after"] else "CHANGED"
    say(
        f"encoder {metrics['encoder_sha256_before'][:12]}, {same} by its judges; {metrics['images_per_second']:,.0f} images/s, "
        f"{metrics['seconds']:.0f} s"
    )
    say(f"in {folder}: {', '.join(sorted(path.name for path in folder.iterdir() if path.suffix in ('.png', '.safetensors')))}")
