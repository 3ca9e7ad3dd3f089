"""Repairs of networks with a backdoor, and rejection of triggered inputs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from advlab.components import load_component
from advlab.data.image_set import Images, take
from advlab.errors import UsageError
from advlab.experiments.poison.image_training import ImageTrainer
from advlab.metrics.detection import detection_metrics
from advlab.poisoning.backdoored import (
    BackdooredNetwork,
    RecoveredTrigger,
    Repaired,
    RepairSettings,
)
from advlab.poisoning.images import PoisonedImages
from advlab.poisoning.pruning import has_convolution
from advlab.poisoning.screening import InputEvidence, rejection_threshold
from advlab.progress import Bar
from advlab.results.poison import ImageFigures, ImageRepair, InputDetection, TriggerFigures
from advlab.runs.machine import derive

_REPAIRS, _DETECTORS = "advlab.poisoning.repairs", "advlab.poisoning.input_detectors"


@dataclass(frozen=True)
class Backdoor:
    """A network that was trained on poisoned images, and how its attack is measured.

    Attributes:
        poisoned: the training images.
        test_images: all without a trigger, and those that the attack is after with it.
        target: number of the class that the attack aims at.
        clean_success: fraction of the latter that a network without poison takes for the target.
    """

    network: nn.Module
    poisoned: PoisonedImages
    test_images: tuple[Images, Images]
    target: int
    clean_success: float


def check_repairs(trainer: ImageTrainer, train: Images) -> None:
    """Refuse repairs that cannot be carried out, before anything is trained.

    Raises:
        UsageError: there are fewer clean images than asked for, or the network lacks what a repair
            needs.
    """
    options, images = trainer.options, len(trainer.data.val)
    if not (options.repair or options.detect_inputs):
        return
    asked = options.clean_images
    if asked is not None and not len(trainer.data.classes) <= asked <= images:
        raise UsageError(
            f"--clean-images {asked}: there are {images:,} validation images in "
            f"{len(trainer.data.classes):,} classes; give at most as many, and one for each class"
        )
    for name in options.repair or []:
        needs = getattr(load_component(_REPAIRS, name, "repair"), "NEEDS", "")
        if needs == "convolution" and not has_convolution(trainer.untrained(train)):
            raise UsageError(f"--repair {name}: prunes a convolution, and {trainer.name} has none")
        if needs == "three classes" and len(trainer.data.classes) < 3:
            raise UsageError(
                f"--repair {name}: looks for a class that is unlike the others, and of two classes "
                "neither is"
            )
        if name == "abl" and round((1 - options.isolate) * len(train)) < 2:
            raise UsageError(
                f"--isolate {options.isolate:g}: leaves fewer than two of {len(train):,} training "
                "images to train on"
            )
    for name in options.detect_inputs or []:
        load_component(_DETECTORS, name, "detector of inputs")


def repairs(
    trainer: ImageTrainer, backdoor: Backdoor, bar: Bar
) -> tuple[list[ImageRepair], dict[str, tuple[RecoveredTrigger, ...]]]:
    """The network after every repair, each from the same network, and the triggers that were
    recovered, by repair.

    Args:
        bar: counts each.
    """
    figures, triggers = [], {}
    for name in dict.fromkeys(trainer.options.repair or []):
        bar.set_description(f"repair {name}")
        module = load_component(_REPAIRS, name, "repair")
        repaired: Repaired = module.repair(_given(trainer, backdoor))
        figures.append(_figures(name, repaired, trainer, backdoor))
        if repaired.triggers:
            triggers[name] = repaired.triggers
        bar.update()
    return figures, triggers


def input_detections(trainer: ImageTrainer, backdoor: Backdoor, bar: Bar) -> list[InputDetection]:
    """How well each method rejects test images with the trigger.

    Args:
        bar: counts each.
    """
    results = []
    clean = _clean_images(trainer)
    order = torch.randperm(
        len(clean),
        generator=torch.Generator().manual_seed(derive(trainer.options.seed, 37)),
    )
    given, held_out = (clean.select(half) for half in order.chunk(2))
    evidence = InputEvidence(
        lambda pixels: trainer.logits(
            backdoor.network, Images(pixels, torch.zeros(len(pixels), dtype=torch.int64))
        ),
        given,
        derive(trainer.options.seed, 38),
    )
    for name in dict.fromkeys(trainer.options.detect_inputs or []):
        bar.set_description(f"detector of inputs {name}")
        module = load_component(_DETECTORS, name, "detector of inputs")
        threshold = rejection_threshold(
            module.suspicion(evidence, held_out), trainer.options.false_rejections
        )
        suspicions = tuple(module.suspicion(evidence, images) for images in backdoor.test_images)
        results.append(_screening(name, threshold, suspicions, trainer, backdoor, len(clean)))
        bar.update()
    return results


def _given(trainer: ImageTrainer, backdoor: Backdoor) -> BackdooredNetwork:
    options, train = trainer.options, backdoor.poisoned.train
    return BackdooredNetwork(
        network=backdoor.network,
        fresh=lambda: trainer.fresh(train),
        train=train,
        clean=_clean_images(trainer),
        classes=trainer.data.classes,
        options=trainer.settled(train),
        machine=trainer.machine,
        settings=RepairSettings(options.repair_epochs, options.prune_limit, options.isolate),
        seed=derive(options.seed, 36),
    )


def _clean_images(trainer: ImageTrainer) -> Images:
    """The validation images that repairs may use."""
    options = trainer.options
    return take(trainer.data.val, options.clean_images, derive(options.seed, 39) % 2**32)


def _figures(
    name: str, repaired: Repaired, trainer: ImageTrainer, backdoor: Backdoor
) -> ImageRepair:
    after = trainer.figures(repaired.network, backdoor.test_images, backdoor.target)
    isolated = repaired.isolated
    return ImageRepair(
        method=name,
        clean_images=repaired.clean_images,
        finding=repaired.finding,
        repaired=after,
        attack_success=after.success_rate - backdoor.clean_success,
        pruned_units=repaired.pruned_units,
        units=repaired.units,
        triggers=[
            _of_trigger(label, trigger)
            for label, trigger in zip(trainer.data.classes, repaired.triggers, strict=False)
        ],
        isolated=None if isolated is None else len(isolated),
        isolated_poisoned=None
        if isolated is None
        else int(torch.isin(isolated, backdoor.poisoned.rows).sum()),
    )


def _of_trigger(label: str, trigger: RecoveredTrigger) -> TriggerFigures:
    index = trigger.anomaly_index
    return TriggerFigures(
        target=label,
        mask_norm=trigger.norm,
        trigger_success=trigger.success_rate,
        anomaly_index=index if math.isfinite(index) else None,
        flagged=trigger.flagged,
    )


def _screening(
    name: str,
    threshold: float,
    suspicions: tuple[Tensor, ...],
    trainer: ImageTrainer,
    backdoor: Backdoor,
    clean_images: int,
) -> InputDetection:
    """The figures of a detector, from its suspicions of test images without the trigger and with
    it."""
    without, triggered = (values <= threshold for values in suspicions)  # accepted
    test, after = backdoor.test_images
    correct = trainer.logits(backdoor.network, test).argmax(dim=1) == test.labels
    reached = trainer.logits(backdoor.network, after).argmax(dim=1) == backdoor.target
    screened = ImageFigures(
        accuracy=float((correct & without).double().mean()),
        success_rate=float((reached & triggered).double().mean()),
    )
    every = torch.cat(suspicions)
    truth = torch.arange(len(every)) >= len(test)
    return InputDetection(
        method=name,
        clean_images=clean_images,
        auroc=detection_metrics(every, truth, len(after))["auroc"],
        threshold=threshold,
        false_rejection_rate=float((~without).double().mean()),
        false_acceptance_rate=float(triggered.double().mean()),
        screened=screened,
        attack_success=screened.success_rate - backdoor.clean_success,
    )
