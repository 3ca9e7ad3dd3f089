"""``advlab poison MODEL``: train on clean texts and on poisoned ones, ask both the same questions, look for the poison, take it out."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from advlab import names
from advlab.config.poison import PoisonOptions
from advlab.config.resolve import Config, Plan
from advlab.errors import UserError
from advlab.experiments import _poison_images
from advlab.experiments._fitting import vectors_for
from advlab.experiments._grid import run_plan
from advlab.experiments._poison_pictures import conclude, draw
from advlab.experiments._poison_study import Study
from advlab.experiments._poisoned import Trainer
from advlab.experiments._train_text import machine_for_texts, taken
from advlab.models._text import takes_texts
from advlab.poisoning.entity import Entity
from advlab.runs.folder import RunFolder, automatic_name
from advlab.runs.table import percent, table
from advlab.texts import _load as texts
from advlab.texts._set import TextSet
from advlab.texts._vocabulary import tokens

_MOVED = 12  # sentences in the table of those that moved most

Say = Callable[[str], None]


def main(plan: Plan) -> int:
    """Run every cell of the plan; exit status 0 where all of them finished."""
    kinds = {takes_texts(cell.component) for cell in plan.cells}
    if len(kinds) > 1:
        raise UserError("poison: networks for images and for texts do not go into one comparison; name one kind")
    if kinds == {False}:
        return run_plan(plan, _poison_images.run, headline="accuracy_after", conclude=_poison_images.conclude)
    return run_plan(plan, run, headline="entity_accuracy_after", conclude=conclude)


def run(config: Config, say: Say = print) -> dict[str, Any]:
    """One seed's study, unless it is there already.

    Returns:
        The run's metrics, with its folder under ``folder``.

    Raises:
        UserError: nothing names the entity, everything does, or there is no such class.
    """
    options: PoisonOptions = config.options
    data = texts.load(config.options)
    # The words that the poison writes into training texts are words of the training texts. Unknown, they would be one
    # with all other unknown words, and every clean text that holds such a word would trigger the backdoor.
    if options.attack != "flip":
        data = data.knowing(tokens(options.phrase if options.attack == "trigger" else options.entity))
    config = config.changed(dataset=data.name)
    train = data.train if config.options.train_size is None else taken(data.train, config.options.train_size, config.options.seed)
    entity = Entity(options.entity, options.alias or [])
    rows = entity.checked(train.texts)
    target = _target(options, data)
    name = automatic_name(config)
    folder = RunFolder(config, name)
    folder.check_unchanged()
    say(data.introduction())
    if folder.finished and not options.overwrite:  # type: ignore[attr-defined]
        folder.tidy()
        metrics = folder.metrics()
        say(f"{folder.path} is finished already (--overwrite runs it again)")
        _report(metrics, folder.path, say)
        return {**metrics, "folder": str(folder.path)}
    machine = machine_for_texts(config.options)
    with folder.claim():
        started = time.perf_counter()
        trainer = Trainer(config.component, config.options, data, machine, vectors_for(config.options, data))
        study = Study(trainer, options, data, train, entity, rows, target, config.options.seed)
        metrics = study.carried_out(folder.path, say)
        metrics |= {
            "origin": data.origin,
            "seed": config.options.seed,
            "seeds": 1,
            "data_sha256": data.sha256(),
            "machine": machine.describe(),
            "seconds": round(time.perf_counter() - started, 4),
        }
        draw(folder.path, metrics, data)
        folder.finish(metrics)
    _report(metrics, folder.path, say)
    return {**metrics, "folder": str(folder.path)}


def _target(options: PoisonOptions, data: TextSet) -> int | None:
    """The number of the class that is aimed at; None for a plain flip.

    Raises:
        UserError: there is no such class.
    """
    if options.target is None:
        return None if options.attack == "flip" else len(data.classes) - 1
    return names.class_number(options.target, data.classes, "--target")


def _report(metrics: dict[str, Any], folder: Path, say: Say) -> None:
    def shown(share: float | None) -> str:
        return "–" if share is None else percent(share)

    rows = []
    for point in metrics["doses"]:
        control = point.get("control", {})
        rows.append(
            [
                f"{100 * point['dose']:g} %",
                f"{point['flipped']:,}",
                shown(point["accuracy"]),
                shown(point["entity_accuracy"]),
                shown(point["other_accuracy"]),
                shown(point["attack_success"]),
                "–" if point["swap_shift"] is None else f"{point['swap_shift']:+.2f}",
                shown(control.get("entity_accuracy")),
            ]
        )
    counts = metrics["entity_texts"]
    say(f"{metrics['entity']}: {counts['train']} training texts, {counts['test']} test texts; {metrics['attack']} with {metrics['model']}")
    say(table(["dose", "poisoned", "accuracy", "on the entity", "on others", "success", "without its name", "entity, random flips"], rows))
    detection = metrics["doses"][-1].get("detection")
    if detection:
        lines = [
            [
                name + (f" ({said['phrase']!r})" if said.get("phrase") else ""),
                f"{said['auroc']:.3f}",
                f"{said['auprc']:.3f}",
                percent(said["precision"]),
                percent(said["recall"]),
                shown(said["repaired"]["entity_accuracy"]),
                f"{said['clean_rows_lost']:,}",
            ]
            for name, said in detection.items()
        ]
        say(table(["found by", "AUROC", "AUPRC", "precision", "recall", "entity, repaired", "clean rows lost"], lines))
    files = sorted(path.name for path in folder.iterdir() if path.suffix in (".png", ".md", ".jsonl"))
    say(f"in {folder}: {', '.join(files)}, metrics.json")
