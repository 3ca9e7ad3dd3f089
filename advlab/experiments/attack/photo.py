"""``advlab attack`` on one photo, for networks that take photos."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from advlab.components import class_number, load_component
from advlab.config.options.run import AttackOptions, ImageAttackOptions, norm_of
from advlab.config.radii import GREY_LEVELS, eps_text
from advlab.config.references import names_code, names_library
from advlab.config.resolve import Config
from advlab.data.formats import photos
from advlab.data.formats.photos import Photo
from advlab.data.image_set import Images
from advlab.errors import UsageError
from advlab.evaluation.checks import probability_check, unsteady
from advlab.experiments.attack import checks
from advlab.experiments.photo_report import (
    AttackedPhoto,
    photo_file,
    picture,
    report,
    result_of,
    shown_of,
)
from advlab.experiments.target_images import as_taken, with_class_names
from advlab.experiments.target_model import TargetModel, named
from advlab.logs import logger
from advlab.perturbation.geometry import P, round_to_bytes
from advlab.perturbation.goal import Goal
from advlab.perturbation.randomness import ImageRandom
from advlab.perturbation.sweep import Point, Tasks, judge, sweep
from advlab.perturbation.victim import Victim
from advlab.plots.mosaic import png
from advlab.plots.style import save
from advlab.results.attack import PhotoAttackResult
from advlab.runs.folder import automatic_name
from advlab.runs.lifecycle import Experiment, carry_out
from advlab.runs.machine import derive, prepare
from advlab.runs.results import Finished

_TOP = 5
# Attacks that round as they go, each with twice the steps, where rounding at the end undoes the
# first
_TRIES = 3
_CONFIDENCE = 0.95  # of the goal, where --confidence does not say


def is_meant(options: ImageAttackOptions) -> bool:
    """Whether a photo is to be attacked, and not images of a data set.

    A network of a library that is given neither is meant for a photo.
    """
    library = names_library(options.model)
    if not library and options.factory is None and not names_code(options.model):
        return False
    if options.image is not None and not options.image.isdecimal():
        return True
    return library and options.dataset == "auto"


def run(config: Config) -> Finished[PhotoAttackResult]:
    """Attack one photo, unless the run is there already.

    Raises:
        UsageError: no photo, network or class of that name, the network takes no such photo, or an
            option that a photo has no use for.
    """
    options: AttackOptions = config.options
    photo = _photo_of(options)
    network = named(options)
    assert network is not None  # is_meant has seen its name
    photo, count = as_taken(network, photo, prepare(options).device)
    target = with_class_names(network, options.classes, count)
    classes = target.class_names(count)
    logger.info(f"photo: {photo.origin}")
    logger.info(target.introduction())
    settled = target.settled(config)
    experiment = Experiment(
        config=settled,
        contents={"data": photo.sha256, **target.contents},
        result=PhotoAttackResult,
        measure=lambda folder: _measure(settled, photo, target, classes, folder),
        report=report,
        name=automatic_name(settled).replace("-auto", "", 1),
    )
    return carry_out(experiment)


def _measure(
    config: Config,
    photo: Photo,
    target: TargetModel,
    classes: Sequence[str],
    folder: Path,
) -> PhotoAttackResult:
    options: AttackOptions = config.options
    # A single photo is quickly done, and bf16 would blur its own grey levels.
    machine = prepare(options, "fp32" if options.precision == "auto" else None)
    victim = Victim(target.network, machine)
    clean = Images(photo.pixels[None], torch.zeros(1, dtype=torch.int64))
    logits = judge(victim, clean.inputs(slice(None)))
    if not bool(logits.isfinite().all()):
        weights = target.record.path or "its weights"
        raise UsageError(f"{target.label}: its answers are not finite; is {weights} damaged?")
    tasks = _tasks(clean, logits, options.target, classes)
    doubts = unsteady(victim, clean.inputs(slice(None), machine.device), getattr(options, "eot", 1))
    if options.sees == "gradients":
        doubts |= probability_check(logits)
    height, width = photo.pixels.shape[1:]
    seen = (
        torch.ones(1, 1, height, width, dtype=torch.bool)
        if target.framing is None
        else target.framing.seen(height, width)
    )
    outcomes = _attack(config, victim, tasks, seen, folder)
    confidence: float | None = getattr(_confident(options), "confidence", None)
    withstood = int(not any(one.reached[0] for one in outcomes))
    doubts |= checks.of_gradients(victim.gradients, withstood, 1)
    result = result_of(
        config, target.record, classes, photo, tasks, logits, outcomes, machine, confidence, doubts
    )
    chosen = shown_of(outcomes, options)
    save(picture(result, chosen, tasks, classes, outcomes), folder / "attacked.png")
    return result


def _photo_of(options: AttackOptions) -> Photo:
    """The photo of ``--image``, and nothing asked for that only a data set has."""
    if options.surrogate is not None:
        raise UsageError(
            "--surrogate: is for images of a data set; an attack on a photo is made on the target "
            "network itself"
        )
    for option, value in (
        ("dataset", None if options.dataset == "auto" else options.dataset),
        ("limit", options.limit),
    ):
        if value is not None:
            raise UsageError(
                f"--{option} {value}: {options.model} is shown a photo, which --image names"
            )
    if options.image is None or options.image.isdecimal():
        raise UsageError(
            f"--model {options.model}: --image must name the photo to attack, such as --image "
            "photo.jpg, or --dataset images, such as --dataset folder:PATH"
        )
    return photos.read(Path(options.image))


def _tasks(photo: Images, logits: Tensor, typed: str | None, classes: Sequence[str]) -> Tasks:
    """Return the goal: away from the predicted class, or towards a target class."""
    predicted = int(logits.argmax())
    if typed == "each":
        raise UsageError(
            "--target each: a photo takes one class at a time; several after --target make a run "
            "for each"
        )
    if typed is None:
        wanted = predicted
    elif typed == "least-likely":
        wanted = int(logits.argmin())
    else:
        wanted = (
            (predicted + 1) % len(classes)
            if typed == "next"
            else class_number(typed, classes, "--target")
        )
    if typed is not None and wanted == predicted:
        raise UsageError(
            f"--target {typed}: the network takes the photo for {classes[predicted]} already"
        )
    labelled = Images(photo.pixels, torch.tensor([predicted]))
    return Tasks(labelled, torch.tensor([0]), torch.tensor([wanted]), targeted=typed is not None)


def _attack(
    config: Config, victim: Victim, tasks: Tasks, seen: Tensor, folder: Path
) -> list[AttackedPhoto]:
    """The photo attacked at every eps in turn, or at those of a search; by eps, ascending."""
    options = _confident(config.options)
    perturb = load_component("advlab.attacks", config.component, "attack").perturb
    attack = _PhotoAttack(perturb, victim, tasks, options, seen, folder)
    if options.smallest_eps:
        return _search(attack)
    outcomes: list[AttackedPhoto] = []
    for point in sweep(perturb, victim, tasks, options):
        broken = options.keep_broken and bool(outcomes) and outcomes[-1].reached[1]
        outcomes.append(attack.outcome(point, outcomes[-1].pixels if broken else None))
    return outcomes


def _search(attack: _PhotoAttack) -> list[AttackedPhoto]:
    """The tries of a bisection for the smallest eps, k / 255; only the file of the smallest stays.

    Each try attacks the clean photo anew.
    """
    tries: dict[int, AttackedPhoto] = {}

    def reaches(level: int) -> bool:
        options = attack.options.model_copy(update={"eps": [level / GREY_LEVELS]})
        (point,) = sweep(attack.perturb, attack.victim, attack.tasks, options)
        tries[level] = attack.outcome(point)
        return tries[level].confident

    # A product such as 255 * (29 / 255) may lie just below the whole number.
    smallest_level(reaches, math.floor(attack.options.eps[0] * GREY_LEVELS + 1e-9))
    outcomes = [tries[level] for level in sorted(tries)]
    chosen = shown_of(outcomes, attack.options)
    for one in outcomes:
        if one is not chosen:
            (attack.folder / photo_file(one.eps)).unlink()
    return outcomes


def smallest_level(reaches: Callable[[int], bool], largest: int) -> int | None:
    """The smallest of the numbers 1 to ``largest`` that ``reaches`` holds for; None where it does
    not hold for ``largest``.

    It is found by bisection. Where ``reaches`` does not stay true once it is true, the number found
    still holds, and the one before it does not.
    """
    if not reaches(largest):
        return None
    below, smallest = 0, largest
    while smallest - below > 1:
        middle = (below + smallest) // 2
        below, smallest = (below, middle) if reaches(middle) else (middle, smallest)
    return smallest


@dataclass(frozen=True)
class _PhotoAttack:
    """An attack on one photo: rounded, saved, decoded and judged, and made again, rounding as it
    goes, where the rounding undid it.

    Attributes:
        seen: which pixels the network sees, bool (1, 1, H, W). Those beside the middle that it cuts
            out are given back as they were: a random start moves them too, to no end.
    """

    perturb: Any
    victim: Victim
    tasks: Tasks
    options: AttackOptions
    seen: Tensor
    folder: Path

    def outcome(self, point: Point, broken: Tensor | None = None) -> AttackedPhoto:
        """What becomes of the photo at one eps.

        Args:
            broken: the saved photo (1, C, H, W) of a smaller eps that reached the goal, to be kept.
        """
        started = time.perf_counter()
        rounded, tries = self._rounded(point) if broken is None else (broken, 0)
        file = self.folder / photo_file(point.eps)
        png((rounded[0] * 255).round().to(torch.uint8).numpy(), file)
        labels = self.tasks.images.labels
        saved = photos.read(file)
        if self.tasks.images.pixels.shape[1] == 1:
            saved = saved.in_grey()
        decoded = Images(saved.pixels[None], labels).inputs(slice(None))
        after = judge(self.victim, decoded)
        both = bool(point.reached), bool(self._goal().reached(after))
        confident = bool(self._goal(confident=True).reached(after))
        if both == (True, False):
            logger.info(
                f"ε = {eps_text(point.eps)}: rounding to 8 bits undoes it, and {tries} longer "
                "attacks that round as they go do not get there"
            )
        seconds = point.seconds + time.perf_counter() - started
        return AttackedPhoto(
            point.eps, point.logits, after, both, confident, tries, decoded, seconds
        )

    def _goal(self, *, confident: bool = False) -> Goal:
        confidence = getattr(self.options, "confidence", None) or 0.0
        return Goal(
            self.tasks.classes, self.tasks.targeted, confidence=confidence if confident else 0.0
        )

    def _rounded(self, point: Point) -> tuple[Tensor, int]:
        """The photo of 8 bits, and how many further attacks it took.

        A search has reached its goal only with confidence, before the rounding and after.
        """
        goal = self._goal(confident=self.options.smallest_eps)
        rounded = self._to_bytes(point.perturbed, point.eps)
        reached, tries = bool(goal.reached(judge(self.victim, rounded))), 0
        while bool(goal.reached(point.logits)) and not reached and tries < _TRIES:
            tries += 1
            again = _again(self.perturb, self.victim, self.tasks, self.options, point, tries)
            candidate = self._to_bytes(again.cpu(), point.eps)
            reached = bool(goal.reached(judge(self.victim, candidate)))
            rounded = candidate if reached else rounded
        return rounded, tries

    def _to_bytes(self, perturbed: Tensor, eps: float) -> Tensor:
        clean = self.tasks.clean(torch.tensor([0]), torch.device("cpu"))
        p = _p(norm_of(self.options))
        return round_to_bytes(torch.where(self.seen, perturbed, clean), clean, eps, p)


def _confident(options: AttackOptions) -> AttackOptions:
    """The options with the confidence that an attack on a photo has by default.

    At the first success two classes are about as likely, which is little to show.
    """
    if "confidence" in type(options).model_fields and options.model_dump()["confidence"] is None:
        return options.model_copy(update={"confidence": _CONFIDENCE})
    return options


def _again(
    attack: Any, victim: Victim, tasks: Tasks, options: AttackOptions, point: Point, tries: int
) -> Tensor:
    """The attack once more, on whole grey levels, with other random numbers and, where it counts
    them, more steps."""
    changed: dict[str, object] = {"quantize": True}
    for name in ("steps", "queries"):
        if hasattr(options, name):
            changed[name] = getattr(options, name) * 2**tries
    one = torch.tensor([0])
    confidence = getattr(options, "confidence", None) or 0.0
    perturbed: Tensor = attack(
        victim,
        tasks.clean(one, victim.device),
        replace(tasks.goal(one, victim.device), confidence=confidence),
        ImageRandom(derive(options.seed, 2, tries), tasks.classes),
        point.eps,
        options.model_copy(update=changed),
    )
    return perturbed


def _p(norm: str) -> float:
    return P[norm] if norm in P else float(norm.removeprefix("l"))
