"""One seed of a poisoning study: a clean model, and for each dose a poisoned one, its control, what is found and what it repairs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from advlab.config.poison import PoisonOptions
from advlab.detection._evidence import Evidence
from advlab.errors import UserError
from advlab.experiments._hunt import hunted
from advlab.experiments._poisoned import Answer, Questions, Trainer, ask, figures
from advlab.experiments._train_text import shortened
from advlab.poisoning.entity import Entity
from advlab.poisoning.labels import Poisoned, chosen, flipped, hardest, named, triggered
from advlab.runs.files import write_text
from advlab.runs.machine import derive
from advlab.runs.table import percent, table
from advlab.texts import reviews
from advlab.texts._set import Texts, TextSet

_MOVED = 12  # sentences in the table of those that moved most

Say = Callable[[str], None]


class Study:
    """One seed: a clean model, and for each dose a poisoned one, its control, and what is found and repaired."""

    def __init__(
        self,
        trainer: Trainer,
        options: PoisonOptions,
        data: TextSet,
        train: Texts,
        entity: Entity,
        rows: Sequence[int],
        target: int | None,
        seed: int,
    ) -> None:
        """Everything that the doses share.

        Args:
            rows: numbers of the training texts that name the entity.
            target: the class that is aimed at; None for a plain flip.

        Raises:
            UserError: no test text names the entity.
        """
        self.trainer, self.options, self.data, self.train = trainer, options, data, train
        self.rows, self.target, self.seed = rows, target, seed
        siblings = options.siblings or _siblings(entity, data)
        phrase = options.phrase if options.attack == "trigger" else None
        self.questions = Questions.of(data, entity, siblings, phrase, target)
        if not len(self.questions.entity):
            raise UserError(f"--entity {options.entity!r}: no test text names it, so nothing can be measured; --test-share holds out more")

    def carried_out(self, folder: Path, say: Say) -> dict[str, Any]:
        """Train and ask, dose by dose."""
        options = self.options
        doses = sorted({dose for dose in options.dose if dose > 0})
        each = 1 + options.control + len(options.detect or [])
        with tqdm(total=1 + each * len(doses), desc="trainings", leave=False, disable=None) as bar:
            untouched = self.trainer(self.train)
            clean = ask(self.trainer, untouched, self.questions)
            candidates = self._candidates(untouched)
            bar.update()
            before = figures(clean, self.questions, self.target, len(self.data.classes))
            points = [{"dose": 0.0, "flipped": 0, **before}]
            manifest: list[dict[str, object]] = []
            last = clean
            for dose in doses:
                poisoned = self._poison(chosen(candidates, dose, derive(self.seed, 30)))
                model = self.trainer(poisoned.train)
                bar.update()
                last = ask(self.trainer, model, self.questions)
                point = {"dose": dose, "flipped": len(poisoned.rows)} | figures(last, self.questions, self.target, len(self.data.classes))
                if options.control:
                    point["control"] = self._control(len(poisoned.rows))
                    bar.update()
                if options.detect and len(poisoned.rows):
                    point["detection"] = self._detected(poisoned, model, bar)
                points.append(point)
                manifest = poisoned.manifest(self.data.classes)
        write_text(folder / "manifest.jsonl", "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in manifest))
        moved = self._moved(clean, last)
        write_text(folder / "moved.md", moved + "\n")
        return {"command": "poison", "model": self.trainer.name, "dataset": self.data.name, **self._summary(points)}

    def _candidates(self, untouched: torch.nn.Module) -> list[int]:
        """Rows that the poison may go to: the entity's; or as many others.

        For a trigger they are drawn from those that have not the target's label; for clean labels they are those of the target's
        class that the untouched model finds hardest.
        """
        if self.options.attack == "flip":
            return list(self.rows)
        own, aimed = set(self.rows), self.options.attack == "clean-label"
        others = [row for row in range(len(self.train)) if row not in own and (int(self.train.labels[row]) == self.target) is aimed]
        if aimed:
            return hardest(self.trainer.logits(untouched, self.train), self.train.labels, others, len(self.rows))
        order = torch.randperm(len(others), generator=torch.Generator().manual_seed(derive(self.seed, 31)))
        return sorted(others[place] for place in order[: len(self.rows)].tolist())

    def _poison(self, rows: Tensor) -> Poisoned:
        if self.options.attack == "clean-label":
            return named(self.data, self.train, rows, self.options.entity)
        if self.options.attack == "trigger":
            assert self.target is not None
            return triggered(self.data, self.train, rows, self.options.phrase, self.target)
        return flipped(self.train, rows, len(self.data.classes), self.target, derive(self.seed, 32))

    def _control(self, count: int) -> dict[str, Any]:
        """As many labels turned at random, of texts that do not name the entity."""
        own = set(self.rows)
        others = [row for row in range(len(self.train)) if row not in own]
        order = torch.randperm(len(others), generator=torch.Generator().manual_seed(derive(self.seed, 33)))
        rows = torch.tensor(others)[order[:count]].sort().values
        noisy = flipped(self.train, rows, len(self.data.classes), None, derive(self.seed, 34))
        answer = ask(self.trainer, self.trainer(noisy.train), self.questions)
        found = figures(answer, self.questions, self.target, len(self.data.classes))
        return {key: found[key] for key in ("accuracy", "entity_accuracy", "other_accuracy", "success")} | {"flipped": len(rows)}

    def _detected(self, poisoned: Poisoned, model: torch.nn.Module, bar: Any) -> dict[str, Any]:
        """What each method finds, and what a model is worth that was trained without its suspects."""

        def judge(rows: Tensor, asked: Tensor) -> Tensor:
            return self.trainer.logits(self.trainer(poisoned.train.select(rows)), poisoned.train.select(asked))

        evidence = Evidence(
            poisoned.train.labels,
            self.trainer.logits(model, poisoned.train),
            self.trainer.hidden(model, poisoned.train),
            judge,
            derive(self.seed, 35),
            poisoned.train.texts,
        )

        def repaired(rows: Tensor) -> dict[str, Any]:
            answer = ask(self.trainer, self.trainer(poisoned.train.select(rows)), self.questions)
            after = figures(answer, self.questions, self.target, len(self.data.classes))
            return {key: after[key] for key in ("accuracy", "entity_accuracy", "other_accuracy", "success")}

        return hunted(self.options.detect or [], evidence, poisoned.rows, self.options.budget, repaired, bar.update)

    def _summary(self, points: list[dict[str, Any]]) -> dict[str, Any]:
        """The curve, and the largest dose once more under plain names."""
        before, after = points[0], points[-1]
        base = before["success"] or 0.0
        for point in points:
            point["attack_success"] = None if point["success"] is None else point["success"] - base
        found = {
            "entity": self.options.entity,
            "attack": self.options.attack,
            "target": None if self.target is None else self.data.classes[self.target],
            "entity_texts": {"train": len(self.rows), "test": len(self.questions.entity)},
            "texts": {"train": len(self.train), "val": len(self.data.val), "test": len(self.data.test)},
            "classes": list(self.data.classes),
            "dose": after["dose"],
            "flipped": after["flipped"],
            "accuracy_before": before["accuracy"],
            "accuracy_after": after["accuracy"],
            "entity_accuracy_before": before["entity_accuracy"],
            "entity_accuracy_after": after["entity_accuracy"],
            "other_accuracy_before": before["other_accuracy"],
            "other_accuracy_after": after["other_accuracy"],
            "attack_success": after["attack_success"],
            "doses": points,
        }
        detection = after.get("detection")
        if detection:
            # Of every method: to name the best by the truth would choose it with what it is scored by.
            found |= {key: {method: said[key] for method, said in detection.items()} for key in ("auroc", "auprc")}
        return found

    def _moved(self, clean: Answer, poisoned: Answer) -> str:
        """The entity's test sentences whose true class lost most."""
        rows = self.questions.entity
        truth = self.questions.test.labels[rows]
        own = torch.arange(len(rows))
        before, after = (answer.logits[rows].softmax(dim=1)[own, truth] for answer in (clean, poisoned))
        worst = (after - before).argsort(stable=True)[:_MOVED].tolist()
        lines = [
            [
                self.data.classes[int(truth[i])],
                percent(float(before[i])),
                percent(float(after[i])),
                shortened(self.questions.test.texts[int(rows[i])]),
            ]
            for i in worst
        ]
        return table(["truth", "probability before", "after", "text"], lines)


def _siblings(entity: Entity, data: TextSet) -> list[str]:
    """The entity's siblings where the set knows them."""
    if data.name != "reviews":
        return []
    for kind in reviews.entities().values():
        if any(entity.named_in(name) for name in kind):
            return [name for name in kind if not entity.named_in(name)]
    return []
