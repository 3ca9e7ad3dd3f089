"""``advlab attack patch``: one patch for all images, made on training images of the data set."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from statistics import mean

import torch
from PIL import Image
from torch import Tensor

from advlab.attacks import patch as attack
from advlab.config.resolve import Config
from advlab.data.image_set import Images
from advlab.errors import UsageError
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
from advlab.experiments.attack.outcome import rates
from advlab.experiments.attack.setting import Setting, prepared, settle
from advlab.experiments.attack.shared import training_images
from advlab.experiments.attack.tasks import pairs, tasks_of
from advlab.logs import logger
from advlab.metrics.classification import predicted_classes
from advlab.metrics.intervals import with_interval
from advlab.perturbation.patch import (
    check_fits,
    disc,
    judged_at,
    noise,
    pictures,
    placed,
    radius_of,
)
from advlab.perturbation.sweep import Tasks, judge
from advlab.perturbation.victim import GradientCount, Victim
from advlab.plots.confusion import confusion
from advlab.plots.sheets import Flip, Tile, flips, sheet
from advlab.plots.style import save
from advlab.results.attack import PatchAttackResult, PatchControl
from advlab.runs import sealed
from advlab.runs.files import write_atomically
from advlab.runs.lifecycle import Experiment, carry_out
from advlab.runs.results import Finished
from advlab.runs.table import counted, percent, table

DRAWS = 10
"""Patches of each kind that the patch is compared with."""
FILE = "images.safetensors"
PATCH_FILE = "patch.safetensors"
PICTURE = "patch.png"


def run(config: Config) -> Finished[PatchAttackResult]:
    """Make a patch and put it on the images, unless the run is there already.

    Raises:
        UsageError: a photo is named, the patch is too large, or networks and images are not there
            or do not fit.
    """
    options: attack.Options = config.options
    if photo.is_meant(options):
        raise UsageError(
            f"{config.component}: makes its patch on the training images of a data set, and a "
            "photo has none; name a set with --dataset, such as folder:PATH"
        )
    setting = settle(config)
    check_fits(options.threat, *setting.data.shape[1:])
    experiment = Experiment(
        config=setting.config,
        contents=setting.contents,
        result=PatchAttackResult,
        measure=lambda folder: _measure(setting, folder),
        report=_report,
    )
    return carry_out(experiment)


@dataclass(frozen=True)
class _Shown:
    """A patch on the images of all tasks, and what comes of it; tensors are on the CPU.

    Attributes:
        patch: (1, C, K, K).
        images: (T, C, H, W) in [0, 1].
        logits: the victim's on them, (T, classes).
        reached: which tasks reached their goal, bool (T,).
        robust_accuracy, success_rate: as of ``PatchAttackResult``.
    """

    patch: Tensor
    images: Tensor
    logits: Tensor
    reached: Tensor
    robust_accuracy: float
    success_rate: float


@dataclass(frozen=True)
class _Scene:
    """Tasks whose images get patches in one place each.

    Attributes:
        victim: the network that decides.
        tasks: the pairs of image and goal.
        clean: the image of each task, (T, C, H, W).
        logits: the victim's on all images, (N, classes).
        placements: float64 (T, 4).
        radius: of the patch in pixels.
    """

    victim: Victim
    tasks: Tasks
    clean: Tensor
    logits: Tensor
    placements: Tensor
    radius: float

    @staticmethod
    def of(
        victim: Victim, tasks: Tasks, clean: Tensor, logits: Tensor, options: attack.Options
    ) -> _Scene:
        """The scene of some tasks; its places depend on the seed and on the images' numbers."""
        sides = tuple(clean.shape[2:])
        placements = judged_at(options.seed, tasks.numbers, options.threat, *sides)
        radius = radius_of(options.size, *sides)
        return _Scene(victim, tasks, clean, logits, placements, radius)

    def with_patch(self, patch: Tensor) -> _Shown:
        """The same patch on every image, each at its place."""
        images = placed(self.clean, patch, self.placements, self.radius)
        logits = judge(self.victim, images)
        goal = self.tasks.goal(torch.arange(len(self.tasks)), torch.device("cpu"))
        reached = goal.reached(logits)
        robust_accuracy, success_rate = rates(logits, reached, self.tasks, self.logits)
        return _Shown(patch, images, logits, reached, robust_accuracy, success_rate)


def _measure(setting: Setting, folder: Path) -> PatchAttackResult:
    options: attack.Options = setting.config.options
    start = prepared(setting, takes_gradients=True)
    _, target = tasks_of(options, setting.data)
    assert not isinstance(target, str)  # the options have no target that depends on the image
    training = training_images(setting.data, options, target)
    source = start.source or start.victim
    optimised = _made(source, training, target, options, folder)
    scene = _Scene.of(start.victim, start.tasks, start.clean, start.logits, options)
    own = scene.with_patch(optimised.patch)
    channels, side = optimised.patch.shape[1:3]
    noisy, noise_control = _control(scene, noise(channels, side, DRAWS, options.seed))
    images = pictures(setting.data.train, target, side, DRAWS, options.seed)
    pictured, picture_control = _control(scene, images)
    attacked = len(start.tasks)
    if target is None:
        attacked = round(start.clean_accuracy * len(start.tasks.images))
    result = PatchAttackResult(
        command="attack",
        component=setting.config.component,
        dataset=setting.data.name,
        origin=setting.data.origin,
        data_sha256=setting.data.sha256(),
        model=setting.target.record.model,
        seed=options.seed,
        seconds=round(optimised.seconds, 3),
        machine=start.machine.describe(),
        threat=options.threat,
        training_images=len(training),
        training_success_rate=_on_training(source, training, target, optimised.patch, options),
        target=options.target,
        clean_accuracy=start.clean_accuracy,
        robust_accuracy=own.robust_accuracy,
        success_rate=own.success_rate,
        attacked=attacked,
        noise=noise_control,
        training_image=picture_control,
        unusable_gradients=optimised.gradients.unusable,
        images=len(start.tasks.images),
        first_image=start.tasks.first,
        classes=len(setting.data.classes),
        tasks=len(start.tasks),
        network=setting.target.record,
        surrogate=None if setting.surrogate is None else setting.surrogate.record,
        checks_failed={
            **start.doubts,
            **checks.finite(start.logits, own.logits, start.tasks),
            **checks.of_gradients(optimised.gradients, int((~own.reached).sum()), len(start.tasks)),
        },
    )
    _save(folder, own, scene)
    _draw(folder, result, [own, noisy, pictured], scene, setting.data.classes)
    return result


@dataclass(frozen=True)
class _Made:
    """A patch (1, C, K, K), the seconds that it took, and the gradients that were asked for."""

    patch: Tensor
    seconds: float
    gradients: GradientCount


def _made(
    source: Victim, training: Images, target: int | None, options: attack.Options, folder: Path
) -> _Made:
    """The patch, which an interrupted run has left in its folder."""
    content = sealed.read_tensors(folder / PATCH_FILE) if options.resume else None
    if content is None or "gradients" not in content[0]:
        started, before = time.perf_counter(), source.gradients
        patch = attack.made(source, training, target, options)
        sealed.write_tensors(
            folder / PATCH_FILE,
            {
                "patch": patch,
                "seconds": torch.tensor(time.perf_counter() - started, dtype=torch.float64),
                "gradients": torch.tensor(astuple(source.gradients - before)),
            },
        )
        content = sealed.read_tensors(folder / PATCH_FILE)
        assert content is not None
    tensors = content[0]
    _write_picture(tensors["patch"][0], folder / PICTURE)
    gradients = GradientCount(*tensors["gradients"].tolist())
    return _Made(tensors["patch"], float(tensors["seconds"]), gradients)


def _control(scene: _Scene, patches: Tensor) -> tuple[_Shown, PatchControl]:
    """What patches (D, C, K, K) do in the same places: the first, and the mean of all."""
    first = scene.with_patch(patches[:1])
    every = [first, *(scene.with_patch(one[None]) for one in patches[1:])]
    rates_of = [(one.robust_accuracy, one.success_rate) for one in every]
    robust_accuracy, success_rate = (mean(figures) for figures in zip(*rates_of, strict=True))
    return first, PatchControl(
        draws=len(patches), robust_accuracy=robust_accuracy, success_rate=success_rate
    )


def _on_training(
    source: Victim, training: Images, target: int | None, patch: Tensor, options: attack.Options
) -> float:
    """The success rate on the images that the patch was made on."""
    logits = judge(source, training.inputs(slice(None)))
    tasks = pairs(training, 0, target, logits)
    clean = tasks.clean(torch.arange(len(tasks)), torch.device("cpu"))
    return _Scene.of(source, tasks, clean, logits, options).with_patch(patch).success_rate


def _save(folder: Path, own: _Shown, scene: _Scene) -> None:
    tasks = scene.tasks
    sealed.write_tensors(
        folder / FILE,
        {
            "perturbed": own.images,
            "placements": scene.placements,
            "index": tasks.numbers,
            "labels": tasks.images.labels[tasks.index],
            "goal": tasks.classes,
            "predicted": predicted_classes(own.logits),
        },
    )


def _write_picture(patch: Tensor, path: Path) -> None:
    """Write a patch (C, K, K) as a PNG of its own pixels, transparent outside the disc."""
    opaque = disc(patch.shape[1])[None].to(torch.uint8) * 255
    levels = (patch.expand(3, -1, -1) * 255).round().to(torch.uint8)
    pixels = torch.cat([levels, opaque]).permute(1, 2, 0).contiguous().numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    write_atomically(path, lambda file: file.write(buffer.getbuffer()))


def _draw(
    folder: Path,
    result: PatchAttackResult,
    patches: Sequence[_Shown],
    scene: _Scene,
    classes: Sequence[str],
) -> None:
    """The patches with what they do, images with each of them, and the confusion matrix.

    Args:
        patches: the patch, and the first one of each control.
    """
    tasks, caption, what = scene.tasks, caption_of(result), title_words(result)
    own, limits = patches[0], result.threat.text()
    noisy, pictured = result.noise, result.training_image
    words = [
        f"patch\nsuccess {_success(result.success_rate, result)}",
        f"noise, one of {noisy.draws}\nmean success {_success(noisy.success_rate, result)}",
        f"training image, one of {pictured.draws}\n"
        f"mean success {_success(pictured.success_rate, result)}",
    ]
    tiles = [
        Tile(_cut(one.patch[0]).numpy(), text, disc=True)
        for one, text in zip(patches, words, strict=True)
    ]
    drawn = sheet(tiles, f"The patch and its controls: {what}, {limits}", caption, columns=3)
    save(drawn, folder / "patches.png")
    before = scene.logits[tasks.index]
    if chosen := flipped_tasks(own.reached, tasks, before)[:ROWS]:
        rows = [_flip(scene, patches, before, task, classes) for task in chosen]
        save(
            flips(rows, f"Predictions flipped by {what}, {limits}", caption), folder / "flipped.png"
        )
    if len(tasks.images) > 1:
        labels = tasks.images.labels[tasks.index]
        counts, left_out = predictions_by_class(labels, own.logits, len(classes))
        title = f"Predictions under {what}, {limits}"
        caption = caption_of(result, count=len(tasks)) + left_out
        drawn = confusion(counts, classes, title, caption, columns="prediction under attack")
        save(drawn, folder / "confusion.png")


def _success(rate: float, result: PatchAttackResult) -> str:
    """A success rate in percent; ``–`` where it is of no image, as after ``--image`` of one that
    is misclassified anyway."""
    return percent(rate) if result.attacked else "–"


def _cut(patch: Tensor) -> Tensor:
    """A patch (C, K, K) on white, without what lies outside the disc."""
    return torch.where(disc(patch.shape[1]), patch, 1.0)


def _flip(
    scene: _Scene, patches: Sequence[_Shown], before: Tensor, task: int, classes: Sequence[str]
) -> Flip:
    label = int(scene.tasks.images.labels[scene.tasks.index[task]])
    logits = [before[task], *(one.logits[task] for one in patches)]
    return Flip(
        truth=classes[label],
        pixels=[scene.clean[task].numpy(), *(one.images[task].numpy() for one in patches)],
        said=[prediction(one, classes) for one in logits],
        right=[is_right(one, label) for one in logits],
        heads=["unattacked", "patch", "noise", "training image"],
    )


def _report(result: PatchAttackResult) -> None:
    images = f"{counted(result.images, 'image')} of {result.dataset}"
    logger.info(f"clean accuracy {with_interval(result.clean_accuracy, result.images)} on {images}")
    rows = [
        [
            "patch",
            with_interval(result.success_rate, result.attacked),
            with_interval(result.robust_accuracy, result.images),
        ]
    ]
    for name, control in (("noise", result.noise), ("training image", result.training_image)):
        rows.append(
            [
                f"{name}, mean of {control.draws}",
                _success(control.success_rate, result),
                percent(control.robust_accuracy),
            ]
        )
    logger.info(table([result.threat.text(), "success", "robust accuracy"], rows))
    aim = f"taken for {result.target}" if result.target else "misclassified"
    whose = "of the other classes" if result.target else "classified correctly without a patch"
    logger.info(
        f"success: the fraction of {counted(result.attacked, 'image')} {whose} that is {aim} with "
        "the patch, each in one place drawn for it; noise and training images cover the same pixels"
    )
    logger.info(
        f"made on {counted(result.training_images, 'training image')}, of which it succeeds on "
        f"{percent(result.training_success_rate)} in places drawn anew; no Lp ball, and no place "
        "is searched for, so that the accuracy does not compare with one at an ε"
    )
    if result.target:
        logger.info(
            f"robust accuracy: over all {counted(result.images, 'image')}; those of class "
            f"{result.target} get no patch, and any wrong class counts as broken"
        )
    logger.info(
        "in brackets: 95 % confidence intervals over the choice of images and places; the controls "
        "have none"
    )
    checks.report(result.checks_failed)
