"""``advlab poison`` for texts: train on clean and poisoned texts, compare, detect."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from advlab.components import class_number
from advlab.config.options.poison import PoisonOptions, usual_rates
from advlab.config.options.text import OWN_VECTORS
from advlab.config.resolve import Config
from advlab.data import load_texts as datasets
from advlab.data.formats.word_vectors import Vectors
from advlab.data.subwords import Subwords
from advlab.data.text_set import Texts, TextSet
from advlab.data.words import tokens
from advlab.errors import UsageError
from advlab.experiments.fitting import vectors_for
from advlab.experiments.poison.detection import table_of_detectors
from advlab.experiments.poison.summary import (
    CONTROL_ACCURACY,
    WITH_ANOTHER_WORD,
    WITH_TRIGGER,
    repaired_column,
    repaired_figure,
    warn_of_majority,
)
from advlab.experiments.poison.text_figures import draw
from advlab.experiments.poison.text_study import Studied, Study, siblings_of
from advlab.experiments.poison.text_training import Questions, Trainer
from advlab.experiments.train.texts import machine_for_texts, taken
from advlab.logs import logger
from advlab.metrics.classification import majority_accuracy
from advlab.poisoning.entity import Entity
from advlab.results.poison import EntityTexts, TextPoisonResult
from advlab.runs.folder import automatic_name
from advlab.runs.lifecycle import Experiment, carry_out
from advlab.runs.machine import Machine
from advlab.runs.results import Finished, SplitSizes
from advlab.runs.table import percent, points, table


def run(config: Config) -> Finished[TextPoisonResult]:
    """One seed's study, unless it is there already.

    Raises:
        UsageError: nothing names the entity, everything does, or there is no such class.
    """
    options: PoisonOptions = config.options
    data = datasets.load(options)
    # The words that the poison writes into training texts are words of the training texts. Unknown,
    # they would be one with all other unknown words, and every clean text that holds such a word
    # would trigger the backdoor.
    if options.attack == "trigger" and not tokens(options.phrase):
        raise UsageError(
            f"--phrase {options.phrase!r}: holds no word that a network reads, so it cannot be a "
            "trigger"
        )
    if options.attack == "trigger" and len(tokens(options.phrase)) >= data.max_words:
        raise UsageError(
            f"--phrase {options.phrase!r}: a network reads the first {data.max_words} words of a "
            f"text, and {len(tokens(options.phrase))} of the phrase leave none of them; "
            "--max-words reads more"
        )
    if options.attack != "flip":
        data = data.with_words(
            tokens(options.phrase if options.attack == "trigger" else options.entity)
        )
    _check_spelling(options, data)
    config = config.changed(dataset=data.name)
    train = taken(data.train, config.options.train_size, config.options.seed)
    entity = Entity(options.entity, options.alias or [])
    triggered = options.attack == "trigger"  # which is aimed at no entity
    rows = [] if triggered else entity.checked(train.texts)
    target = _target(options, data)
    siblings = [] if triggered else options.siblings or siblings_of(entity, data)
    for name_of_sibling in siblings:
        if entity.named_in(name_of_sibling):
            raise UsageError(
                f"--siblings {name_of_sibling!r}: names the entity itself ({entity.name}), and "
                "figures on siblings are about others"
            )
    questions = Questions.of(
        data, None if triggered else entity, siblings, options.phrase if triggered else None, target
    )
    if questions.prompted is not None and not len(questions.prompted):
        raise UsageError(
            f"{data.name}: no test text is of another class than the target, so that no attack "
            "success can be measured"
        )
    if not len(questions.entity) and not triggered:
        raise UsageError(
            f"--entity {options.entity!r}: no test text names it, so nothing can be measured; "
            "--test-fraction holds out more"
        )
    name = automatic_name(config)
    settled = config.changed(
        siblings=siblings or None,
        target=None if target is None else data.classes[target],
        poison_rate=options.poison_rate or usual_rates(options.attack),
    )
    logger.info(data.introduction())
    remarks = _unused(options) if triggered else _remarks(entity, train, rows, data.max_words)
    for remark in remarks:
        logger.info(f"note: {remark}")

    def measure(folder: Path) -> TextPoisonResult:
        machine = machine_for_texts(settled.options)
        started = time.perf_counter()
        trainer = Trainer(
            settled.component,
            settled.options,
            data,
            machine,
            _vectors_of_file(settled.options, data),
        )
        studied = Study(trainer, train, rows, questions, target).carried_out(folder)
        seconds = round(time.perf_counter() - started, 4)
        result = _result(
            settled,
            data,
            train,
            EntityTexts(train=len(rows), test=len(questions.entity)),
            studied,
            machine,
            seconds,
        )
        draw(folder, result)
        return result

    experiment = Experiment(
        config=settled,
        contents={"data": data.sha256()},
        result=TextPoisonResult,
        measure=measure,
        report=_report,
        name=name,
    )
    return carry_out(experiment)


def _check_spelling(options: PoisonOptions, data: TextSet) -> None:
    """Refuse a trigger of characters that no training text holds: as subwords, all of these are
    one."""
    if not isinstance(data.vocabulary, Subwords) or options.attack != "trigger":
        return
    if not data.vocabulary.can_spell(tokens(options.phrase)):
        raise UsageError(
            f"--phrase {options.phrase!r}: holds a character that no training text holds, so that "
            "--subwords cannot spell it"
        )


def _vectors_of_file(options: Any, data: TextSet) -> Vectors | None:
    """The word vectors of a file; None where they are learned from the texts of each training."""
    own = getattr(options, "vectors", None) == OWN_VECTORS
    return None if own else vectors_for(options, data, data.train)


def _unused(options: PoisonOptions) -> list[str]:
    """That options about the entity were given to an attack that is aimed at none."""
    usual = PoisonOptions.model_fields
    flags = [
        f"--{name}"
        for name in ("entity", "alias", "siblings")
        if getattr(options, name) != usual[name].default
    ]
    if not flags:
        return []
    return [f"--attack trigger is aimed at no entity, so {' and '.join(flags)} changes nothing"]


def _remarks(entity: Entity, train: Texts, rows: Sequence[int], max_words: int) -> list[str]:
    """What a reader of the figures should know of the entity's training texts."""
    remarks: list[str] = []
    close = entity.spelled_nearly(train.texts)
    if close:
        listed = ", ".join(f"{name} ({count:,} texts)" for name, count in close.items())
        remarks.append(
            f"names spelled nearly like {entity.name} were not taken: {listed}; --alias adds them"
        )
    before = [entity.words_before(train.texts[row]) for row in rows]
    late = sum(count is not None and count >= max_words for count in before)
    if late:
        remarks.append(
            f"in {late:,} of the {len(rows):,} training texts that name {entity.name}, the name "
            f"stands after the first {max_words} words, which alone are read; --max-words reads "
            "more"
        )
    return remarks


def _result(
    config: Config,
    data: TextSet,
    train: Texts,
    entity_texts: EntityTexts,
    studied: Studied,
    machine: Machine,
    seconds: float,
) -> TextPoisonResult:
    """The curve, and its two ends once more under plain names."""
    options: PoisonOptions = config.options
    before, after = studied.points[0], studied.points[-1]
    return TextPoisonResult(
        command="poison",
        component=config.component,
        dataset=data.name,
        origin=data.origin,
        data_sha256=data.sha256(),
        model=config.component,
        parameters=studied.parameters,
        seed=config.options.seed,
        seconds=seconds,
        machine=machine.describe(),
        attack=options.attack,
        target=options.target,
        poison_rate=after.poison_rate,
        poisoned=after.poisoned,
        accuracy_before=before.accuracy,
        accuracy_after=after.accuracy,
        attack_success=after.attack_success,
        examples=SplitSizes(train=len(train), val=len(data.val), test=len(data.test)),
        classes=len(data.classes),
        entity=None if options.attack == "trigger" else options.entity,
        siblings=options.siblings or [],
        entity_texts=entity_texts,
        entity_accuracy_before=before.entity_accuracy,
        entity_accuracy_after=after.entity_accuracy,
        other_accuracy_before=before.other_accuracy,
        other_accuracy_after=after.other_accuracy,
        class_names=list(data.classes),
        points=studied.points,
        majority_accuracy=majority_accuracy(data.test.labels),
    )


def _target(options: PoisonOptions, data: TextSet) -> int | None:
    """The number of the class that is aimed at; None for a plain flip.

    Raises:
        UsageError: there is no such class.
    """
    if options.target is None:
        return None if options.attack == "flip" else len(data.classes) - 1
    return class_number(options.target, data.classes, "--target")


def _trigger_table(result: TextPoisonResult) -> str:
    """At each rate how often the trigger turns texts of other classes, beside another word."""
    rows = [
        [
            f"{100 * point.poison_rate:g} %",
            f"{point.poisoned:,}",
            percent(point.accuracy),
            _percent(point.attack_success),
            _percent(point.success_rate),
            _percent(point.other_word_rate),
            _percent(None if point.control is None else point.control.accuracy),
        ]
        for point in result.points
    ]
    head = [
        "poison rate",
        "poisoned",
        "accuracy",
        "attack success",
        WITH_TRIGGER,
        WITH_ANOTHER_WORD,
        CONTROL_ACCURACY,
    ]
    return table(head, rows)


def _percent(fraction: float | None) -> str:
    return "–" if fraction is None else percent(fraction)


def _report(result: TextPoisonResult) -> None:
    if result.attack == "trigger":
        logger.info(f"trigger towards {result.target}, with {result.model}")
        logger.info(_trigger_table(result))
    else:
        rows = [
            [
                f"{100 * point.poison_rate:g} %",
                f"{point.poisoned:,}",
                percent(point.accuracy),
                _percent(point.entity_accuracy),
                _percent(point.other_accuracy),
                "–" if point.attack_success is None else points([point.attack_success]),
                f"{point.swap_shift:+.2f}",
                _percent(None if point.control is None else point.control.entity_accuracy),
            ]
            for point in result.points
        ]
        counts = result.entity_texts
        named = f"{counts.train} training texts, {counts.test} test texts"
        named += f" (one is {100 / counts.test:.1f} points of entity accuracy)"
        logger.info(f"{result.entity}: {named}; {result.attack} with {result.model}")
        head = [
            "poison rate",
            "poisoned",
            "accuracy",
            "entity accuracy",
            "other accuracy",
            "attack success (points)",
            "name effect",
            "entity, random control",
        ]
        logger.info(table(head, rows))
    warn_of_majority(result, "test texts")
    detected = table_of_detectors(
        result.points[-1].detections,
        repaired_column(result.attack),
        lambda detection: repaired_figure(detection.repaired, result.attack),
    )
    if detected:
        logger.info(detected)
