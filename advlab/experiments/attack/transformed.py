"""``advlab attack`` by attacks that transform each image of a data set, in no Lp ball.

What they share is here: the run, its files, figures and table. Their own modules say what differs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

from matplotlib.figure import Figure
from torch import Tensor

from advlab.config.resolve import Config
from advlab.errors import UsageError
from advlab.evaluation.checks import log_failed
from advlab.experiments.attack import checks, photo
from advlab.experiments.attack.figures import (
    ROWS,
    caption_of,
    flipped_tasks,
    is_right,
    prediction,
    predictions_by_class,
    title_words,
)
from advlab.experiments.attack.outcome import not_attacked, rates, sizes_of, success_text
from advlab.experiments.attack.setting import Prepared, Setting, prepared, settle
from advlab.logs import logger
from advlab.metrics import perturbation as visible
from advlab.metrics.classification import predicted_classes
from advlab.metrics.intervals import with_interval
from advlab.perturbation.goal import Goal
from advlab.perturbation.randomness import ImageRandom
from advlab.perturbation.transformed import Outcome, Searched, attacked
from advlab.perturbation.victim import Victim
from advlab.plots.confusion import confusion
from advlab.plots.sheets import Attacked, Flip, flips
from advlab.plots.sheets import attacked as before_and_after
from advlab.plots.style import save
from advlab.results.attack import TransformedResult
from advlab.runs import sealed
from advlab.runs.lifecycle import Experiment, carry_out
from advlab.runs.results import Finished
from advlab.runs.table import counted, table

FILE = "images.safetensors"

R = TypeVar("R", bound=TransformedResult)


@dataclass(frozen=True)
class Example:
    """An image of a figure, (C, H, W), before and after, with its parameters and predictions, and
    the test image's own number."""

    clean: Tensor
    perturbed: Tensor
    parameters: Tensor
    before: str
    after: str
    number: int


@dataclass(frozen=True)
class Transformation(Generic[R]):
    """What an attack is, beside what all of them share.

    Attributes:
        attack: its file in ``advlab/attacks``, with ``search`` and ``unchanged``.
        result: the class of its result.
        does: what it does to images, in the third person, for a refusal.
        changed: what was done to the images that it changed, in a participle.
        stored: the name of the parameters in ``images.safetensors``.
        takes_gradients: whether it asks the network for gradients, and not for its answers alone.
        figures: from options, shape of an image, and the parameters of the changed images to the
            fields of the result that are its own.
        words: from the parameters of one image to what is said of them in a figure.
        columns: of the table, from their heads to the result's figure.
        remark: what the figures are of, from a result.
        draw: from examples, title and caption to a figure of the parameters, named as ``stored``;
            None for attacks whose parameters are said in words.
    """

    attack: ModuleType
    result: type[R]
    does: str
    changed: str
    stored: str
    takes_gradients: bool
    figures: Callable[[Any, tuple[int, ...], Tensor], Mapping[str, Any]]
    words: Callable[[Tensor], str]
    columns: Mapping[str, Callable[[R], float | None]]
    remark: Callable[[R], str]
    draw: Callable[[Sequence[Example], str, str], Figure] | None = None


def run(kind: Transformation[R], config: Config) -> Finished[R]:
    """Attack one network by transforming images, unless the run is there already.

    Raises:
        UsageError: a photo is named, or networks and images that are not there or do not fit.
    """
    if photo.is_meant(config.options):
        raise UsageError(
            f"{config.component}: {kind.does} images of a data set and no photos; name a set with "
            "--dataset, such as folder:PATH"
        )
    setting = settle(config)
    experiment = Experiment(
        config=setting.config,
        contents=setting.contents,
        result=kind.result,
        measure=lambda folder: _measure(kind, setting, folder),
        report=lambda result: _report(kind, result),
    )
    return carry_out(experiment)


def _measure(kind: Transformation[R], setting: Setting, folder: Path) -> R:
    options = setting.config.options
    start = prepared(setting, kind.takes_gradients)

    def search(victim: Victim, images: Tensor, goal: Goal, random: ImageRandom) -> Searched:
        searched: Searched = kind.attack.search(victim, images, goal, random, options)
        return searched

    outcome = attacked(
        search,
        start.victim,
        start.tasks,
        unchanged=kind.attack.unchanged(setting.data.shape),
        seed=options.seed,
        batch_size=options.batch_size,
        surrogate=start.source,
    )
    _save(kind, folder, outcome, start)
    result = _result(kind, setting, start, outcome)
    _draw(kind, folder, result, outcome, start, setting.data.classes)
    return result


def _save(kind: Transformation[R], folder: Path, outcome: Outcome, start: Prepared) -> None:
    tasks, searched = start.tasks, outcome.searched
    sealed.write_tensors(
        folder / FILE,
        {
            "perturbed": searched.images,
            kind.stored: searched.parameters,
            "queries": searched.queries,
            "index": tasks.numbers,
            "labels": tasks.images.labels[tasks.index],
            "goal": tasks.classes,
            "predicted": predicted_classes(outcome.logits),
        },
    )


def _result(kind: Transformation[R], setting: Setting, start: Prepared, outcome: Outcome) -> R:
    options = setting.config.options
    tasks, data, searched = start.tasks, setting.data, outcome.searched
    robust_accuracy, success_rate = rates(outcome.logits, outcome.reached, tasks, start.logits)
    changed = visible.norms(searched.images, start.clean)["linf"] > 0
    sizes = sizes_of(searched.images, start.clean, changed)
    attacked = int(outcome.attacked.sum())
    rate = attacked / outcome.seconds if attacked and outcome.seconds > 0 else None
    own = kind.figures(options, data.shape, searched.parameters[changed])
    return kind.result(
        command="attack",
        component=setting.config.component,
        dataset=data.name,
        origin=data.origin,
        data_sha256=data.sha256(),
        model=setting.target.record.model,
        seed=options.seed,
        seconds=round(outcome.seconds, 3),
        machine=start.machine.describe(),
        queries=float(searched.queries.sum()) / max(1, attacked),
        target=options.target,
        clean_accuracy=start.clean_accuracy,
        robust_accuracy=robust_accuracy,
        success_rate=success_rate,
        changed=int(changed.sum()),
        l2_mean=sizes.get("l2_mean"),
        psnr_mean=sizes.get("psnr_mean"),
        ssim_mean=sizes.get("ssim_mean"),
        attacked=attacked,
        images_per_second=None if rate is None else round(rate, 1),
        unusable_gradients=outcome.gradients.unusable,
        images=len(tasks.images),
        first_image=tasks.first,
        classes=len(data.classes),
        tasks=len(tasks),
        network=setting.target.record,
        surrogate=None if setting.surrogate is None else setting.surrogate.record,
        checks_failed={
            **start.doubts,
            **checks.finite(start.logits, outcome.logits, tasks),
            **checks.of_gradients(outcome.gradients, outcome.withstood, len(tasks)),
        },
        **own,
    )


def _draw(
    kind: Transformation[R],
    folder: Path,
    result: R,
    outcome: Outcome,
    start: Prepared,
    classes: Sequence[str],
) -> None:
    """Pairs, flipped predictions and the confusion matrix; of a single image, the pairs alone."""
    tasks, caption = start.tasks, caption_of(result)
    limits = result.threat.text()
    for unit in ("px", "%"):
        limits = limits.replace(f" {unit}", f"\N{NO-BREAK SPACE}{unit}")
    what = f"{title_words(result)}, {limits}"
    before = start.logits[tasks.index]
    single = len(tasks.images) == 1
    flipped = flipped_tasks(outcome.reached, tasks, before)
    examples = list(range(min(len(tasks), ROWS))) if single else flipped[:4]
    if examples:
        pictured = [
            Example(
                start.clean[task],
                outcome.searched.images[task],
                outcome.searched.parameters[task],
                prediction(before[task], classes),
                prediction(outcome.logits[task], classes),
                int(tasks.numbers[task]),
            )
            for task in examples
        ]
        pairs = [
            Attacked(
                example.clean.numpy(),
                example.perturbed.numpy(),
                example.before,
                example.after,
                kind.words(example.parameters),
                example.number,
            )
            for example in pictured
        ]
        save(before_and_after(pairs, what, caption), folder / "attacked.png")
        if kind.draw is not None:
            save(kind.draw(pictured, what, caption), folder / f"{kind.stored}.png")
    if single:
        return
    if flipped:
        rows = [_flip(kind, outcome, start, before, task, classes) for task in flipped[:ROWS]]
        save(flips(rows, f"Predictions flipped by {what}", caption), folder / "flipped.png")
    labels = tasks.images.labels[tasks.index]
    counts, left_out = predictions_by_class(labels, outcome.logits, len(classes))
    title = f"Predictions under {what}"
    caption = caption_of(result, count=len(tasks)) + left_out
    drawn = confusion(counts, classes, title, caption, columns="prediction under attack")
    save(drawn, folder / "confusion.png")


def _flip(
    kind: Transformation[R],
    outcome: Outcome,
    start: Prepared,
    before: Tensor,
    task: int,
    classes: Sequence[str],
) -> Flip:
    label = int(start.tasks.images.labels[start.tasks.index[task]])
    logits = (before[task], outcome.logits[task])
    return Flip(
        truth=classes[label],
        pixels=[start.clean[task].numpy(), outcome.searched.images[task].numpy()],
        said=[prediction(one, classes) for one in logits],
        right=[is_right(one, label) for one in logits],
        heads=["unattacked", kind.changed],
    )


def _figure(value: float) -> str:
    """Three digits, and more only of whole numbers: ``0.0524``, ``11,302``."""
    return f"{value:.3g}" if abs(value) < 999.5 else f"{value:,.0f}"


def _report(kind: Transformation[R], result: R) -> None:
    images = f"{counted(result.images, 'image')} of {result.dataset}"
    logger.info(f"clean accuracy {with_interval(result.clean_accuracy, result.images)} on {images}")
    figures = [
        *(figure(result) for figure in kind.columns.values()),
        result.l2_mean,
        result.psnr_mean,
        result.ssim_mean,
    ]
    row = [
        result.threat.text(),
        with_interval(result.robust_accuracy, result.images),
        success_text(result.success_rate, result),
        *("–" if figure is None else _figure(figure) for figure in figures),
        f"{result.queries:.1f}",
        f"{result.images_per_second:.0f}" if result.images_per_second else "–",
    ]
    heads = ["robust accuracy", "success", *kind.columns]
    heads += ["mean L2", "PSNR dB", "SSIM", "queries", "images/s"]
    logger.info(table([result.threat.kind, *heads], [row]))
    logger.info(
        f"{kind.remark(result)}; no Lp ball, so that the accuracy does not compare with one at an ε"
    )
    were = "was" if result.changed == 1 else "were"
    changed = f"the {counted(result.changed, 'image')} that {were} {kind.changed}"
    logger.info(
        "accuracies with their 95 % confidence intervals over the choice of images; queries are "
        f"means over the attacked images, the figures between success and queries over {changed}, "
        "broken or not"
    )
    if note := not_attacked(result):
        logger.info(note)
    log_failed(result.checks_failed)
