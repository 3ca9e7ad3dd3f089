"""``advlab poison`` for image models: train on clean and poisoned images, compare, detect."""

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

from advlab.components import class_number, load_component
from advlab.config.references import dataset_title
from advlab.config.resolve import Config
from advlab.data import load_images as datasets
from advlab.data.image_set import Images, ImageSet, take
from advlab.errors import UsageError
from advlab.experiments.fitting import epochs_of, hidden_of, trained
from advlab.experiments.poison.detection import detections
from advlab.experiments.poison.summary import (
    Curve,
    rate_column,
    slug_of,
    summary_of,
    write_summaries,
)
from advlab.experiments.starting import starting_contents, starting_network
from advlab.metrics.classification import accuracy
from advlab.networks.classifier import count_parameters
from advlab.networks.layout import place
from advlab.plots.poison import against_rate
from advlab.plots.sheets import Tile, sheet
from advlab.plots.style import save
from advlab.poisoning.evidence import Evidence
from advlab.poisoning.images import (
    PoisonedImages,
    candidates,
    drawn_rows,
    patched,
    relabelled,
    with_patch,
)
from advlab.progress import progress_bar
from advlab.results.poison import ImageDetection, ImageFigures, ImagePoint, ImagePoisonResult
from advlab.runs.files import write_text
from advlab.runs.folder import automatic_name
from advlab.runs.lifecycle import Experiment, Log, carry_out
from advlab.runs.machine import Machine, derive, prepare
from advlab.runs.results import Finished, SplitSizes
from advlab.runs.table import percent, spread, table
from advlab.training.evaluate import logits_of

_SHOWN = 12


def run(config: Config, log: Log = print) -> Finished[ImagePoisonResult]:
    """One seed's study, unless it is there already.

    Raises:
        UsageError: there is no such class, or a method of detection needs texts.
    """
    options = config.options
    for name in options.detect or []:
        if (
            getattr(
                load_component("advlab.poisoning.detectors", name, "detection method"), "NEEDS", ""
            )
            == "texts"
        ):
            raise UsageError(f"--detect {name}: reads texts, and {config.component} takes images")
    data = datasets.load(options)
    config = config.changed(dataset=data.name)
    train = take(data.train, options.train_size, options.seed)
    target = _class(options.target, "--target", data, 0)
    source = (
        _class(options.source, "--source", data, (target + 1) % len(data.classes))
        if options.attack == "flip"
        else None
    )
    if source == target:
        raise UsageError("--source and --target are the same class; nothing would be flipped")
    name = automatic_name(config)
    settled = config.changed(
        target=data.classes[target],
        source=options.source if source is None else data.classes[source],
    )
    log(data.introduction())
    experiment = Experiment(
        config=settled,
        contents={"data": data.sha256(), **starting_contents(config.component, options)},
        result=ImagePoisonResult,
        measure=lambda folder: _measure(settled, data, train, target, source, folder, log),
        report=lambda result, folder: _report(result, folder, log),
        name=name,
    )
    return carry_out(experiment, log)


def _class(text: str | None, flag: str, data: ImageSet, usual: int) -> int:
    return usual if text is None else class_number(text, data.classes, flag)


@dataclass(frozen=True)
class _Trainer:
    """Trains one kind of network again and again, always from the same weights, and keeps its best
    epoch on the validation images."""

    name: str
    options: Any
    data: ImageSet
    machine: Machine

    def __call__(self, train: Images, log: Log = lambda line: None) -> nn.Module:
        """A network trained on these images, in evaluation mode; ``log`` is told of weights that
        stay random."""
        options = self.options.model_copy(
            update={"epochs": epochs_of(self.options, len(train)), "resume": False},
        )
        classes = len(self.data.classes)
        model = starting_network(self.name, options, self.data.shape, classes, train, log)
        place(model, self.machine.device)
        return trained(model, train, self.data.val, options, self.machine)

    def logits(self, model: nn.Module, images: Images) -> Tensor:
        """Logits (N, classes) in float32, on the CPU."""
        return logits_of(model, images, Machine(self.machine.device, "fp32"))

    def hidden(self, model: nn.Module, images: Images) -> Tensor:
        """What the last layer sees of each image, (N, D), on the CPU."""
        return hidden_of(model, images, Machine(self.machine.device, "fp32"))


def _measure(
    config: Config,
    data: ImageSet,
    train: Images,
    target: int,
    source: int | None,
    folder: Path,
    log: Log,
) -> ImagePoisonResult:
    options = config.options
    machine = prepare(options)
    started = time.perf_counter()
    trainer = _Trainer(config.component, options, data, machine)
    points, poisoned, parameters = _study(trainer, train, target, source, log)
    first, last = points[0], points[-1]
    result = ImagePoisonResult(
        command="poison",
        component=config.component,
        dataset=data.name,
        origin=data.origin,
        data_sha256=data.sha256(),
        model=config.component,
        parameters=parameters,
        seed=options.seed,
        seconds=round(time.perf_counter() - started, 4),
        machine=machine.describe(),
        attack=options.attack,
        target=data.classes[target],
        poison_rate=last.poison_rate,
        poisoned=last.poisoned,
        accuracy_before=first.accuracy,
        accuracy_after=last.accuracy,
        attack_success=last.attack_success,
        examples=SplitSizes(train=len(train), val=len(data.val), test=len(data.test)),
        classes=len(data.classes),
        source=None if source is None else data.classes[source],
        points=points,
    )
    lines = [
        json.dumps(line, ensure_ascii=False) + "\n" for line in poisoned.manifest(data.classes)
    ]
    write_text(folder / "manifest.jsonl", "".join(lines))
    _draw(folder, result, poisoned, data)
    return result


def _study(
    trainer: _Trainer,
    train: Images,
    target: int,
    source: int | None,
    log: Log,
) -> tuple[list[ImagePoint], PoisonedImages, int]:
    """Train at every rate.

    Returns:
        The points, the training images at the largest rate, and the network's number of parameters.
    """
    options, data = trainer.options, trainer.data
    rates = sorted({rate for rate in options.poison_rate if rate > 0})
    rows = candidates(train.labels, target, source)
    test_images = _test_images(data.test, target, source, options.patch)
    each = 1 + len(options.detect or [])
    with progress_bar(1 + each * len(rates), "poisoning", "trainings") as bar:
        model = trainer(train, log)
        bar.update()
        parameters = count_parameters(model)
        clean = _figures(trainer, model, test_images, target)
        points = [ImagePoint(**clean.model_dump(), poison_rate=0.0, poisoned=0, attack_success=0.0)]
        poisoned = PoisonedImages(
            train,
            torch.zeros(0, dtype=torch.int64),
            torch.zeros(0, dtype=torch.int64),
        )
        for rate in rates:
            chosen = drawn_rows(
                rows,
                rate,
                len(train) if source is None else len(rows),
                derive(options.seed, 30),
            )
            poisoned = (
                patched(train, chosen, target, options.patch)
                if source is None
                else relabelled(train, chosen, target)
            )
            model = trainer(poisoned.train)
            bar.update()
            after = _figures(trainer, model, test_images, target)
            detect = bool(options.detect)
            detected = (
                _detected(trainer, poisoned, model, test_images, target, bar.update)
                if detect
                else []
            )
            points.append(
                ImagePoint(
                    **after.model_dump(),
                    poison_rate=rate,
                    poisoned=len(chosen),
                    attack_success=after.success_rate - clean.success_rate,
                    detections=detected,
                )
            )
    return points, poisoned, parameters


def _draw(
    folder: Path,
    result: ImagePoisonResult,
    poisoned: PoisonedImages,
    data: ImageSet,
) -> None:
    """The first of the poisoned training images."""
    counts = f"{result.poisoned:,} of {result.examples.train:,} training images"
    words = f"{result.attack}, {counts}, to be taken for {result.target}"
    tiles = [
        Tile(
            poisoned.train.inputs(slice(row, row + 1), "cpu")[0].numpy(),
            f"no. {row}: true {data.classes[old]}\nlabelled {result.target}",
        )
        for row, old in zip(poisoned.rows.tolist()[:_SHOWN], poisoned.old.tolist(), strict=False)
    ]
    title = f"Training images of {dataset_title(data.name)} poisoned by {result.attack}, "
    title += f"towards {result.target}: {len(tiles)} of {result.poisoned:,}"
    save(
        sheet(tiles, title, f"{data.origin} · {words} · seed {result.seed}"),
        folder / "poisoned.png",
    )


def _test_images(test: Images, target: int, source: int | None, side: int) -> tuple[Images, Images]:
    """The test images; and those that the attack is after: with the patch, or of the source
    class."""
    if source is not None:
        return test, test.select((test.labels == source).nonzero().squeeze(1))
    others = test.select((test.labels != target).nonzero().squeeze(1))
    return test, Images(with_patch(others.pixels, side), others.labels)


def _figures(
    trainer: _Trainer,
    model: nn.Module,
    test_images: tuple[Images, Images],
    target: int,
) -> ImageFigures:
    test, after = test_images
    reached = trainer.logits(model, after).argmax(dim=1) == target
    return ImageFigures(
        accuracy=accuracy(trainer.logits(model, test), test.labels),
        success_rate=float(reached.double().mean()),
    )


def _detected(
    trainer: _Trainer,
    poisoned: PoisonedImages,
    model: nn.Module,
    test_images: tuple[Images, Images],
    target: int,
    done: Callable[[], object],
) -> list[ImageDetection]:
    """What each method finds, and what a network is worth that was trained without its suspects."""
    options = trainer.options

    def retrain(rows: Tensor, about: Tensor) -> Tensor:
        return trainer.logits(trainer(poisoned.train.select(rows)), poisoned.train.select(about))

    logits, hidden = trainer.logits(model, poisoned.train), trainer.hidden(model, poisoned.train)
    evidence = Evidence(poisoned.train.labels, logits, hidden, retrain, derive(options.seed, 35))

    def repaired(rows: Tensor) -> ImageFigures:
        return _figures(trainer, trainer(poisoned.train.select(rows)), test_images, target)

    results = detections(options.detect, evidence, poisoned.rows, options.budget, repaired, done)
    return [ImageDetection(**figures.model_dump(), repaired=after) for figures, after in results]


def _report(result: ImagePoisonResult, folder: Path, log: Log) -> None:
    rows = [
        [
            f"{100 * point.poison_rate:g} %",
            f"{point.poisoned:,}",
            percent(point.accuracy),
            percent(point.attack_success),
        ]
        for point in result.points
    ]
    log(f"{result.model} on {result.dataset}, {result.attack} towards {result.target}")
    log(table(["poison rate", "poisoned", "accuracy", "attack success"], rows))
    lines = [
        [
            detection.method,
            f"{detection.auroc:.3f}",
            f"{detection.auprc:.3f}",
            percent(detection.precision),
            percent(detection.repaired.success_rate - result.points[0].success_rate),
            f"{detection.clean_rows_lost:,}",
        ]
        for detection in result.points[-1].detections
    ]
    if lines:
        log(
            table(
                [
                    "detector",
                    "AUROC",
                    "AUPRC",
                    "precision",
                    "attack success, repaired",
                    "clean rows removed",
                ],
                lines,
            )
        )
    log(f"in {folder}: poisoned.png, manifest.jsonl, metrics.json")


def conclude(
    groups: Mapping[str, Sequence[Finished[ImagePoisonResult]]],
    folder: Path,
    caption: str,
) -> list[str]:
    """Over the seeds: the curve against the poison rate, and a table of it.

    Returns:
        Lines to print.
    """
    lines = []
    summaries = {}
    for label, finished in groups.items():
        members = [run.result for run in finished]
        curve: Curve = {}
        for result in members:
            for point in result.points:
                at = curve.setdefault(
                    point.poison_rate,
                    {"poisoned": [], "accuracy": [], "attack_success": []},
                )
                at["poisoned"].append(point.poisoned)
                at["accuracy"].append(point.accuracy)
                at["attack_success"].append(point.attack_success)
        rows = [
            [
                f"{100 * rate:g} %",
                f"{mean(at['poisoned']):.0f}",
                spread(at["accuracy"]),
                spread(at["attack_success"]),
            ]
            for rate, at in curve.items()
        ]
        lines.append(table([rate_column(label), "poisoned", "accuracy", "attack success"], rows))
        first = members[0]
        of = "all training images"
        if first.source is not None:
            of = f"the training images of {first.source}"
        drawn = against_rate(
            {"all test images": {rate: at["accuracy"] for rate, at in curve.items()}},
            {rate: at["attack_success"] for rate, at in curve.items()},
            first.classes,
            f"Poisoning by {first.attack} towards {first.target}: {first.model} on "
            f"{dataset_title(first.dataset)}",
            caption,
            examples="test images",
            attack="the patch" if first.source is None else "the flipped labels",
            setting=f"poison rate: part of {of} that is poisoned (%)",
        )
        save(drawn, folder / f"poison_rates{slug_of(label, groups)}.png")
        summaries[label] = summary_of(
            members,
            ("accuracy_before", "accuracy_after", "attack_success"),
        )
    write_text(folder / "poison_rates.md", "\n\n".join([*lines, caption]) + "\n")
    write_summaries(folder, summaries)
    return lines
