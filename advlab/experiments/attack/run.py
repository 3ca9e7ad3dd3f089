"""``advlab attack`` on images of a data set; photos and texts have modules of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from advlab.components import load_component
from advlab.config.options.run import (
    AttackOptions,
    SharedPerturbationOptions,
    TargetOptions,
    norm_of,
)
from advlab.config.radii import eps_digits, eps_text, norm_name
from advlab.config.registry import command_named
from advlab.config.resolve import Config, Plan
from advlab.errors import UsageError
from advlab.evaluation.checks import log_failed
from advlab.experiments.attack import (
    checks,
    colour,
    patch,
    photo,
    shared,
    spatial,
    stadv,
    texts,
)
from advlab.experiments.attack.figures import draw
from advlab.experiments.attack.outcome import not_attacked, rates, sizes_of, success_text
from advlab.experiments.attack.setting import Prepared, Setting, prepared, settle
from advlab.experiments.attack.shared import OneForAll
from advlab.experiments.grid import run_plan
from advlab.experiments.shard_worker import Job, Shard, ShardOutcome
from advlab.experiments.shards import Shards
from advlab.experiments.target_model import check_describing
from advlab.experiments.workers import Crew
from advlab.logs import logger
from advlab.metrics import perturbation as visible
from advlab.metrics import smallest
from advlab.metrics.classification import is_correct, predicted_classes
from advlab.metrics.intervals import with_interval
from advlab.perturbation.geometry import check_radius
from advlab.perturbation.sweep import (
    EACH_EPS,
    SMALLEST_EPS,
    AttackedBatch,
    Batches,
    Point,
    StoredPoint,
    Tasks,
    sweep,
)
from advlab.perturbation.victim import GradientCount
from advlab.results.attack import (
    AttackPoint,
    AttackResult,
    PatchAttackResult,
    PhotoAttackResult,
    SmallestPerturbations,
    TextAttackResult,
    TransformedResult,
)
from advlab.runs import sealed
from advlab.runs.lifecycle import Experiment, carry_out
from advlab.runs.results import Finished
from advlab.runs.table import counted, table

InNoBall = TransformedResult | PatchAttackResult

IN_NO_BALL: dict[str, Callable[[Config], Finished[InNoBall]]] = {
    "colour": colour.run,
    "patch": patch.run,
    "spatial": spatial.run,
    "stadv": stadv.run,
}
"""The experiments of the attacks that are in no Lp ball."""

_FEW_SEARCH_STEPS = 5
"""Fewer weights than this seldom reach the boundary: on a CNN of digits, C&W broke 2 of 50 images
with 3 steps, and all of them with 4, at a median norm of 0.71 instead of 0.67."""


def main(plan: Plan) -> int:
    """Run every cell of the plan; exit status 0 where all of them finished.

    Raises:
        UsageError: it holds attacks on images and on texts.
    """
    if len({plan.command.takes(cell.component) for cell in plan.cells}) > 1:
        raise UsageError(
            "attack: attacks on images and on texts do not go into one comparison; name one kind"
        )
    divisible = is_divisible(plan.cells[0])
    return run_plan(plan, run, check=_check, shared=run if divisible else None)


def is_divisible(cell: Config) -> bool:
    """Whether several processes can share the images of a run."""
    options = cell.options
    return (
        isinstance(options, AttackOptions)
        and not isinstance(options, SharedPerturbationOptions)
        and not photo.is_meant(options)
    )


def _check(cell: Config) -> None:
    """Refuse options that the network of a cell has no use for."""
    if isinstance(cell.options, TargetOptions):  # attacks on texts have none of them
        check_describing(cell.options)


def run(
    config: Config, crew: Crew | None = None
) -> Finished[AttackResult | InNoBall | PhotoAttackResult | TextAttackResult]:
    """Attack one network, unless the run is there already.

    Args:
        crew: the processes that share the images of a run that is divisible; None for this one
            alone.
    """
    if command_named("attack").takes(config.component) == "texts":
        return texts.run(config)
    if config.component in IN_NO_BALL:
        return IN_NO_BALL[config.component](config)
    options: AttackOptions = config.options
    check_radius(norm_of(options), max(options.eps), getattr(options, "step_size", None))
    if photo.is_meant(options):
        if isinstance(options, SharedPerturbationOptions):
            raise UsageError(
                f"{config.component}: makes its perturbation on the training images of a data set, "
                "and a photo has none; name a set with --dataset, such as folder:PATH"
            )
        return photo.run(config)
    setting = settle(config)
    experiment = Experiment(
        config=setting.config,
        contents=setting.contents,
        result=AttackResult,
        measure=lambda folder: _measure(setting, folder, crew),
        report=_report,
    )
    if getattr(options, "search_steps", _FEW_SEARCH_STEPS) < _FEW_SEARCH_STEPS:
        logger.info(
            f"{config.component}: few search steps; weights of the margin begin at 0.001 and grow "
            "tenfold, so that many images may not be broken, and norms are larger than needed"
        )
    return carry_out(experiment)


def _measure(setting: Setting, folder: Path, crew: Crew | None = None) -> AttackResult:
    config, data = setting.config, setting.data
    options: AttackOptions = config.options
    if crew is not None:
        crew.compute_alike(options.threads)
    start = prepared(setting, options.sees == "gradients")
    tasks, clean_logits, first = start.tasks, start.logits, start.clean
    images = tasks.images

    def stored(eps: float) -> StoredPoint | None:
        content = sealed.read_tensors(folder / images_file(eps)) if options.resume else None
        if content is None:
            return None
        tensors = content[0]
        return StoredPoint(
            tensors["perturbed"],
            float(tensors["seconds"]),
            int(tensors.get("unusable_gradients", 0)),
            GradientCount(*tensors["gradients"].tolist())
            if "gradients" in tensors
            else GradientCount(),
        )

    module = load_component("advlab.attacks", config.component, "attack")
    one_for_all = None
    if isinstance(options, SharedPerturbationOptions):
        one_for_all = OneForAll.of(module.made, setting, start, folder)
    attack = module.perturb if one_for_all is None else one_for_all
    shards = None if crew is None else _shards(crew, setting, start, folder)
    elsewhere = None if shards is None else _elsewhere(shards, setting, tasks, folder)
    figures: list[AttackPoint] = []
    points: list[Point] = []
    for point in sweep(
        attack,
        start.victim,
        tasks,
        options,
        surrogate=start.source,
        stored=stored,
        elsewhere=elsewhere,
    ):
        _save_images(folder, point, tasks)
        if shards is not None:
            shards.forget(config.component, point.eps)
        figures.append(_figures(point, tasks, first, clean_logits))
        points.append(point)
    result = AttackResult(
        command="attack",
        component=config.component,
        dataset=data.name,
        origin=data.origin,
        data_sha256=data.sha256(),
        model=setting.target.record.model,
        seed=options.seed,
        seconds=round(sum(point.seconds for point in points), 3),
        machine=start.machine.describe(),
        norm=norm_of(options),
        eps=[point.eps for point in points],
        images_made_at=SMALLEST_EPS if options.keep_broken else EACH_EPS,
        target=options.target,
        clean_accuracy=start.clean_accuracy,
        robust_accuracy=figures[-1].robust_accuracy,
        success_rate=figures[-1].success_rate,
        points=figures,
        smallest=(
            _smallest(points[-1], tasks, first, clean_logits, norm_of(options))
            if options.minimum_norm and setting.surrogate is None
            else None
        ),
        shared=None if one_for_all is None else one_for_all.compared([p.eps for p in points]),
        images=len(images),
        first_image=tasks.first,
        classes=len(data.classes),
        tasks=len(tasks),
        network=setting.target.record,
        surrogate=None if setting.surrogate is None else setting.surrogate.record,
        checks_failed={**start.doubts, **checks.failed(points, tasks, clean_logits)},
    )
    queries = options.model_dump().get("queries")
    if queries is not None and points[-1].attacked and result.success_rate == 0:
        logger.info(
            "no image reached its goal: the nearest success may be farther than ε, or too far to "
            f"be found with {queries:,} queries; more --queries tell which"
        )
    draw(folder, result, points, tasks, first, clean_logits, data.classes, options.image)
    if one_for_all is not None and result.shared is not None:
        one_for_all.draw(result, result.shared)
    return result


def _shards(crew: Crew, setting: Setting, start: Prepared, folder: Path) -> Shards:
    """The batches of a run, which other processes attack."""
    options: AttackOptions = setting.config.options
    job = Job(
        setting.mapping,
        setting.contents,
        options.surrogate,
        start.machine,
        torch.get_num_threads(),
        first=start.tasks.first,
        images=len(start.tasks.images),
    )
    return Shards(crew.team, job, folder, options.resume)


def _elsewhere(shards: Shards, setting: Setting, tasks: Tasks, folder: Path) -> Batches:
    """What has other processes attack batches of the tasks.

    Where each ε is an attack of its own, a process that is free goes on with the next one.
    """
    options: AttackOptions = setting.config.options
    radii = [eps for eps in sorted(set(options.eps)) if eps > 0]

    def shards_at(eps: float, batches: Sequence[Tensor]) -> list[Shard]:
        return [
            Shard(
                setting.config.component,
                eps,
                tuple(tasks.index[chosen].tolist()),
                tuple(tasks.classes[chosen].tolist()),
                setting.config.component,
                options,
                tasks.targeted,
                transfer=setting.surrogate is not None,
            )
            for chosen in batches
        ]

    def attacked(eps: float, batches: Sequence[Tensor]) -> Iterator[tuple[int, AttackedBatch]]:
        def ahead(known: Mapping[Shard, ShardOutcome]) -> Iterator[Shard]:
            del known  # no radius waits for another
            for later in radii if not options.keep_broken else []:
                if later > eps and not (folder / images_file(later)).exists():
                    yield from shards_at(later, batches)

        return shards.results(shards_at(eps, batches), ahead)

    return attacked


def images_file(eps: float) -> str:
    """Name of the file that holds the perturbed images of an eps."""
    return f"images-eps{eps_digits(eps)}.safetensors"


def _save_images(folder: Path, point: Point, tasks: Tasks) -> None:
    sealed.write_tensors(
        folder / images_file(point.eps),
        {
            "perturbed": point.perturbed,
            "index": tasks.numbers,
            "labels": tasks.images.labels[tasks.index],
            "goal": tasks.classes,
            "predicted": predicted_classes(point.logits),
            "seconds": torch.tensor(point.seconds, dtype=torch.float64),
            "unusable_gradients": torch.tensor(point.unusable_gradients),
            "gradients": torch.tensor(
                [
                    point.gradients.total,
                    point.gradients.missing,
                    point.gradients.not_finite,
                    point.gradients.zero,
                ]
            ),
        },
    )


def _figures(point: Point, tasks: Tasks, clean: Tensor, clean_logits: Tensor) -> AttackPoint:
    """The figures of one eps. Sizes and visibility are over the images that were changed."""
    robust_accuracy, success_rate = rates(point.logits, point.reached, tasks, clean_logits)
    rate = point.attacked / point.seconds if point.attacked and point.seconds > 0 else None
    changed = visible.norms(point.perturbed, clean)["linf"] > 0
    return AttackPoint(
        eps=point.eps,
        robust_accuracy=robust_accuracy,
        success_rate=success_rate,
        changed=int(changed.sum()),
        attacked=point.attacked,
        seconds=round(point.seconds, 4),
        images_per_second=None if rate is None else round(rate, 1),
        unusable_gradients=point.unusable_gradients,
        gradients=point.gradients.total,
        zero_gradients=point.gradients.zero,
        **sizes_of(point.perturbed, clean, changed),
    )


def _smallest(
    point: Point, tasks: Tasks, clean: Tensor, clean_logits: Tensor, norm: str
) -> SmallestPerturbations:
    """The distribution of the smallest perturbations within the largest eps."""
    labels = tasks.images.labels
    sizes = visible.norms(point.perturbed, clean)[norm].where(point.reached, torch.inf)
    # With several targets an image is as near as the nearest of them.
    nearest = torch.full((len(labels),), torch.inf, dtype=sizes.dtype)
    nearest = nearest.scatter_reduce(0, tasks.index, sizes, "amin")
    correct = is_correct(clean_logits, labels)
    curve = smallest.accuracy_by_norm(nearest[correct], len(labels))
    # Images of the target class are not attacked, so that none of them is near or far.
    nearest = nearest[correct & torch.isin(torch.arange(len(labels)), tasks.index)]
    return SmallestPerturbations(
        eps=point.eps,
        images=len(nearest),
        broken=int(nearest.isfinite().sum()),
        lower_quartile=smallest.quantile(nearest, 0.25),
        median=smallest.quantile(nearest, 0.5),
        upper_quartile=smallest.quantile(nearest, 0.75),
        curve=curve,
    )


def _report(result: AttackResult) -> None:
    rows = []
    for point in result.points:
        sizes: tuple[float | None, ...] = (
            point.linf_max,
            point.l2_mean,
            point.l1_mean,
            point.psnr_mean,
            point.ssim_mean,
        )
        if result.norm == "l0":
            sizes = (point.l0_mean, *sizes)
        rows.append(
            [
                eps_text(point.eps),
                with_interval(point.robust_accuracy, result.images),
                success_text(point.success_rate, result),
                *("–" if size is None else f"{size:.3g}" for size in sizes),
                f"{point.images_per_second:.0f}" if point.images_per_second else "–",
            ]
        )
    images = f"{counted(result.images, 'image')} of {result.dataset}"
    logger.info(f"clean accuracy {with_interval(result.clean_accuracy, result.images)} on {images}")
    sizes_head = ["max L∞", "mean L2", "mean L1", "PSNR dB", "SSIM"]
    if result.norm == "l0":
        sizes_head = ["mean L0", *sizes_head]
    within = len(rows) > 1 and result.images_made_at == SMALLEST_EPS
    norm = norm_name(result.norm)
    radius = f"broken at ε or less ({norm})" if within else f"ε ({norm})"
    logger.info(table([radius, "robust accuracy", "success", *sizes_head, "images/s"], rows))
    if within:
        logger.info(
            "sizes, PSNR and SSIM are those of the smallest ε that breaks each image, not of an "
            "attack at ε"
        )
    logger.info("accuracies with their 95 % confidence intervals over the choice of images")
    if note := not_attacked(result):
        logger.info(note)
    if result.smallest is not None:
        attacked = "attacked image" if not_attacked(result) else "image"
        logger.info(_distribution(result.smallest, result.norm, attacked))
    if result.shared is not None:
        logger.info(shared.as_table(result.shared, norm, result.images))
        logger.info(shared.note(result.shared))
    log_failed(result.checks_failed)


def _distribution(smallest: SmallestPerturbations, norm: str, noun: str) -> str:
    """The quartiles of the smallest perturbations, as a table.

    Args:
        noun: what they are of, in the singular.
    """
    quartiles = (smallest.lower_quartile, smallest.median, smallest.upper_quartile)
    limit = eps_text(smallest.eps)
    row = [
        f"of the {counted(smallest.images, noun)} classified correctly",
        *(_size(size, limit, smallest.images) for size in quartiles),
        f"{smallest.broken:,}",
    ]
    heads = ["lower quartile", "median", "upper quartile", f"broken at ε ≤ {limit}"]
    return table([f"norm of the smallest perturbation ({norm_name(norm)})", *heads], [row])


def _size(size: float | None, limit: str, images: int) -> str:
    """A quartile in words: of no images there is none, and one may lie beyond the largest ε."""
    if images == 0:
        return "–"
    return f"> {limit}" if size is None else f"{size:.4g}"
