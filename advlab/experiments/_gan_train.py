"""``advlab gan``: load, pair, play, measure, draw, write."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from advlab.config.gan import GanOptions
from advlab.config.resolve import Config
from advlab.datasets import _load as datasets
from advlab.datasets._set import ImageSet
from advlab.errors import UserError, WorldError
from advlab.experiments._gan_measure import Measurement, check_measurable, imitated
from advlab.experiments._gan_pictures import draw, draw_grid
from advlab.experiments._victim import Subject
from advlab.experiments._yardstick import kept_beside, ready, yardstick_subject
from advlab.gan import _checkpoint
from advlab.gan._card import FILE, Card
from advlab.gan._inception import Inception
from advlab.gan._pair import card_of, made, needed
from advlab.gan._play import Progress, pace_of, play
from advlab.runs.folder import RunFolder, automatic_name
from advlab.runs.machine import Machine, derive, prepare
from advlab.runs.table import percent, table
from advlab.training import checkpoint


def run(config: Config, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Train one generator, unless its run is there already.

    Returns:
        The run's metrics, with its folder under ``folder``.
    """
    data = datasets.load(config.options)
    config = config.changed(dataset=data.name)
    options: GanOptions = config.options
    card = card_of(options, data.shape, data.classes, data.name)
    needed(card, options.batch_size)  # refuses what cannot be made
    if options.yardstick is not None:
        yardstick_subject(options, data, say)  # or what cannot be measured with
    pixels, held_out = imitated(options, data)
    check_measurable(options, pixels, held_out, data)
    if len(pixels) < options.batch_size:
        raise UserError(f"--batch-size {options.batch_size}: there are {len(pixels):,} images to train on; a batch must be whole")
    name = automatic_name(config)
    pace = pace_of(options, len(pixels))
    config = config.changed(epochs=pace.epochs)
    folder = RunFolder(config, name)
    folder.check_unchanged()
    say(data.introduction())
    if folder.finished and not options.overwrite:
        folder.tidy()
        return _finished(folder, say)
    machine = _machine(options)
    inception = None if options.inception is None else Inception(Path(options.inception), machine.device)
    torch.manual_seed(derive(options.seed, 10))
    pair = made(card, options.batch_size, machine.device)
    with folder.claim():
        if folder.finished:  # by another process, while this one was getting here
            return _finished(folder, say)
        started = time.perf_counter()
        subject = yardstick_subject(options, data, say)
        measurement = Measurement(options, ready(subject, machine), pixels, held_out, inception)
        kept_beside(folder.path, subject)
        size = {part: sum(p.numel() for p in getattr(pair, part).parameters()) for part in ("generator", "discriminator")}
        say(
            f"{card.arch}: generator {size['generator']:,} parameters, discriminator {size['discriminator']:,}, "
            f"{len(pixels):,} images, {pace.epochs} epochs, {machine.precision} on {machine.device}, seed {options.seed}"
        )

        def picture(epoch: int, images: Tensor) -> None:
            draw_grid(folder.path, epoch, images, card, data, options)

        progress = play(pair, card, pixels, options, pace, machine, folder.path, measurement.look, picture, say)
        metrics = _measured(config, card, data, pixels, subject, measurement, progress, machine, folder.path)
        metrics["parameters"] = size["generator"]
        metrics["parameters_of"] = size
        metrics["total_seconds"] = round(time.perf_counter() - started, 4)
        draw(folder.path, metrics, progress, measurement, data, card)
        folder.finish(metrics)
    _report(metrics, folder.path, say)
    return {**metrics, "folder": str(folder.path)}


def _machine(options: GanOptions) -> Machine:
    """As asked for. Half precision that needs its losses scaled is no help to two networks that shift all the time."""
    machine = prepare(options)
    if machine.precision != "fp16":
        return machine
    if options.precision == "fp16":
        raise UserError("--precision fp16: a game of two networks runs in bf16 or fp32 here")
    return Machine(machine.device, "fp32")


def _measured(
    config: Config,
    card: Card,
    data: ImageSet,
    pixels: Tensor,
    subject: Subject,
    measurement: Measurement,
    progress: Progress,
    machine: Machine,
    folder: Path,
) -> dict[str, Any]:
    """The figures of the generator that was kept, as its file holds it."""
    options = config.options
    pair, _, file = _checkpoint.load(folder)
    pair.to(machine.device)
    try:
        figures, generated = measurement.final(pair)
    except ValueError as error:
        raise WorldError(f"the generator of epoch {progress.kept} cannot be measured: {error}") from error
    look = next(one for one in progress.looks if one["epoch"] == progress.kept)
    return {
        "command": "gan",
        "action": "train",
        "arch": card.arch,
        "zdim": card.zdim,
        "loss": card.loss,
        "dataset": data.name,
        "origin": data.origin,
        **figures,
        "yardstick": {**subject.describe(), "val_accuracy": subject.card.training.get("val_accuracy")},
        "classes_generated": (generated.counts().double() / len(generated.features)).tolist(),
        "classes_real": (measurement.reference.counts().double() / len(measurement.reference.features)).tolist(),
        "collapsed": bool(look["collapsed"]) or bool(progress.stopped),
        "signs": progress.signs,
        "stopped": progress.stopped or None,
        "epochs": progress.epoch,
        "kept_epoch": progress.kept,
        "steps": len(progress.steps["loss_d"]),
        "images_per_second": sorted(record["images_per_second"] for record in progress.history)[len(progress.history) // 2],
        "images": len(pixels),
        "images_from": options.images,
        "seed": options.seed,
        "data_sha256": data.sha256(),
        "checkpoint": FILE,
        "checkpoint_sha256": checkpoint.sha256(file),
        "seconds": round(progress.seconds, 4),
        "machine": machine.describe(),
    }


def _finished(folder: RunFolder, say: Callable[[str], None]) -> dict[str, Any]:
    metrics = folder.metrics()
    say(f"{folder.path} is finished already (--overwrite runs it again)")
    for sign in metrics["signs"]:
        say(f"ALARM, epoch {sign['epoch']}: {sign['name']}: {sign['words']}")
    if metrics["stopped"]:
        say(metrics["stopped"])
    _report(metrics, folder.path, say)
    return {**metrics, "folder": str(folder.path)}


def _report(metrics: dict[str, Any], folder: Path, say: Callable[[str], None]) -> None:
    counts = metrics["measured_images"]
    rows = [
        ["FID", f"{metrics['fid']:.3f}", f"{metrics['fid_floor']:.3f}"],
        ["KID × 1000", _thousandths(metrics, ""), _thousandths(metrics, "_floor")],
        ["precision", percent(metrics["precision"]), percent(metrics["precision_floor"])],
        ["recall", percent(metrics["recall"]), percent(metrics["recall_floor"])],
        ["inception score", f"{metrics['inception_score']:.3f}", f"{metrics['inception_score_floor']:.3f}"],
        ["classes made", f"{metrics['modes']:,}", f"{metrics['real_modes']:,}"],
        ["worst class, off its share by", percent(metrics["imbalance"]), ""],
    ]
    if "fid_inception" in metrics:
        rows.append(["FID, Inception v3", f"{metrics['fid_inception']:.3f}", f"{metrics['fid_inception_floor']:.3f}"])
    say(table([f"{metrics['arch']} on {metrics['dataset']}, epoch {metrics['kept_epoch']}", "generated", "real, held out"], rows))
    judge = metrics["yardstick"]
    say(
        f"on the last hidden layer of {judge['model']} {judge['sha256'][:12]}, {counts['generated']:,} images of each beside "
        f"{counts['reference']:,} others; {metrics['images_per_second']:,.0f} images/s, {metrics['seconds']:.0f} s"
    )
    say(f"in {folder}: {', '.join(sorted(path.name for path in folder.iterdir() if path.suffix in ('.png', '.gif', '.safetensors')))}")


def _thousandths(metrics: dict[str, Any], suffix: str) -> str:
    """Kernel distance × 1000, with its deviation over subsets where there are several."""
    deviation = metrics[f"kid{suffix}_std"]
    value = f"{1000 * metrics[f'kid{suffix}']:.2f}"
    return value if deviation is None else f"{value} ± {1000 * deviation:.2f}"
