"""``advlab poison MODEL`` for images: train clean and poisoned, show both the patch, look for the poison, take it out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from advlab import names
from advlab.config.resolve import Config
from advlab.datasets import _load as datasets
from advlab.datasets._set import Images, ImageSet, take
from advlab.detection._evidence import Evidence
from advlab.errors import UserError
from advlab.experiments._fitting import channel_statistics, epochs_of, hidden_of, trained
from advlab.experiments._hunt import hunted
from advlab.metrics.classification import accuracy
from advlab.models._network import architecture_of, assemble
from advlab.networks.layout import place
from advlab.plots.poison import doses
from advlab.plots.sheets import Tile, sheet
from advlab.plots.style import save
from advlab.poisoning.images import PoisonedImages, candidates, dosed, patched, relabelled, with_patch
from advlab.runs.files import write_json, write_text
from advlab.runs.folder import RunFolder, automatic_name
from advlab.runs.machine import Machine, derive, prepare
from advlab.runs.table import percent, spread, table
from advlab.training.evaluate import logits_of

_SHOWN = 12

Say = Callable[[str], None]


def run(config: Config, say: Say = print) -> dict[str, Any]:
    """One seed's study, unless it is there already.

    Returns:
        The run's metrics, with its folder under ``folder``.

    Raises:
        UserError: no such class, or a method of detection that needs texts.
    """
    options = config.options
    for name in options.detect or []:
        if getattr(names.load("advlab.detection", name, "detection method"), "NEEDS", "") == "texts":
            raise UserError(f"--detect {name}: reads texts, and {config.component} takes images")
    data = datasets.load(options)
    config = config.changed(dataset=data.name)
    train = data.train if options.train_size is None else take(data.train, options.train_size, options.seed)
    target = _class(options.target, "--target", data, 0)
    source = _class(options.source, "--source", data, (target + 1) % len(data.classes)) if options.attack == "flip" else None
    if source == target:
        raise UserError("--source and --target are the same class; nothing would be flipped")
    name = automatic_name(config)
    folder = RunFolder(config, name)
    folder.check_unchanged()
    say(data.introduction())
    if folder.finished and not options.overwrite:
        say(f"{folder.path} is finished already (--overwrite runs it again)")
        metrics = folder.metrics()
        _report(metrics, folder.path, say)
        return {**metrics, "folder": str(folder.path)}
    machine = prepare(options)
    with folder.claim():
        started = time.perf_counter()
        trainer = _Trainer(config.component, config.options, data, machine)
        metrics = _study(trainer, train, target, source, folder.path)
        metrics |= {
            "origin": data.origin,
            "seed": options.seed,
            "seeds": 1,
            "data_sha256": data.sha256(),
            "machine": machine.describe(),
            "seconds": round(time.perf_counter() - started, 4),
        }
        folder.finish(metrics)
    _report(metrics, folder.path, say)
    return {**metrics, "folder": str(folder.path)}


def _class(text: str | None, flag: str, data: ImageSet, usual: int) -> int:
    return usual if text is None else names.class_number(text, data.classes, flag)


@dataclass(frozen=True)
class _Trainer:
    """Trains one kind of network again and again, always from the same weights, and keeps its best epoch on the validation images."""

    name: str
    options: Any
    data: ImageSet
    machine: Machine

    def __call__(self, train: Images) -> nn.Module:
        """A network trained on these images, in evaluation mode."""
        options = self.options.model_copy(update={"epochs": epochs_of(self.options, len(train)), "resume": False})
        torch.manual_seed(derive(options.seed, 3))
        model = assemble(
            self.name, architecture_of(self.name, options), self.data.shape, len(self.data.classes), *channel_statistics(train)
        )
        place(model, self.machine.device)
        return trained(model, train, self.data.val, options, self.machine)

    def logits(self, model: nn.Module, images: Images) -> Tensor:
        """Logits (N, classes) in float32, on the CPU."""
        return logits_of(model, images, Machine(self.machine.device, "fp32"))

    def hidden(self, model: nn.Module, images: Images) -> Tensor:
        """What the last layer sees of each image, (N, D), on the CPU."""
        return hidden_of(model, images, Machine(self.machine.device, "fp32"))


def _study(trainer: _Trainer, train: Images, target: int, source: int | None, folder: Path) -> dict[str, Any]:
    options, data = trainer.options, trainer.data
    levels = sorted({dose for dose in options.dose if dose > 0})
    rows = candidates(train.labels, target, source)
    asked = _asked(data.test, target, source, options.patch)
    each = 1 + len(options.detect or [])
    with tqdm(total=1 + each * len(levels), desc="trainings", leave=False, disable=None) as bar:
        points = [{"dose": 0.0, "flipped": 0, **_figures(trainer, trainer(train), asked, target)}]
        bar.update()
        poisoned = PoisonedImages(train, torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))
        for dose in levels:
            chosen = dosed(rows, dose, len(train) if source is None else len(rows), derive(options.seed, 30))
            poisoned = patched(train, chosen, target, options.patch) if source is None else relabelled(train, chosen, target)
            model = trainer(poisoned.train)
            bar.update()
            point = {"dose": dose, "flipped": len(chosen), **_figures(trainer, model, asked, target)}
            if options.detect:
                point["detection"] = _detected(trainer, poisoned, model, asked, target, bar)
            points.append(point)
    for point in points:
        point["attack_success"] = point["success"] - points[0]["success"]
    lines = [json.dumps(line, ensure_ascii=False) + "\n" for line in poisoned.manifest(data.classes)]
    write_text(folder / "manifest.jsonl", "".join(lines))
    words = f"{options.attack}, {points[-1]['flipped']:,} of {len(train):,} training images, to be taken for {data.classes[target]}"
    tiles = [
        Tile(
            poisoned.train.inputs(slice(row, row + 1), "cpu")[0].numpy(), f"no. {row}: {data.classes[old]}\nlabelled {data.classes[target]}"
        )
        for row, old in zip(poisoned.rows.tolist()[:_SHOWN], poisoned.old.tolist(), strict=False)
    ]
    save(sheet(tiles, "Poisoned training images", f"{data.origin} · {words} · seed {options.seed}"), folder / "poisoned.png")
    first, last = points[0], points[-1]
    metrics = {
        "command": "poison",
        "model": trainer.name,
        "dataset": data.name,
        "attack": options.attack,
        "target": data.classes[target],
        "source": None if source is None else data.classes[source],
        "classes": len(data.classes),
        "images": {"train": len(train), "val": len(data.val), "test": len(data.test)},
        "dose": last["dose"],
        "flipped": last["flipped"],
        "accuracy_before": first["accuracy"],
        "accuracy_after": last["accuracy"],
        "attack_success": last["attack_success"],
        "doses": points,
    }
    detection = last.get("detection")
    if detection:
        # Of every method: to name the best by the truth would choose it with what it is scored by.
        metrics |= {key: {method: said[key] for method, said in detection.items()} for key in ("auroc", "auprc")}
    return metrics


def _asked(test: Images, target: int, source: int | None, side: int) -> tuple[Images, Images]:
    """The test images; and those that the attack is after: with the patch, or of the source class."""
    if source is not None:
        return test, test.select((test.labels == source).nonzero().squeeze(1))
    others = test.select((test.labels != target).nonzero().squeeze(1))
    return test, Images(with_patch(others.pixels, side), others.labels)


def _figures(trainer: _Trainer, model: nn.Module, asked: tuple[Images, Images], target: int) -> dict[str, Any]:
    test, after = asked
    said = trainer.logits(model, after).argmax(dim=1)
    return {"accuracy": accuracy(trainer.logits(model, test), test.labels), "success": float((said == target).double().mean())}


def _detected(
    trainer: _Trainer, poisoned: PoisonedImages, model: nn.Module, asked: tuple[Images, Images], target: int, bar: Any
) -> dict[str, Any]:
    """What each method finds, and what a network is worth that was trained without its suspects."""
    options = trainer.options

    def judge(rows: Tensor, about: Tensor) -> Tensor:
        return trainer.logits(trainer(poisoned.train.select(rows)), poisoned.train.select(about))

    logits, hidden = trainer.logits(model, poisoned.train), trainer.hidden(model, poisoned.train)
    evidence = Evidence(poisoned.train.labels, logits, hidden, judge, derive(options.seed, 35))

    def repaired(rows: Tensor) -> dict[str, Any]:
        return _figures(trainer, trainer(poisoned.train.select(rows)), asked, target)

    return hunted(options.detect, evidence, poisoned.rows, options.budget, repaired, bar.update)


def _report(metrics: dict[str, Any], folder: Path, say: Say) -> None:
    rows = [
        [f"{100 * point['dose']:g} %", f"{point['flipped']:,}", percent(point["accuracy"]), percent(point["attack_success"])]
        for point in metrics["doses"]
    ]
    say(table([f"{metrics['model']} on {metrics['dataset']}, {metrics['attack']}", "poisoned", "accuracy", "success"], rows))
    detection = metrics["doses"][-1].get("detection")
    if detection:
        lines = [
            [
                name,
                f"{said['auroc']:.3f}",
                f"{said['auprc']:.3f}",
                percent(said["precision"]),
                percent(said["repaired"]["success"]),
                f"{said['clean_rows_lost']:,}",
            ]
            for name, said in detection.items()
        ]
        say(table(["found by", "AUROC", "AUPRC", "precision", "success, repaired", "clean rows lost"], lines))
    say(f"in {folder}: poisoned.png, manifest.jsonl, metrics.json")


def conclude(groups: Mapping[str, Sequence[dict[str, Any]]], folder: Path, caption: str) -> list[str]:
    """Over the seeds: the curve against the dose, and a table of it."""
    lines = []
    for label, members in groups.items():
        curve: dict[float, dict[str, list[float]]] = {}
        for metrics in members:
            for point in metrics["doses"]:
                at = curve.setdefault(point["dose"], {"accuracy": [], "attack_success": [], "flipped": []})
                for key in at:
                    at[key].append(point[key])
        rows = [
            [f"{100 * dose:g} %", f"{mean(at['flipped']):.0f}", spread(at["accuracy"]), spread(at["attack_success"])]
            for dose, at in curve.items()
        ]
        lines.append(table([label, "poisoned", "accuracy", "success"], rows))
        words = {"accuracy": "accuracy", "attack_success": "success of the attack"}
        series = {said: {dose: at[key] for dose, at in curve.items()} for key, said in words.items()}
        title = f"{members[0]['attack']}: accuracy and success against the dose, {members[0]['model']} on {members[0]['dataset']}"
        slug = "" if len(groups) == 1 else "-" + "".join(c if c.isalnum() else "_" for c in label)
        save(doses(series, title, caption, "dose: share of the images that are poisoned"), folder / f"doses{slug}.png")
    write_text(folder / "doses.md", "\n\n".join([*lines, caption]) + "\n")
    keys = ("seed", "dose", "accuracy_before", "accuracy_after", "attack_success")
    write_json(folder / "poison.json", {label: [{key: one[key] for key in keys} for one in members] for label, members in groups.items()})
    return lines
