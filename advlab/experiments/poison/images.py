"""``advlab poison`` for image models: train on clean and poisoned images, compare, detect."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from advlab.config.options.poison import WITH_NETWORK, usual_image_rates
from advlab.config.resolve import Config
from advlab.data import load_images as datasets
from advlab.data.image_set import Images, ImageSet, take
from advlab.experiments.poison.detection import detections, table_of_detectors
from advlab.experiments.poison.image_attack import ImageAttack
from advlab.experiments.poison.image_figures import SHOWN_TRIGGERED, draw, draw_aimed
from advlab.experiments.poison.image_training import ImageTrainer
from advlab.experiments.poison.repair_figures import (
    draw_repairs,
    draw_triggers,
    repair_caption,
    repair_tables,
)
from advlab.experiments.poison.repairing import (
    Backdoor,
    check_repairs,
    input_detections,
    repairs,
)
from advlab.experiments.poison.summary import warn_of_majority
from advlab.experiments.starting import starting_contents
from advlab.experiments.trained_on import check_weights_unseen
from advlab.logs import logger, silenced
from advlab.metrics.classification import majority_accuracy
from advlab.networks.classifier import count_parameters
from advlab.plots.sheets import Attacked
from advlab.poisoning.backdoored import RecoveredTrigger
from advlab.poisoning.evidence import Evidence
from advlab.poisoning.images import PoisonedImages
from advlab.progress import progress_bar
from advlab.results.poison import ImageDetection, ImageFigures, ImagePoint, ImagePoisonResult
from advlab.runs.files import write_text
from advlab.runs.folder import automatic_name
from advlab.runs.lifecycle import Experiment, carry_out
from advlab.runs.machine import derive, machine_of, prepare
from advlab.runs.results import Finished, SplitSizes
from advlab.runs.table import percent, table


def run(config: Config) -> Finished[ImagePoisonResult]:
    """One seed's study, unless it is there already.

    Raises:
        UsageError: there is no such class.
    """
    options = config.options
    data = datasets.load_to_train(options)
    config = config.changed(dataset=data.name)
    train = take(data.train, options.train_size, options.seed)
    machine = machine_of(options.device, options.precision)
    check_repairs(ImageTrainer(config.component, options, data, machine), train)
    attack = ImageAttack.of(options, data)
    attack.check_images(train, data)
    check_weights_unseen(options.weights, data, options)
    name = automatic_name(config)
    settled = config.changed(
        target=data.classes[attack.target],
        source=None if attack.source is None else data.classes[attack.source],
        poison_rate=options.poison_rate or usual_image_rates(options.attack),
    )
    logger.info(data.introduction())
    experiment = Experiment(
        config=settled,
        contents={"data": data.sha256(), **starting_contents(config.component, options)},
        result=ImagePoisonResult,
        measure=lambda folder: _measure(settled, data, train, attack, folder),
        report=_report,
        name=name,
    )
    return carry_out(experiment)


def _measure(
    config: Config,
    data: ImageSet,
    train: Images,
    attack: ImageAttack,
    folder: Path,
) -> ImagePoisonResult:
    options = config.options
    machine = prepare(options)
    started = time.perf_counter()
    trainer = ImageTrainer(config.component, options, data, machine)
    studied = _study(trainer, train, attack)
    first, last = studied.points[0], studied.points[-1]
    result = ImagePoisonResult(
        command="poison",
        component=config.component,
        dataset=data.name,
        origin=data.origin,
        data_sha256=data.sha256(),
        model=config.component,
        parameters=studied.parameters,
        seed=options.seed,
        seconds=round(time.perf_counter() - started, 4),
        machine=machine.describe(),
        attack=options.attack,
        target=data.classes[attack.target],
        poison_rate=last.poison_rate,
        poisoned=last.poisoned,
        accuracy_before=first.accuracy,
        accuracy_after=last.accuracy,
        attack_success=last.attack_success,
        examples=SplitSizes(train=len(train), val=len(data.val), test=len(data.test)),
        classes=len(data.classes),
        source=None if attack.source is None else data.classes[attack.source],
        aimed=studied.aimed,
        points=studied.points,
        majority_accuracy=majority_accuracy(data.test.labels),
    )
    lines = [
        json.dumps(line, ensure_ascii=False) + "\n"
        for line in studied.poisoned.manifest(data.classes)
    ]
    write_text(folder / "manifest.jsonl", "".join(lines))
    draw(folder, result, studied.poisoned, studied.examples, data)
    if studied.aimed is not None:
        draw_aimed(folder, result, data)
    caption = repair_caption(result)
    draw_repairs([result], folder / "repairs.png", caption)
    draw_triggers(result, studied.recovered, folder, caption)
    return result


@dataclass(frozen=True)
class _Studied:
    """What was measured.

    Attributes:
        points: at every rate, ascending.
        poisoned: the training images at the largest rate.
        examples: test images with the trigger, or perturbed training images, and what the network
            trained at that rate takes them for; none of relabelled images.
        aimed: number of the one test image that the attack is after; None for other attacks.
        parameters: of the network.
        recovered: triggers that repairs recovered at the largest rate, by repair.
    """

    points: list[ImagePoint]
    poisoned: PoisonedImages
    examples: list[Attacked]
    aimed: int | None
    parameters: int
    recovered: dict[str, tuple[RecoveredTrigger, ...]]


def _study(trainer: ImageTrainer, train: Images, attack: ImageAttack) -> _Studied:
    """Train at every rate, and measure each network on the same test images."""
    options, data = trainer.options, trainer.data
    rates = sorted({rate for rate in options.poison_rate if rate > 0})
    methods = (options.detect, options.repair, options.detect_inputs)
    each = 1 + sum(len(names or []) for names in methods)
    recovered: dict[str, tuple[RecoveredTrigger, ...]] = {}
    own_network = options.attack in WITH_NETWORK
    total = 1 + own_network + each * len(rates)
    with progress_bar(total, "training without poison", "steps") as bar, ExitStack() as rest:
        model = trainer(train)
        rest.enter_context(silenced())  # every further training would log the same
        bar.update()
        parameters = count_parameters(model)
        if own_network:
            bar.set_description("training the attacker's network")
            network = trainer.reseeded(derive(options.seed, 40))(train)
            attack = attack.prepared(data, network, options, trainer.machine)
            bar.update()
        test_images = data.test, attack.triggered(attack.aimed_at(data.test))
        clean = trainer.figures(model, test_images, attack.target)
        points = [
            ImagePoint(
                **clean.model_dump(),
                poison_rate=0.0,
                poisoned=0,
                attack_success=0.0,
                target_probability=_probability(trainer, model, attack),
            )
        ]
        poisoned = attack.poisoned(train, 0.0)
        for rate in rates:
            poisoned = attack.poisoned(train, rate)
            bar.set_description("training with poison")
            model = trainer(poisoned.train)
            bar.update()
            after = trainer.figures(model, test_images, attack.target)
            detected = (
                _detected(trainer, poisoned, model, test_images, attack.target, bar.update)
                if options.detect
                else []
            )
            backdoor = Backdoor(model, poisoned, test_images, attack.target, clean.success_rate)
            repaired, recovered = repairs(trainer, backdoor, bar)
            points.append(
                ImagePoint(
                    **after.model_dump(),
                    poison_rate=rate,
                    poisoned=len(poisoned.rows),
                    attack_success=after.success_rate - clean.success_rate,
                    target_probability=_probability(trainer, model, attack),
                    gradient_distance=poisoned.distance,
                    detections=detected,
                    repairs=repaired,
                    input_detections=input_detections(trainer, backdoor, bar),
                )
            )
    examples = _examples(trainer, model, attack, train, poisoned)
    return _Studied(points, poisoned, examples, attack.aimed, parameters, recovered)


def _probability(trainer: ImageTrainer, model: nn.Module, attack: ImageAttack) -> float | None:
    """What the network gives the target on the one test image that the attack aims at."""
    if attack.aimed is None:
        return None
    logits = trainer.logits(model, attack.aimed_at(trainer.data.test))
    return float(logits.softmax(dim=1)[0, attack.target])


def _examples(
    trainer: ImageTrainer,
    model: nn.Module,
    attack: ImageAttack,
    train: Images,
    poisoned: PoisonedImages,
) -> list[Attacked]:
    """A few test images without and with the trigger, or without one a few training images before
    and after the perturbation, and the network's predictions."""
    if attack.trigger is not None:
        clean = attack.aimed_at(trainer.data.test)
        clean = clean.select(torch.arange(min(len(clean), SHOWN_TRIGGERED)))
        changed = attack.triggered(clean)
    elif attack.perturb is not None and len(poisoned.rows):
        rows = poisoned.rows[:SHOWN_TRIGGERED]
        clean, changed = train.select(rows), poisoned.train.select(rows)
    else:
        return []
    before, after = (_predicted(trainer, model, images) for images in (clean, changed))
    return [
        Attacked(
            clean.inputs(slice(row, row + 1))[0].numpy(),
            changed.inputs(slice(row, row + 1))[0].numpy(),
            before[row],
            after[row],
            trainer.options.attack,
        )
        for row in range(len(clean))
    ]


def _predicted(trainer: ImageTrainer, model: nn.Module, images: Images) -> list[str]:
    """What the network takes each image for, such as "7 (99.8 %)"."""
    best = trainer.logits(model, images).softmax(dim=1).max(dim=1)
    return [
        f"{trainer.data.classes[label]} ({100 * confidence:.1f} %)"
        for confidence, label in zip(best.values.tolist(), best.indices.tolist(), strict=True)
    ]


def _detected(
    trainer: ImageTrainer,
    poisoned: PoisonedImages,
    model: nn.Module,
    test_images: tuple[Images, Images],
    target: int,
    done: Callable[[], object],
) -> list[ImageDetection]:
    """What each method finds, and what a network is worth that was trained without its suspects."""
    options = trainer.options

    def retrain(rows: Tensor, about: Tensor) -> Tensor:
        return trainer.logits(trainer(poisoned.train.select(rows)), poisoned.train.select(about))

    logits, hidden = trainer.logits(model, poisoned.train), trainer.hidden(model, poisoned.train)
    evidence = Evidence(poisoned.train.labels, logits, hidden, retrain, derive(options.seed, 35))

    def repaired(rows: Tensor) -> ImageFigures:
        return trainer.figures(trainer(poisoned.train.select(rows)), test_images, target)

    results = detections(options.detect, evidence, poisoned.rows, options.budget, repaired, done)
    return [ImageDetection(**figures.model_dump(), repaired=after) for figures, after in results]


def _report(result: ImagePoisonResult) -> None:
    header = ["poison rate", "poisoned", "accuracy", "attack success"]
    rows = [
        [
            f"{100 * point.poison_rate:g} %",
            f"{point.poisoned:,}",
            percent(point.accuracy),
            percent(point.attack_success),
        ]
        for point in result.points
    ]
    aimed = ""
    if result.aimed is not None:
        aimed = f", at test image no. {result.aimed:,} of {result.source}"
        header += ["probability of the target", "gradient distance"]
        for row, point in zip(rows, result.points, strict=True):
            distance, probability = point.gradient_distance, point.target_probability
            row.append("–" if probability is None else percent(probability))
            row.append("–" if distance is None else f"{distance:.3f}")
    logger.info(
        f"{result.model} on {result.dataset}, {result.attack} towards {result.target}{aimed}"
    )
    logger.info(table(header, rows))
    warn_of_majority(result, "test images")
    without = result.points[0].success_rate
    detected = table_of_detectors(
        result.points[-1].detections,
        "attack success, repaired",
        lambda detection: detection.repaired.success_rate - without,
    )
    if detected:
        logger.info(detected)
    for of_repairs in repair_tables([result]):
        logger.info(of_repairs)
