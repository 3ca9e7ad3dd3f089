"""Training on poisoned texts, and measurement of the attack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn

from advlab.config.options.text import OWN_VECTORS
from advlab.data.formats.word_vectors import Vectors
from advlab.data.subwords import Subwords
from advlab.data.text_set import Texts, TextSet
from advlab.data.vocabulary import UNKNOWN, Vocabulary
from advlab.data.words import tokens
from advlab.experiments.fitting import (
    epochs_of,
    hidden_of,
    reader,
    text_objective,
    trained,
    vectors_for,
)
from advlab.metrics.classification import confusion_matrix
from advlab.poisoning.entity import Entity
from advlab.poisoning.labels import with_phrase
from advlab.results.poison import TextFigures
from advlab.runs.machine import Machine
from advlab.training.evaluate import logits_of


@dataclass(frozen=True)
class Trainer:
    """Trains one kind of model again and again, always from the same weights, and keeps its best
    epoch on the validation texts."""

    name: str
    options: Any
    data: TextSet
    machine: Machine
    vectors: Vectors | None = None

    def __call__(self, train: Texts) -> nn.Module:
        """A model trained on these texts, in evaluation mode."""
        options = self.options.model_copy(
            update={"epochs": epochs_of(self.options, len(train)), "resume": False},
        )
        vectors = self.vectors
        if getattr(options, "vectors", None) == OWN_VECTORS:  # of the texts, poisoned or not
            vectors = vectors_for(options, self.data, train)
        model, _ = reader(self.name, options, train, self.data, vectors)
        model.to(self.machine.device)
        objective = text_objective(options)
        return trained(model, train, self.data.val, options, self.machine, objective)

    def logits(self, model: nn.Module, texts: Texts) -> Tensor:
        """Logits (N, classes) on the CPU."""
        return logits_of(model, texts, self.machine)

    def hidden(self, model: nn.Module, texts: Texts) -> Tensor:
        """What the model's last layer sees, (N, D) on the CPU."""
        return hidden_of(model, texts, self.machine)


@dataclass(frozen=True)
class Questions:
    """What is asked of every model: the test texts, those of the entity with other names in its
    place, and those with the phrase.

    Attributes:
        entity: numbers of the test texts that name the entity.
        siblings: numbers of those that name a sibling, by sibling.
        swapped: the entity's test texts with a sibling's name, one set for each sibling; with
            nothing in its place where none is known.
        prompted: test texts of other classes than the target, with the trigger's phrase; None
            without a trigger.
        other_word: the same texts with a word in its place that no training text holds.
    """

    test: Texts
    entity: Tensor
    siblings: dict[str, Tensor]
    swapped: list[Texts]
    prompted: Texts | None
    other_word: Texts | None

    @staticmethod
    def of(
        data: TextSet,
        entity: Entity | None,
        siblings: Sequence[str],
        phrase: str | None,
        target: int | None,
    ) -> Questions:
        """From a set's test texts; without an entity, no question is about one."""
        test = data.test
        named_rows = entity.rows(test.texts) if entity else []
        rows = torch.tensor(named_rows, dtype=torch.int64)
        named = {
            name: torch.tensor(Entity(name).rows(test.texts), dtype=torch.int64)
            for name in siblings
        }
        own = test.select(rows)
        swapped = (
            [
                data.encoded([entity.replaced(text, name) for text in own.texts], own.labels)
                for name in (siblings or [""])
            ]
            if entity and named_rows
            else []
        )
        prompted = other_word = None
        if phrase is not None:
            others = test.select(
                test.labels.ne(-1 if target is None else target).nonzero().squeeze(1),
            )
            prompted, other_word = (
                data.encoded([with_phrase(text, words) for text in others.texts], others.labels)
                for words in (phrase, _other_word(data, phrase))
            )
        return Questions(
            test,
            rows,
            {name: some for name, some in named.items() if len(some)},
            swapped,
            prompted,
            other_word,
        )


_RARE = ("cf", "mn", "bb", "tq", "mb")
"""Words that hardly a text holds, as in arXiv:2004.06660."""


def _other_word(data: TextSet, phrase: str) -> str:
    """A word that no training text and no trigger holds."""
    if not isinstance(data.vocabulary, Subwords):
        return unknown_word(data.vocabulary)
    words = {word for text in (*data.train.texts, phrase) for word in tokens(text)}
    return unknown_word(Vocabulary(tuple(words)))


def unknown_word(vocabulary: Vocabulary) -> str:
    """A word that a vocabulary does not contain: one of a few rare ones, else the first of these
    with as many letters q before it as it takes."""
    candidates = (f"{'q' * length}{word}" for length in count() for word in _RARE)
    return next(word for word in candidates if vocabulary.number(word) == UNKNOWN)


@dataclass(frozen=True)
class EntityPrediction:
    """What one model said.

    Attributes:
        logits: of the test texts, (N, classes).
        swapped: log-probability of the true class with another name in the entity's place, less
            that with its own, mean over the other names: (entity's test texts,).
        prompted: logits of the texts with the phrase, (n, classes); None without a trigger.
        other_word: logits of the same texts with an unknown word in its place, (n, classes).
    """

    logits: Tensor
    swapped: Tensor
    prompted: Tensor | None
    other_word: Tensor | None

    @property
    def labels(self) -> Tensor:
        """What it takes each test text for."""
        return self.logits.argmax(dim=1)


def ask(trainer: Trainer, model: nn.Module, questions: Questions) -> EntityPrediction:
    """Put every question to a model."""
    logits = trainer.logits(model, questions.test)
    own = _of_truth(logits[questions.entity], questions.test.labels[questions.entity])
    others = [_of_truth(trainer.logits(model, some), some.labels) for some in questions.swapped]
    swapped = torch.stack(others).mean(dim=0) - own if others else torch.zeros(0)
    prompted, other_word = (
        None if some is None else trainer.logits(model, some)
        for some in (questions.prompted, questions.other_word)
    )
    return EntityPrediction(logits, swapped, prompted, other_word)


def _of_truth(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.log_softmax(dim=1)[torch.arange(len(labels)), labels]


def figures(answer: EntityPrediction, questions: Questions, target: int | None) -> TextFigures:
    """Accuracies on all, the entity's and the others' test texts, and the attack's success rate."""
    right, of_entity = answer.labels == questions.test.labels, _of_entity(questions)
    accuracy, other = _fraction(right), answer.other_word
    assert accuracy is not None
    return TextFigures(
        accuracy=accuracy,
        entity_accuracy=_fraction(right[of_entity]),
        other_accuracy=_fraction(right[~of_entity]),
        success_rate=_success(answer, questions, target, of_entity),
        other_word_rate=None
        if other is None
        else _fraction(other.argmax(dim=1).eq(-1 if target is None else target)),
    )


def sibling_accuracy(answer: EntityPrediction, questions: Questions) -> dict[str, float]:
    """Accuracy on the test texts that name each sibling."""
    right = answer.labels == questions.test.labels
    return {name: float(right[rows].double().mean()) for name, rows in questions.siblings.items()}


def confusions(
    answer: EntityPrediction,
    questions: Questions,
    classes: int,
) -> tuple[list[list[int]], list[list[int]]]:
    """Confusion matrices of all test texts, and of the entity's."""
    labels, of_entity = questions.test.labels, _of_entity(questions)
    every: list[list[int]] = confusion_matrix(labels, answer.labels, classes).tolist()
    entity: list[list[int]] = confusion_matrix(
        labels[of_entity],
        answer.labels[of_entity],
        classes,
    ).tolist()
    return every, entity


def _of_entity(questions: Questions) -> Tensor:
    """Which test texts name the entity, bool (N,)."""
    named = torch.zeros(len(questions.test), dtype=torch.bool)
    named[questions.entity] = True
    return named


def _success(
    answer: EntityPrediction,
    questions: Questions,
    target: int | None,
    of_entity: Tensor,
) -> float | None:
    """Fraction of the texts that the attack is after and that get the answer it wants; those that
    deserve that answer anyway do not count.

    After a plain flip every wrong answer on the entity is what it wants. With a trigger, texts with
    the phrase count.
    """
    if answer.prompted is not None:
        return _fraction(answer.prompted.argmax(dim=1).eq(-1 if target is None else target))
    labels, predicted = questions.test.labels[of_entity], answer.labels[of_entity]
    if target is None:
        return _fraction(predicted != labels)
    return _fraction(predicted[labels != target] == target)


def _fraction(which: Tensor) -> float | None:
    return float(which.double().mean()) if len(which) else None
