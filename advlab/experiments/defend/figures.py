"""Figures of ``advlab defend``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from advlab.augmentation.pipeline import augment
from advlab.config.options.run import AugmentOptions
from advlab.config.radii import eps_text, norm_name
from advlab.config.references import dataset_title
from advlab.data.image_set import Images, ImageSet
from advlab.experiments.defend.robustness import Answers, strongest
from advlab.experiments.defend.titles import defence_title
from advlab.metrics.classification import confusion_matrix
from advlab.metrics.intervals import interval
from advlab.perturbation.randomness import repeatable
from advlab.plots.confusion import side_by_side
from advlab.plots.defence import trade
from advlab.plots.sheets import Tile, sheet
from advlab.plots.style import save
from advlab.plots.training import curves
from advlab.results.defend import DefendResult
from advlab.results.smoothing import WITHOUT_NOISE
from advlab.runs.files import read_lines
from advlab.runs.machine import derive
from advlab.runs.table import counted

_TILES, _COLUMNS = 36, 6


def draw(
    folder: Path,
    result: DefendResult,
    before: Sequence[Answers],
    after: Sequence[Answers],
    attacked: Images,
    data: ImageSet,
    options: Any,
) -> None:
    """The trade, both confusion matrices under the strongest attack, and the training where there
    was one."""
    name = f"{result.model} on {dataset_title(data.name)}"
    ball = f"ε = {eps_text(result.eps[-1])} ({norm_name(result.norm)})"
    source = data.origin
    if result.training is not None:
        source = result.training.examples.of(source, len(data.train))
    caption = (
        f"{source} · {counted(len(attacked), 'test image')} · seed {result.seed} · "
        f"{result.machine.precision}"
    )
    if result.certified is not None:
        caption += f" · {WITHOUT_NOISE}"
    both = {"undefended": result.accuracies.undefended, "defended": result.accuracies.defended}
    bars = {
        who: {situation: [value] for situation, value in accuracies.items()}
        for who, accuracies in both.items()
    }
    if result.verdict is not None:
        bars["defended"][f"verdict of the\n{result.verdict.suite} suite (≤)"] = [
            result.verdict.robust_accuracy
        ]
    defence = defence_title(result.component, options)
    title = f"Accuracy without and with the defence '{defence}': {name}, {ball}"
    intervals = {
        who: {situation: interval(value, len(attacked)) for situation, (value,) in own.items()}
        for who, own in bars.items()
    }
    drawn = trade(bars, len(data.classes), title, caption, intervals=intervals)
    save(drawn, folder / "trade.png")
    tables = {}
    for who, answers in (("undefended", before), ("defended", after)):
        worst = strongest(answers, attacked.labels)
        counts = confusion_matrix(
            attacked.labels, worst.logits.argmax(1), len(data.classes)
        ).numpy()
        tables[
            f"{who}, {worst.situation.replace(chr(10), ' ')}: "
            f"{100 * worst.accuracy(attacked.labels):.1f} % right"
        ] = counts
    pair = side_by_side(
        tables,
        data.classes,
        f"Predictions under attack, undefended and defended: {name}, {ball}",
        caption,
        columns="prediction under attack",
    )
    save(pair, folder / "confusion.png")
    history = read_lines(folder / "history.jsonl")
    if history and result.training is not None:
        title = f"Training of {name} with the defence {defence}"
        save(
            curves(
                history,
                result.training.best_epoch,
                title,
                f"{source} · seed {result.seed} · {result.machine.precision}",
                options.label_smoothing > 0,
                objective=f"training loss of {defence}",
            ),
            folder / "curves.png",
        )
    if isinstance(options, AugmentOptions):
        title = f"Training images of {data.name} (left), and augmented versions of each"
        save(
            sheet(_examples(data, options), title, f"{data.origin} · seed {result.seed}"),
            folder / "augmented.png",
        )


def _examples(data: ImageSet, options: Any) -> list[Tile]:
    """Some training images as they are, each followed by what becomes of it."""
    rows = _TILES // _COLUMNS
    images = data.train.inputs(slice(0, rows))
    with repeatable(derive(options.seed, 5), images.device):
        drawn = [augment(images, options) for _ in range(_COLUMNS - 1)]
    return [
        Tile(version[row].numpy(), data.classes[data.train.labels[row]] if column == 0 else "")
        for row in range(len(images))
        for column, version in enumerate([images, *drawn])
    ]
