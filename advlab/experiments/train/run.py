"""``advlab train``: train a network and measure it on the test set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from advlab.config.options.run import AugmentOptions, TrainOptions
from advlab.config.references import dataset_title
from advlab.config.registry import command_named
from advlab.config.resolve import Config, Plan
from advlab.data import load_images as datasets
from advlab.data.image_set import Images, ImageSet, take
from advlab.experiments.fitting import carry_out_training, fit_network, weighs_classes
from advlab.experiments.grid import run_plan
from advlab.experiments.starting import check_weights
from advlab.experiments.train import texts
from advlab.experiments.train.report import report, train_result
from advlab.metrics.classification import confusion_matrix
from advlab.networks.text import takes_texts
from advlab.plots.confusion import confusion
from advlab.plots.sheets import Tile, sheet
from advlab.plots.style import save
from advlab.plots.training import curves
from advlab.results.train import TrainResult
from advlab.runs.machine import prepare
from advlab.runs.results import Finished
from advlab.runs.table import percent
from advlab.training.augmented import Augmented
from advlab.training.fit import TrainingProgress
from advlab.training.objective import Objective

_MISTAKES = 24


def main(plan: Plan) -> int:
    """Run every cell of the plan; exit status 0 where all of them finished."""
    return run_plan(plan, run, check=lambda cell: check_weights(cell.component, cell.options))


def configuration(model: str, **values: Any) -> Config:
    """The configuration of ``advlab train model`` with these options, every other one at its
    default; the same as the command line makes, so that both name the same run."""
    return Config("train", model, command_named("train").options(model)(**values))


def run(config: Config) -> Finished[TrainResult]:
    """Train one network, unless its run is there already."""
    if takes_texts(config.component):
        return texts.run(config)
    data = datasets.load_to_train(config.options)
    config = config.changed(dataset=data.name)
    options: TrainOptions = config.options
    train = take(data.train, options.train_size, options.seed)
    return carry_out_training(
        config,
        data,
        len(train),
        TrainResult,
        lambda settled, folder: _measure(settled, train, data, folder),
        report,
    )


def _measure(config: Config, train: Images, data: ImageSet, folder: Path) -> TrainResult:
    options: TrainOptions = config.options
    machine = prepare(options)
    objective = _objective(options)
    fitted = fit_network(
        config.component, options, train, data, machine, folder, objective=objective
    )
    result = train_result(config, data, fitted, machine)
    draw(folder, result, fitted.progress, data, fitted.test_logits, options)
    return result


def _objective(options: TrainOptions) -> Objective:
    """The plain loss, on transformed images where any transformation is asked for."""
    none = AugmentOptions().model_dump()
    chosen = {key: getattr(options, key, default) for key, default in none.items()}
    if chosen == none:
        return Objective(options.label_smoothing)
    return Augmented(AugmentOptions(**chosen), options.label_smoothing)


def draw(
    folder: Path,
    result: TrainResult,
    progress: TrainingProgress,
    data: ImageSet,
    logits: Tensor,
    options: TrainOptions,
) -> None:
    """The pictures of a training: curves, confusion matrix, worst mistakes."""
    accuracy_text = f"test accuracy {percent(result.test_accuracy)}"
    source = result.examples.of(data.origin, len(data.train))
    caption = f"{source} · seed {result.seed} · {result.machine.precision} · {accuracy_text}"
    name = f"{result.model} on {dataset_title(data.name)}"
    drawn = curves(
        progress.history,
        progress.best_epoch,
        f"Training of {name}",
        caption,
        options.label_smoothing > 0,
        weighs_classes(options),
    )
    save(drawn, folder / "curves.png")
    labels, predicted = data.test.labels, logits.argmax(1)
    counts = confusion_matrix(labels, predicted, len(data.classes)).numpy()
    title = f"Confusion matrix: {name}, {len(labels):,} test images"
    save(confusion(counts, data.classes, title, caption), folder / "confusion.png")
    probabilities = nn.functional.softmax(logits, dim=1)
    wrong = (predicted != labels).nonzero().squeeze(1)
    surest = probabilities[wrong, predicted[wrong]].argsort(descending=True, stable=True)
    tiles = []
    for i in wrong[surest][:_MISTAKES].tolist():
        truth, answer = data.classes[labels[i]], data.classes[predicted[i]]
        probability = 100 * float(probabilities[i, predicted[i]])
        image = data.test.inputs(slice(i, i + 1), "cpu")[0].numpy()
        tiles.append(
            Tile(image, f"no. {i}: true {truth}\npredicted {answer} ({probability:.0f} %)")
        )
    title = f"{name}: no mistakes on {len(labels):,} test images"
    if tiles:
        selection = "the most confident first"
        if len(tiles) < len(wrong):
            selection = f"the {len(tiles)} most confident"
        title = f"{name}: {len(wrong):,} mistakes on {len(labels):,} test images, {selection}"
    save(sheet(tiles, title, caption), folder / "mistakes.png")
