"""``advlab attack`` on one photo, for networks that take photos."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from advlab.components import class_number, load_component
from advlab.config.options.run import AttackOptions, norm_of
from advlab.config.radii import eps_text
from advlab.config.references import names_code, names_library
from advlab.config.resolve import Config
from advlab.data.formats import photos
from advlab.data.formats.photos import Photo
from advlab.data.image_set import Images
from advlab.errors import UsageError
from advlab.experiments.photo_report import AttackedPhoto, photo_file, picture, report, result_of
from advlab.experiments.target_model import TargetModel, count_classes, named, with_class_names
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

Log = Callable[[str], None]


def is_meant(options: AttackOptions) -> bool:
    """Whether a photo is to be attacked, and not images of a data set.

    A network of a library that is given neither is meant for a photo.
    """
    library = names_library(options.model)
    if not library and options.factory is None and not names_code(options.model):
        return False
    if options.image is not None and not options.image.isdecimal():
        return True
    return library and options.dataset == "auto"


def run(config: Config, log: Log = print) -> Finished[PhotoAttackResult]:
    """Attack one photo, unless the run is there already.

    Raises:
        UsageError: no photo, network or class of that name, the network takes no such photo, or an
            option that a photo has no use for.
    """
    options: AttackOptions = config.options
    photo = _photo_of(options)
    network = named(options)
    assert network is not None  # is_meant has seen its name
    target, classes = _for_photo(network, photo, options)
    log(f"photo: {photo.origin}")
    log(target.introduction())
    settled = target.settled(config)
    experiment = Experiment(
        config=settled,
        contents={"data": photo.sha256, **target.contents},
        result=PhotoAttackResult,
        measure=lambda folder: _measure(settled, photo, target, classes, folder, log),
        report=lambda result, folder: report(result, folder, log),
        name=automatic_name(settled).replace("-auto", "", 1),
    )
    return carry_out(experiment, log)


def _for_photo(
    target: TargetModel, photo: Photo, options: AttackOptions
) -> tuple[TargetModel, Sequence[str]]:
    """The network with its class names, and these names; numbers where they are unknown.

    Raises:
        UsageError: it cannot take the photo.
    """
    device = prepare(options).device
    images = Images(photo.pixels[None], torch.zeros(1, dtype=torch.int64))
    count = count_classes(target, images, device)
    target = with_class_names(target, options, count)
    return target, target.class_names(count)


def _measure(
    config: Config,
    photo: Photo,
    target: TargetModel,
    classes: Sequence[str],
    folder: Path,
    log: Log,
) -> PhotoAttackResult:
    options: AttackOptions = config.options
    # A single photo is quickly done, and bf16 would blur its own grey levels.
    machine = prepare(
        options.model_copy(update={"precision": "fp32"}) if options.precision == "auto" else options
    )
    victim = Victim(target.network, machine)
    clean = Images(photo.pixels[None], torch.zeros(1, dtype=torch.int64))
    logits = judge(victim, clean.inputs(slice(None)))
    if not bool(logits.isfinite().all()):
        weights = target.record.path or "its weights"
        raise UsageError(f"{target.label}: its answers are not finite; is {weights} damaged?")
    tasks = _tasks(clean, logits, options.target, classes)
    height, width = photo.pixels.shape[1:]
    seen = (
        torch.ones(1, 1, height, width, dtype=torch.bool)
        if target.framing is None
        else target.framing.seen(height, width)
    )
    outcomes = _attack(config, victim, tasks, seen, folder, log)
    confidence: float | None = getattr(_confident(options), "confidence", None)
    result = result_of(
        config, target.record, classes, photo, tasks, logits, outcomes, machine, confidence
    )
    shown = next((one for one in outcomes if one.reached[1]), outcomes[-1])
    save(picture(result, shown, tasks, classes, outcomes), folder / "attacked.png")
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
    said = int(logits.argmax())
    if typed == "each":
        raise UsageError(
            "--target each: a photo takes one class at a time; several after --target make a run "
            "for each"
        )
    if typed is None:
        wanted = said
    elif typed == "least-likely":
        wanted = int(logits.argmin())
    else:
        wanted = (
            (said + 1) % len(classes)
            if typed == "next"
            else class_number(typed, classes, "--target")
        )
    if typed is not None and wanted == said:
        raise UsageError(
            f"--target {typed}: the network takes the photo for {classes[said]} already"
        )
    labelled = Images(photo.pixels, torch.tensor([said]))
    return Tasks(labelled, torch.tensor([0]), torch.tensor([wanted]), targeted=typed is not None)


def _attack(
    config: Config, victim: Victim, tasks: Tasks, seen: Tensor, folder: Path, log: Log
) -> list[AttackedPhoto]:
    """Every eps in turn: attack, round, save, decode, judge; and again, rounding as it goes, where
    the rounding undid it.

    Pixels that the network does not see, beside the middle that it cuts out, are given back as they
    were: a random start moves them too, to no end.
    """
    options = _confident(config.options)
    attack = load_component("advlab.attacks", config.component, "attack").perturb
    p = _p(norm_of(options))
    goal = Goal(tasks.classes, tasks.targeted)
    clean = tasks.clean(torch.tensor([0]), torch.device("cpu"))
    outcomes: list[AttackedPhoto] = []
    for point in sweep(attack, victim, tasks, options):
        started = time.perf_counter()
        if options.keep_broken and outcomes and outcomes[-1].reached[1]:
            rounded = outcomes[-1].pixels
        else:
            rounded = round_to_bytes(torch.where(seen, point.perturbed, clean), clean, point.eps, p)
        reached, tries = bool(goal.reached(judge(victim, rounded))), 0
        while bool(point.reached) and not reached and tries < _TRIES:
            tries += 1
            again = _again(attack, victim, tasks, options, point, tries)
            candidate = round_to_bytes(torch.where(seen, again.cpu(), clean), clean, point.eps, p)
            reached = bool(goal.reached(judge(victim, candidate)))
            rounded = candidate if reached else rounded
        file = folder / photo_file(point.eps)
        png((rounded[0] * 255).round().to(torch.uint8).numpy(), file)
        decoded = Images(photos.read(file).pixels[None], tasks.images.labels).inputs(slice(None))
        after = judge(victim, decoded)
        seconds = point.seconds + time.perf_counter() - started
        both = bool(point.reached), bool(goal.reached(after))
        outcomes.append(
            AttackedPhoto(point.eps, point.logits, after, both, tries, decoded, seconds)
        )
        if both == (True, False):
            at = f"ε = {eps_text(point.eps)}"
            log(
                f"{at}: rounding to 8 bits undoes it, and {tries} longer attacks that round as "
                "they go do not get there"
            )
    return outcomes


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
