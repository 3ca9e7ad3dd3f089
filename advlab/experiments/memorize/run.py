"""``advlab memorize MODEL``: train on random labels and on true ones, and compare the accuracy on
test images."""

from __future__ import annotations

import json
import time
from pathlib import Path

from advlab.config.resolve import Config, Plan
from advlab.data import load_images as datasets
from advlab.data.image_set import Images, ImageSet, take
from advlab.experiments.fitting import carry_out_training
from advlab.experiments.grid import run_plan
from advlab.experiments.memorize.figures import conclude, draw
from advlab.experiments.memorize.study import halves, study
from advlab.experiments.starting import check_weights
from advlab.logs import logger
from advlab.results.memorize import Accuracies, MemorizeResult
from advlab.runs.files import write_text
from advlab.runs.machine import Machine, prepare
from advlab.runs.results import Finished, SplitSizes
from advlab.runs.table import percent, table


def main(plan: Plan) -> int:
    """Run every cell of the plan; exit status 0 where all of them finished."""
    return run_plan(
        plan, run, conclude, check=lambda cell: check_weights(cell.component, cell.options)
    )


def run(config: Config) -> Finished[MemorizeResult]:
    """One seed's study, unless it is there already.

    Raises:
        UsageError: there are fewer training images than asked for.
        EnvironmentFailure: the loss stopped being a number.
    """
    options = config.options
    data = datasets.load_to_train(options)
    config = config.changed(dataset=data.name)
    train = take(data.train, options.train_size, options.seed)
    return carry_out_training(
        config,
        data,
        len(train),
        MemorizeResult,
        lambda settled, folder: _measure(settled, train, data, folder),
        _report,
    )


def _measure(config: Config, train: Images, data: ImageSet, folder: Path) -> MemorizeResult:
    options = config.options
    machine = prepare(options)
    if options.precision == "auto":  # so few images gain nothing from anything shorter
        machine = Machine(machine.device, "fp32")
    started = time.perf_counter()
    task = f"{len(train):,} images, {halves(data.classes)}"
    logger.info(
        f"{config.component}: {task}, {machine.precision} on {machine.device}, seed {options.seed}"
    )
    trainings = study(config.component, options, train, data, machine)
    first, last = trainings[0].point, trainings[-1].point
    result = MemorizeResult(
        command="memorize",
        component=config.component,
        dataset=data.name,
        origin=data.origin,
        data_sha256=data.sha256(),
        model=config.component,
        seed=options.seed,
        seconds=round(time.perf_counter() - started, 4),
        machine=machine.describe(),
        **last.model_dump(),
        true_task=halves(data.classes),
        true_labels=Accuracies(**first.model_dump(include=set(Accuracies.model_fields))),
        points=[training.point for training in trainings],
        examples=SplitSizes(train=len(train), val=0, test=len(data.test)),
    )
    lines = [
        json.dumps({"random_fraction": training.point.random_fraction, **record})
        for training in trainings
        for record in training.history
    ]
    write_text(folder / "history.jsonl", "".join(f"{line}\n" for line in lines))
    draw(folder, result, trainings)
    return result


def _report(result: MemorizeResult) -> None:
    rows = []
    for point in result.points:
        low, high = point.test_interval
        rows.append(
            [
                f"{100 * point.random_fraction:g} %",
                "never" if point.epochs_to_fit is None else str(point.epochs_to_fit),
                f"{point.train_loss:.2g}",
                percent(point.train_accuracy),
                percent(point.test_accuracy),
                f"{100 * low:.2f} to {100 * high:.2f} %",
                percent(point.test_accuracy_on_true_labels),
            ]
        )
    head = [
        "random labels",
        "epochs to fit",
        "training loss",
        "training accuracy",
        "test, random labels",
        "95 % interval",
        "test, true labels",
    ]
    logger.info(
        f"{result.model} on {result.examples.train:,} images of {result.dataset}; true labels: "
        f"{result.true_task}"
    )
    logger.info(table(head, rows))
    logger.info(
        "epochs to fit: the first with every training image right, as it was trained on or in the "
        "evaluation after it; accuracies are of the network after its last epoch with the most "
        "training images right"
    )
