"""One seed of a poisoning study on texts: clean, poisoned, control and repaired trainings."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from advlab.config.options.poison import PoisonOptions
from advlab.data.text_set import Texts, TextSet
from advlab.data.texts import reviews
from advlab.experiments.poison.detection import detections
from advlab.experiments.poison.text_training import (
    EntityPrediction,
    Questions,
    Trainer,
    ask,
    confusions,
    figures,
    sibling_accuracy,
)
from advlab.experiments.train.texts import shortened
from advlab.networks.classifier import count_parameters
from advlab.poisoning.entity import Entity
from advlab.poisoning.evidence import Evidence
from advlab.poisoning.images import candidates, drawn_rows
from advlab.poisoning.labels import Poisoned, chosen, flipped, hardest, named, triggered
from advlab.progress import progress_bar
from advlab.results.poison import RandomFlips, TextDetection, TextFigures, TextPoint
from advlab.runs.files import write_text
from advlab.runs.machine import derive
from advlab.runs.table import percent, table

_MOVED = 12  # sentences in the table of those that moved most


@dataclass(frozen=True)
class Studied:
    """The figures of a poisoning study.

    Attributes:
        points: at every poison rate, ascending; the first one is the clean network.
        parameters: trainable numbers of the network.
    """

    points: list[TextPoint]
    parameters: int


@dataclass(frozen=True)
class Study:
    """One seed: a clean model, and for each rate a poisoned one, its control and its repairs.

    Attributes:
        train: the training texts, clean.
        rows: numbers of the training texts that name the entity; none with a trigger.
        questions: what every model is asked.
        target: the class that is aimed at; None for a plain flip.
    """

    trainer: Trainer
    train: Texts
    rows: Sequence[int]
    questions: Questions
    target: int | None

    @property
    def options(self) -> PoisonOptions:
        """The options of the study."""
        options: PoisonOptions = self.trainer.options
        return options

    @property
    def data(self) -> TextSet:
        """The data set."""
        return self.trainer.data

    @property
    def seed(self) -> int:
        """What everything random is drawn from."""
        return int(self.trainer.options.seed)

    def carried_out(self, folder: Path) -> Studied:
        """Train and ask at each rate in turn; write the largest one's manifest, and what moved
        most."""
        options = self.options
        rates = sorted({rate for rate in options.poison_rate or [] if rate > 0})
        each = 1 + options.control + len(options.detect or [])
        with progress_bar(1 + each * len(rates), "poisoning", "trainings") as bar:
            untouched = self.trainer(self.train)
            clean = ask(self.trainer, untouched, self.questions)
            among = self._candidates(untouched)
            bar.update()
            base = figures(clean, self.questions, self.target).success_rate
            points = [self._point(0.0, 0, clean, base, None, [])]
            manifest: list[dict[str, object]] = []
            last = clean
            for rate in rates:
                poisoned = self._poison(self._drawn(among, rate))
                model = self.trainer(poisoned.train)
                bar.update()
                last = ask(self.trainer, model, self.questions)
                control = None
                if options.control:
                    control = self._control(len(poisoned.rows))
                    bar.update()
                detect = bool(options.detect) and len(poisoned.rows) > 0
                detected = self._detected(poisoned, model, bar.update) if detect else []
                points.append(self._point(rate, len(poisoned.rows), last, base, control, detected))
                manifest = poisoned.manifest(self.data.classes)
        write_text(
            folder / "manifest.jsonl",
            "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in manifest),
        )
        write_text(folder / "moved.md", self._moved(clean, last) + "\n")
        return Studied(points, count_parameters(untouched))

    def _point(
        self,
        rate: float,
        poisoned: int,
        answer: EntityPrediction,
        base: float | None,
        control: RandomFlips | None,
        detected: list[TextDetection],
    ) -> TextPoint:
        """The figures of one rate; ``base`` is the success rate of the clean model."""
        after = figures(answer, self.questions, self.target)
        rate_now = after.success_rate
        success = None if rate_now is None or base is None else rate_now - base
        confusion, entity_confusion = confusions(answer, self.questions, len(self.data.classes))
        return TextPoint(
            **after.model_dump(),
            poison_rate=rate,
            poisoned=poisoned,
            attack_success=success,
            sibling_accuracy=sibling_accuracy(answer, self.questions),
            swap_shift=float(answer.swapped.double().mean()) if len(answer.swapped) else 0.0,
            confusion=confusion,
            entity_confusion=entity_confusion,
            control=control,
            detections=detected,
        )

    def _candidates(self, untouched: nn.Module) -> list[int]:
        """Rows that the poison may go to: the entity's; for a trigger all that have not the
        target's label; for clean labels as many as are the entity's, those of the target's class
        that the untouched model finds hardest.
        """
        if self.options.attack == "flip":
            return list(self.rows)
        if self.options.attack == "trigger":
            assert self.target is not None
            return candidates(self.train.labels, self.target, None)
        own = set(self.rows)
        others = [
            row
            for row in range(len(self.train))
            if row not in own and int(self.train.labels[row]) == self.target
        ]
        logits = self.trainer.logits(untouched, self.train)
        return hardest(logits, self.train.labels, others, len(self.rows))

    def _drawn(self, among: Sequence[int], rate: float) -> Tensor:
        """The rows that are poisoned at a rate: with a trigger a fraction of all training texts."""
        seed = derive(self.seed, 30)
        if self.options.attack == "trigger":
            return drawn_rows(among, rate, len(self.train), seed, unit="texts")
        return chosen(among, rate, seed)

    def _poison(self, rows: Tensor) -> Poisoned:
        if self.options.attack == "clean-label":
            return named(self.data, self.train, rows, self.options.entity)
        if self.options.attack == "trigger":
            assert self.target is not None
            return triggered(self.data, self.train, rows, self.options.phrase, self.target)
        return flipped(self.train, rows, len(self.data.classes), self.target, derive(self.seed, 32))

    def _control(self, count: int) -> RandomFlips:
        """As many labels turned at random, of texts that do not name the entity; with a trigger,
        which is aimed at none, of any."""
        own = set(self.rows)
        others = [row for row in range(len(self.train)) if row not in own]
        order = torch.randperm(
            len(others),
            generator=torch.Generator().manual_seed(derive(self.seed, 33)),
        )
        rows = torch.tensor(others)[order[:count]].sort().values
        noisy = flipped(self.train, rows, len(self.data.classes), None, derive(self.seed, 34))
        return RandomFlips(**self._trained_on(noisy.train).model_dump(), flipped=len(rows))

    def _trained_on(self, train: Texts) -> TextFigures:
        """The figures of a model trained on these texts."""
        return figures(
            ask(self.trainer, self.trainer(train), self.questions),
            self.questions,
            self.target,
        )

    def _detected(
        self,
        poisoned: Poisoned,
        model: nn.Module,
        done: Callable[[], object],
    ) -> list[TextDetection]:
        """What each method finds, and the figures of a model trained without its suspects."""

        def retrain(rows: Tensor, about: Tensor) -> Tensor:
            return self.trainer.logits(
                self.trainer(poisoned.train.select(rows)),
                poisoned.train.select(about),
            )

        evidence = Evidence(
            poisoned.train.labels,
            self.trainer.logits(model, poisoned.train),
            self.trainer.hidden(model, poisoned.train),
            retrain,
            derive(self.seed, 35),
            poisoned.train.texts,
        )

        def repaired(rows: Tensor) -> TextFigures:
            return self._trained_on(poisoned.train.select(rows))

        results = detections(
            self.options.detect or [],
            evidence,
            poisoned.rows,
            self.options.budget,
            repaired,
            done,
        )
        return [TextDetection(**figures.model_dump(), repaired=after) for figures, after in results]

    def _moved(self, clean: EntityPrediction, poisoned: EntityPrediction) -> str:
        """The test texts that the attack is after and whose true class lost most: those that name
        the entity, or those with the trigger's phrase in them."""
        rows, prompted = self.questions.entity, self.questions.prompted
        if prompted is None:
            examples = self.questions.test.select(rows)
            answers = [clean.logits[rows], poisoned.logits[rows]]
        else:
            assert clean.prompted is not None
            assert poisoned.prompted is not None
            examples, answers = prompted, [clean.prompted, poisoned.prompted]
        own, truth = torch.arange(len(examples)), examples.labels
        before, after = (logits.softmax(dim=1)[own, truth] for logits in answers)
        worst = (after - before).argsort(stable=True)[:_MOVED].tolist()
        lines = [
            [
                self.data.classes[int(truth[i])],
                percent(float(before[i])),
                percent(float(after[i])),
                shortened(examples.texts[i]),
            ]
            for i in worst
        ]
        return table(["truth", "probability before", "after", "text"], lines)


def siblings_of(entity: Entity, data: TextSet) -> list[str]:
    """The entity's siblings where the set knows them."""
    if data.name != "reviews":
        return []
    for kind in reviews.entities().values():
        if any(entity.named_in(name) for name in kind):
            return [name for name in kind if not entity.named_in(name)]
    return []
