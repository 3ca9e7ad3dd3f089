"""The result of an attack on a photo: figures, table and picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from matplotlib.figure import Figure
from torch import Tensor

from advlab.components import display_name
from advlab.config.options.run import AttackOptions, norm_of
from advlab.config.radii import eps_digits, eps_text, norm_name
from advlab.config.resolve import Config
from advlab.data.formats.photos import Photo
from advlab.errors import UsageError
from advlab.evaluation.checks import log_failed
from advlab.experiments.titles import title_of
from advlab.logs import logger
from advlab.metrics import perturbation as visible
from advlab.metrics.classification import is_correct
from advlab.perturbation.sweep import EACH_EPS, SMALLEST_EPS, Tasks
from advlab.plots.photo import attacked_photo
from advlab.results.attack import (
    ClassProbability,
    PhotoAttackResult,
    PhotoPoint,
    SmallestEps,
)
from advlab.runs.machine import Machine
from advlab.runs.results import NetworkRecord
from advlab.runs.table import counted, table

_TOP = 5


@dataclass(frozen=True)
class AttackedPhoto:
    """What an attack reached at one eps.

    Attributes:
        before: logits (1, classes) before the photo was rounded to 8 bits.
        after: logits of the saved file, decoded again.
        reached: whether each of the two reached the goal.
        confident: whether the saved file reached it with the probability that was asked for.
        tries: further attacks that it took to survive the rounding.
        pixels: what the saved file holds, float (1, C, H, W) in [0, 1].
    """

    eps: float
    before: Tensor
    after: Tensor
    reached: tuple[bool, bool]
    confident: bool
    tries: int
    pixels: Tensor
    seconds: float


def photo_file(eps: float) -> str:
    """Name of the file that holds the photo perturbed at an eps."""
    return f"photo-eps{eps_digits(eps)}.png"


def ranking(logits: Tensor, classes: Sequence[str], count: int = _TOP) -> list[tuple[str, float]]:
    """The likeliest classes and their probabilities, from logits (1, classes)."""
    values, numbers = torch.softmax(logits[0].double(), dim=0).topk(min(count, len(classes)))
    return [
        (classes[number], value)
        for number, value in zip(numbers.tolist(), values.tolist(), strict=True)
    ]


def listed(logits: Tensor, classes: Sequence[str], count: int = _TOP) -> list[ClassProbability]:
    """The same as records, with the classes' numbers.

    Raises:
        UsageError: some logit is NaN or infinite, so that no class has a probability.
    """
    if not bool(logits.isfinite().all()):
        raise UsageError(
            "the network's answers to the attacked image are not finite (NaN or infinite), so that "
            "no class has a probability"
        )
    numbers = logits[0].double().softmax(0).topk(min(count, len(classes))).indices.tolist()
    ranked = ranking(logits, classes, count)
    return [
        ClassProbability(number=number, name=name, probability=value)
        for number, (name, value) in zip(numbers, ranked, strict=True)
    ]


def result_of(
    config: Config,
    network: NetworkRecord,
    classes: Sequence[str],
    photo: Photo,
    tasks: Tasks,
    logits: Tensor,
    outcomes: Sequence[AttackedPhoto],
    machine: Machine,
    confidence: float | None,
    doubts: dict[str, str],
) -> PhotoAttackResult:
    """What the attack reports.

    Args:
        doubts: the checks that failed, a sentence by the name of each.
    """
    options: AttackOptions = config.options
    clean = tasks.clean(torch.tensor([0]), torch.device("cpu"))
    chosen = shown_of(outcomes, options)
    points = [
        _measured(one, tasks, clean, classes, saved=one is chosen or not options.smallest_eps)
        for one in outcomes
    ]
    smallest = None
    if options.smallest_eps:
        eps = chosen.eps if chosen.confident else None
        smallest = SmallestEps(eps=eps, largest=outcomes[-1].eps)
    wanted = int(tasks.classes[0])
    probability = float(logits[0].double().softmax(0)[wanted])
    target = ClassProbability(number=wanted, name=classes[wanted], probability=probability)
    return PhotoAttackResult(
        command="attack",
        component=config.component,
        dataset="photo",
        origin=photo.origin,
        data_sha256=photo.sha256,
        model=network.model,
        seed=options.seed,
        seconds=round(sum(one.seconds for one in outcomes), 3),
        machine=machine.describe(),
        image=str(photo.file),
        norm=norm_of(options),
        eps=[one.eps for one in outcomes],
        images_made_at=SMALLEST_EPS if options.keep_broken else EACH_EPS,
        target=options.target,
        target_class=target if tasks.targeted else None,
        before=listed(logits, classes),
        success=points[-1].success if smallest is None else smallest.eps is not None,
        robust_accuracy=points[-1].robust_accuracy,
        points=points,
        smallest=smallest,
        classes=len(classes),
        confidence=confidence,
        network=network,
        checks_failed=doubts,
    )


def shown_of(outcomes: Sequence[AttackedPhoto], options: AttackOptions) -> AttackedPhoto:
    """The photo that the figure shows: the first that reached its goal, of a search the smallest
    that did so with confidence; the last where none did."""
    if options.smallest_eps:
        return next((one for one in outcomes if one.confident), outcomes[-1])
    return next((one for one in outcomes if one.reached[1]), outcomes[-1])


def _measured(
    one: AttackedPhoto, tasks: Tasks, clean: Tensor, classes: Sequence[str], *, saved: bool
) -> PhotoPoint:
    """The figures of one eps, all but the first two of the file that was saved."""
    sizes = {name: float(size) for name, size in visible.norms(one.pixels, clean).items()}
    psnr = float(visible.psnr(one.pixels, clean))
    channels = zip(one.pixels.split(1, 1), clean.split(1, 1), strict=True)
    return PhotoPoint(
        eps=one.eps,
        success_before_rounding=one.reached[0],
        before_rounding=listed(one.before, classes),
        success=one.reached[1],
        confident=one.confident,
        after=listed(one.after, classes),
        robust_accuracy=float(is_correct(one.after, tasks.images.labels)),
        tries_to_survive_rounding=one.tries,
        **sizes,
        psnr=psnr if math.isfinite(psnr) else None,
        ssim=(
            sum(float(visible.ssim(*pair)) for pair in channels) / clean.shape[1]
            if min(clean.shape[2:]) >= visible.WINDOW
            else None
        ),
        file=photo_file(one.eps) if saved else None,
        seconds=round(one.seconds, 4),
    )


def picture(
    result: PhotoAttackResult,
    chosen: AttackedPhoto,
    tasks: Tasks,
    classes: Sequence[str],
    outcomes: Sequence[AttackedPhoto],
) -> Figure:
    """Draw the photo, the perturbation and the result, with the predictions for both."""
    point = result.points[outcomes.index(chosen)]
    target = result.target_class.name if result.target_class else None
    psnr = "–" if point.psnr is None else f"{point.psnr:.1f} dB"
    words = [
        f"ε = {eps_text(chosen.eps)} ({norm_name(result.norm)})",
        f"largest change {255 * point.linf:.0f} of 255 grey levels",
        *(
            [f"{counted(round(point.l0), 'pixel')} changed"]
            if result.norm == "l0" and point.l0 is not None
            else []
        ),
        f"L2 {point.l2:.3g}, PSNR {psnr}, SSIM {_three(point.ssim)}",
        _reached_as_saved(point, result),
        *(["(before rounding to 8 bits it did)"] if chosen.reached == (True, False) else []),
    ]
    clean = tasks.clean(torch.tensor([0]), torch.device("cpu"))[0].numpy()
    before = [(entry.name, entry.probability) for entry in result.before]
    network = result.network
    source = f"{network.source}, " if network.source else ""
    title = f"{display_name(result.component)} on {title_of(network)}" + (
        f", towards {target}" if target else ""
    )
    caption = f"{result.origin} · weights {source}{network.sha256[:12]} · seed {result.seed}"
    after = ranking(chosen.after, classes)
    return attacked_photo(
        clean, chosen.pixels[0].numpy(), before, after, words, target, title, caption
    )


def report(result: PhotoAttackResult) -> None:
    """Print the result as a table."""
    logger.info(f"{title_of(result.network)} takes the photo for {result.before[0].text()}")
    rows = [
        [
            eps_text(point.eps),
            point.before_rounding[0].text(),
            point.after[0].text(),
            _reached(point, result),
            *([] if point.l0 is None or result.norm != "l0" else [f"{point.l0:.0f}"]),
            f"{point.linf:.3g}",
            f"{point.l2:.3g}",
            "–" if point.psnr is None else f"{point.psnr:.1f}",
            _three(point.ssim),
        ]
        for point in result.points
    ]
    within = len(rows) > 1 and result.images_made_at == SMALLEST_EPS
    norm = norm_name(result.norm)
    radius = f"broken at ε or less ({norm})" if within else f"ε ({norm})"
    changed = ["changed pixels"] if len(rows[0]) > 8 else []
    sizes = [*changed, "L∞", "L2", "PSNR dB", "SSIM"]
    logger.info(table([radius, "before rounding", "as saved", "goal reached", *sizes], rows))
    if within:
        logger.info(
            "L∞, L2, PSNR and SSIM are those of the smallest ε that breaks the photo, not of an "
            "attack at ε"
        )
    if result.smallest is not None:
        logger.info(_smallest(result, result.smallest))
    log_failed(result.checks_failed)


def _three(value: float | None) -> str:
    """A figure with three decimals; a dash for none."""
    return "–" if value is None else f"{value:.3f}"


def _reached(point: PhotoPoint, result: PhotoAttackResult) -> str:
    """Whether the saved photo reached the goal, in words, and whether with the confidence that was
    asked for, which is the goal of a search."""
    if not point.success:
        return "undone by rounding" if point.success_before_rounding else "no"
    if point.confident:
        return "yes"
    short = f"below {100 * (result.confidence or 0):.10g} %"
    return short if result.smallest is not None else f"yes, {short}"


def _reached_as_saved(point: PhotoPoint, result: PhotoAttackResult) -> str:
    """The same for the picture."""
    if not point.success:
        return "did not reach its goal as saved"
    if point.confident:
        return "reached its goal as saved"
    return f"reached its goal as saved, below {100 * (result.confidence or 0):.10g} %"


def _smallest(result: PhotoAttackResult, smallest: SmallestEps) -> str:
    """What a search found, in a line."""
    goal = f" with {100 * result.confidence:.10g} % confidence" if result.confidence else ""
    if smallest.eps is None:
        return f"no ε up to {eps_text(smallest.largest)} reached the goal{goal}"
    return (
        f"smallest ε found at which the saved photo reaches the goal{goal}: "
        f"{eps_text(smallest.eps)} ({norm_name(result.norm)})"
    )
