"""The report of a training on images or texts."""

from __future__ import annotations

from advlab.config.resolve import Config
from advlab.data.image_set import ImageSet
from advlab.data.text_set import TextSet
from advlab.experiments.fitting import Fitted
from advlab.logs import logger
from advlab.metrics.classification import majority_warning
from advlab.metrics.intervals import with_interval
from advlab.networks.classifier import count_parameters
from advlab.results.train import TrainResult
from advlab.runs.machine import Machine
from advlab.runs.table import percent, table


def train_result(
    config: Config, data: ImageSet | TextSet, fitted: Fitted, machine: Machine
) -> TrainResult:
    """The result of a training."""
    return TrainResult(
        command="train",
        component=config.component,
        dataset=data.name,
        origin=data.origin,
        data_sha256=data.sha256(),
        model=config.component,
        parameters=count_parameters(fitted.network),
        seed=config.options.seed,
        seconds=round(fitted.progress.seconds, 4),
        machine=machine.describe(),
        weights=getattr(config.options, "weights", None),
        **fitted.figures.model_dump(),
    )


def report(result: TrainResult) -> None:
    """Print a training's result."""
    rows = [
        ["test accuracy", with_interval(result.test_accuracy, result.examples.test)],
        ["validation accuracy", percent(result.val_accuracy)],
        ["kept epoch", f"{result.best_epoch} of {result.epochs}"],
        ["parameters", f"{result.parameters:,}"],
        ["seconds", f"{result.seconds:.1f}"],
        *([["weights to start from", result.weights]] if result.weights else []),
    ]
    logger.info(table([f"{result.model} on {result.dataset}", ""], rows))
    warning = majority_warning(
        "the network",
        result.test_accuracy,
        result.majority_accuracy,
        result.examples.test,
        f"test {result.unit}",
    )
    if warning:
        logger.info(f"WARNING: {warning}")
