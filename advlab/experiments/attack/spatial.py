"""``advlab attack spatial`` on images of a data set: rotations and translations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from advlab.attacks import spatial
from advlab.config.resolve import Config
from advlab.errors import UsageError
from advlab.experiments.attack import photo
from advlab.experiments.attack.figures import (
    ROWS,
    caption_of,
    flipped_tasks,
    prediction,
    title_words,
)
from advlab.experiments.attack.outcome import rates, sizes_of
from advlab.experiments.attack.setting import Prepared, Setting, prepared, settle
from advlab.logs import logger
from advlab.metrics import perturbation as visible
from advlab.metrics.classification import confusion_matrix
from advlab.metrics.intervals import with_interval
from advlab.perturbation import motion
from advlab.perturbation.goal import Goal
from advlab.perturbation.motion import Outcome, Searched
from advlab.perturbation.randomness import ImageRandom
from advlab.perturbation.victim import Victim
from advlab.plots.confusion import confusion
from advlab.plots.sheets import Attacked, Flip, attacked, flips
from advlab.plots.style import save
from advlab.results.attack import SpatialAttackResult
from advlab.runs import sealed
from advlab.runs.lifecycle import Experiment, carry_out
from advlab.runs.results import Finished
from advlab.runs.table import counted, percent, table

FILE = "images.safetensors"


def run(config: Config) -> Finished[SpatialAttackResult]:
    """Attack one network with rotations and translations, unless the run is there already.

    Raises:
        UsageError: a photo is named, or networks and images that are not there or do not fit.
    """
    if photo.is_meant(config.options):
        raise UsageError(
            f"{config.component}: moves images of a data set and no photos; name a set with "
            "--dataset, such as folder:PATH"
        )
    setting = settle(config)
    experiment = Experiment(
        config=setting.config,
        contents=setting.contents,
        result=SpatialAttackResult,
        measure=lambda folder: _measure(setting, folder),
        report=_report,
    )
    return carry_out(experiment)


def _measure(setting: Setting, folder: Path) -> SpatialAttackResult:
    options: spatial.Options = setting.config.options
    start = prepared(setting, takes_gradients=False)

    def search(victim: Victim, images: Tensor, goal: Goal, random: ImageRandom) -> Searched:
        return spatial.search(victim, images, goal, random, options)

    outcome = motion.attacked(
        search,
        start.victim,
        start.tasks,
        seed=options.seed,
        batch_size=options.batch_size,
        surrogate=start.source,
    )
    _save(folder, outcome, start)
    result = _result(setting, start, outcome)
    _draw(folder, result, outcome, start, setting.data.classes)
    return result


def _save(folder: Path, outcome: Outcome, start: Prepared) -> None:
    tasks, searched = start.tasks, outcome.searched
    sealed.write_tensors(
        folder / FILE,
        {
            "perturbed": searched.images,
            "motions": searched.motions,
            "queries": searched.queries,
            "index": tasks.numbers,
            "labels": tasks.images.labels[tasks.index],
            "goal": tasks.classes,
            "predicted": outcome.logits.argmax(1),
        },
    )


def _result(setting: Setting, start: Prepared, outcome: Outcome) -> SpatialAttackResult:
    options: spatial.Options = setting.config.options
    tasks, data, searched = start.tasks, setting.data, outcome.searched
    robust_accuracy, success_rate = rates(outcome.logits, outcome.reached, tasks, start.logits)
    changed = visible.norms(searched.images, start.clean)["linf"] > 0
    sizes = sizes_of(searched.images, start.clean, changed)
    attacked = int(outcome.attacked.sum())
    motions = searched.motions[changed]
    rate = attacked / outcome.seconds if attacked and outcome.seconds > 0 else None
    return SpatialAttackResult(
        command="attack",
        component=setting.config.component,
        dataset=data.name,
        origin=data.origin,
        data_sha256=data.sha256(),
        model=setting.target.record.model,
        seed=options.seed,
        seconds=round(outcome.seconds, 3),
        machine=start.machine.describe(),
        threat=options.threat,
        search="grid" if options.tries is None else "random",
        candidates=_candidates(options),
        queries=float(searched.queries.sum()) / max(1, attacked),
        target=options.target,
        clean_accuracy=start.clean_accuracy,
        robust_accuracy=robust_accuracy,
        success_rate=success_rate,
        changed=int(changed.sum()),
        degrees_mean=float(motions[:, 0].abs().mean()) if len(motions) else None,
        shift_mean=float(motions[:, 1:].norm(dim=1).mean()) if len(motions) else None,
        l2_mean=sizes.get("l2_mean"),
        psnr_mean=sizes.get("psnr_mean"),
        ssim_mean=sizes.get("ssim_mean"),
        attacked=attacked,
        images_per_second=None if rate is None else round(rate, 1),
        images=len(tasks.images),
        classes=len(data.classes),
        tasks=len(tasks),
        network=setting.target.record,
        surrogate=None if setting.surrogate is None else setting.surrogate.record,
    )


def _candidates(options: spatial.Options) -> int:
    """How many motions there are to try on an image, the image as it is among them."""
    if options.tries is not None:
        return 1 + options.tries
    return len(motion.grid(options.degrees, options.shift, options.angles, options.shifts))


def _draw(
    folder: Path,
    result: SpatialAttackResult,
    outcome: Outcome,
    start: Prepared,
    classes: Sequence[str],
) -> None:
    """Pairs, flipped predictions and the confusion matrix; of a single image, the pairs alone."""
    tasks, caption = start.tasks, caption_of(result)
    limits = result.threat.text().replace(" px", "\N{NO-BREAK SPACE}px")
    what = f"{title_words(result)}, {limits}"
    before = start.logits[tasks.index]
    single = len(tasks.images) == 1
    flipped = flipped_tasks(outcome.reached, tasks, before)
    examples = list(range(min(len(tasks), ROWS))) if single else flipped[:4]
    if examples:
        pairs = [
            Attacked(
                start.clean[task].numpy(),
                outcome.searched.images[task].numpy(),
                prediction(before[task], classes),
                prediction(outcome.logits[task], classes),
                motion_text(outcome.searched.motions[task]),
            )
            for task in examples
        ]
        save(attacked(pairs, what, caption), folder / "attacked.png")
    if single:
        return
    if flipped:
        rows = [_flip(outcome, start, before, task, classes) for task in flipped[:ROWS]]
        save(flips(rows, f"Predictions flipped by {what}", caption), folder / "flipped.png")
    labels = tasks.images.labels[tasks.index]
    counts = confusion_matrix(labels, outcome.logits.argmax(1), len(classes)).numpy()
    drawn = confusion(
        counts, classes, f"Predictions under {what}", caption, columns="prediction under attack"
    )
    save(drawn, folder / "confusion.png")


def _flip(
    outcome: Outcome, start: Prepared, before: Tensor, task: int, classes: Sequence[str]
) -> Flip:
    label = int(start.tasks.images.labels[start.tasks.index[task]])
    logits = (before[task], outcome.logits[task])
    return Flip(
        truth=classes[label],
        pixels=[start.clean[task].numpy(), outcome.searched.images[task].numpy()],
        said=[prediction(one, classes) for one in logits],
        right=[int(one.argmax()) == label for one in logits],
        heads=["unattacked", "moved"],
    )


def motion_text(motions: Tensor) -> str:
    """A motion in words, such as ``-12°, 1.5 px ↓, 3 px ←``; counter-clockwise is positive.

    Args:
        motions: degrees, and pixels down and right, (3,).
    """
    degrees, down, right = (round(float(value), 1) for value in motions)
    parts = [f"{degrees:+g}°" if degrees else "0°"]
    if down:
        parts.append(f"{abs(down):g} px {'↓' if down > 0 else '↑'}")
    if right:
        parts.append(f"{abs(right):g} px {'→' if right > 0 else '←'}")
    return ", ".join(parts)


def _report(result: SpatialAttackResult, folder: Path) -> None:
    images = f"{counted(result.images, 'image')} of {result.dataset}"
    logger.info(f"clean accuracy {with_interval(result.clean_accuracy, result.images)} on {images}")
    figures = (
        result.degrees_mean,
        result.shift_mean,
        result.l2_mean,
        result.psnr_mean,
        result.ssim_mean,
    )
    row = [
        result.threat.text(),
        with_interval(result.robust_accuracy, result.images),
        percent(result.success_rate),
        *("–" if figure is None else f"{figure:.3g}" for figure in figures),
        f"{result.queries:.1f}",
        f"{result.images_per_second:.0f}" if result.images_per_second else "–",
    ]
    heads = ["robust accuracy", "success", "mean rotation in degrees", "mean shift in pixels"]
    heads += ["mean L2", "PSNR dB", "SSIM", "queries", "images/s"]
    logger.info(table([result.threat.kind, *heads], [row]))
    tried = f"of a grid of {counted(result.candidates, 'motion')}"
    if result.search == "random":
        tried = f"of {counted(result.candidates - 1, 'random motion')} and of none"
    logger.info(
        f"the worst {tried} for each image; no Lp ball, so that the accuracy does not compare with "
        "one at an ε"
    )
    logger.info(
        "accuracies with their 95 % confidence intervals over the choice of images; rotation, "
        f"shift, L2, PSNR and SSIM are means over the {counted(result.changed, 'image')} that "
        "were moved, queries over the attacked"
    )
    pictures = ", ".join(sorted(path.name for path in folder.glob("*.png")))
    logger.info(f"in {folder}: metrics.json, config.yaml, {FILE}, {pictures}")
