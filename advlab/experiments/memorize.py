"""``advlab memorize MODEL``: train on labels that a coin has drawn, beside the true ones, and see what is left on test images."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from advlab.config.resolve import Config, Plan
from advlab.datasets import _load as datasets
from advlab.datasets._set import ImageSet, take
from advlab.experiments._fitting import epochs_of
from advlab.experiments._grid import run_plan
from advlab.experiments._memorize_pictures import conclude, draw
from advlab.experiments._memorize_study import Point, halves, study
from advlab.runs.files import write_text
from advlab.runs.folder import RunFolder, automatic_name
from advlab.runs.machine import Machine, prepare
from advlab.runs.table import percent, table

Say = Callable[[str], None]


def main(plan: Plan) -> int:
    """Run every cell of the plan; exit status 0 where all of them finished."""
    return run_plan(plan, run, headline="test_accuracy", conclude=conclude)


def run(config: Config, say: Say = print) -> dict[str, Any]:
    """One seed's study, unless it is there already.

    Returns:
        The run's metrics, with its folder under ``folder``.

    Raises:
        UserError: there are fewer training images than asked for.
        WorldError: the loss stopped being a number.
    """
    options = config.options
    data = datasets.load(options)
    config = config.changed(dataset=data.name)
    train = data.train if options.train_size is None else take(data.train, options.train_size, options.seed)
    config = config.changed(epochs=epochs_of(options, len(train)))
    options = config.options
    folder = RunFolder(config, automatic_name(config))
    folder.check_unchanged()
    say(data.introduction())
    if folder.finished and not options.overwrite:
        metrics = folder.metrics()
        say(f"{folder.path} is finished already (--overwrite runs it again)")
        _report(metrics, folder.path, say)
        return {**metrics, "folder": str(folder.path)}
    machine = prepare(options)
    if options.precision == "auto":  # so few images gain nothing from anything shorter
        machine = Machine(machine.device, "fp32")
    with folder.claim():
        started = time.perf_counter()
        task = f"{len(train):,} images, {halves(data.classes)}"
        say(f"{config.component}: {task}, {machine.precision} on {machine.device}, seed {options.seed}")
        points = study(config.component, options, train, data, machine)
        metrics = _metrics(config, points, len(train), data, machine)
        metrics["seconds"] = round(time.perf_counter() - started, 4)
        lines = [json.dumps({"share": point.figures["share"], **record}) for point in points for record in point.history]
        write_text(folder.path / "history.jsonl", "".join(f"{line}\n" for line in lines))
        draw(folder.path, metrics, points)
        folder.finish(metrics)
    _report(metrics, folder.path, say)
    return {**metrics, "folder": str(folder.path)}


def _metrics(config: Config, points: list[Point], trained_on: int, data: ImageSet, machine: Machine) -> dict[str, Any]:
    """The figures of the largest share at the top, those of the true labels beside them, and all points."""
    first, last = points[0].figures, points[-1].figures
    return {
        "command": "memorize",
        "model": config.component,
        "dataset": data.name,
        "origin": data.origin,
        **last,
        "true_task": halves(data.classes),
        "true_labels": {key: first[key] for key in ("train_accuracy", "train_loss", "test_accuracy", "test_interval", "epochs_to_fit")},
        "shares": [point.figures for point in points],
        "images": {"train": trained_on, "test": len(data.test)},
        "seed": config.options.seed,
        "data_sha256": data.sha256(),
        "machine": machine.describe(),
    }


def _report(metrics: dict[str, Any], folder: Path, say: Say) -> None:
    rows = []
    for point in metrics["shares"]:
        low, high = point["test_interval"]
        rows.append(
            [
                f"{100 * point['share']:g} %",
                "never" if point["epochs_to_fit"] is None else str(point["epochs_to_fit"]),
                f"{point['train_loss']:.2g}",
                percent(point["train_accuracy"]),
                percent(point["test_accuracy"]),
                f"{100 * low:.2f} to {100 * high:.2f} %",
                percent(point["test_accuracy_on_true_labels"]),
            ]
        )
    head = ["random labels", "epochs to fit", "training loss", "training", "test, drawn likewise", "95 % interval", "test, true labels"]
    say(f"{metrics['model']} on {metrics['images']['train']:,} images of {metrics['dataset']}; true labels: {metrics['true_task']}")
    say(table(head, rows))
    say(f"in {folder}: metrics.json, history.jsonl, config.yaml, curves.png, shares.png")
