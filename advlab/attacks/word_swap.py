"""Substitution of words by their neighbours among word vectors, in the manner of TextFooler.

Jin et al. 2020, arXiv:1907.11932.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from advlab.config import fields as f
from advlab.config.options.run import Sees
from advlab.config.options.text_attack import TextAttackOptions

if TYPE_CHECKING:
    from advlab.perturbation.randomness import ImageRandom
    from advlab.perturbation.text_search import TextTask
    from advlab.perturbation.text_victim import TextVictim

TAKES = "texts"


class Options(TextAttackOptions):
    """Word swap (texts): replaces words by similar ones, as TextFooler; it sees logits alone."""

    sees: ClassVar[Sees] = "logits"
    checked_against: ClassVar[str] = "exhaustive search of single swaps"

    search: Annotated[
        Literal["importance", "greedy"],
        Field(
            description=(
                "importance: words in the order of how much their deletion raises the loss, as "
                "TextFooler; greedy: the best of all swaps in each step, with more queries"
            )
        ),
        f.PERTURBATION,
    ] = "importance"
    neighbours: Annotated[
        int,
        Field(ge=1, le=1000, description="number of the nearest words that are tried for a word"),
        f.PERTURBATION,
    ] = 50
    min_similarity: Annotated[
        float,
        Field(
            ge=-1,
            le=1,
            description="smallest cosine between the vectors of a word and its substitute",
        ),
        f.PERTURBATION,
    ] = 0.5


def perturb(
    victim: TextVictim, task: TextTask, random: ImageRandom, options: Options
) -> tuple[str, ...]:
    """The words of the first text found that is misclassified, or of the last one tried.

    The paper's filters by parts of speech and by a sentence encoder are left out. Of several
    substitutes that break the text, the most similar one is taken, as in the paper.
    """
    from advlab.perturbation.text_search import by_importance

    substitutes = _substitutes(victim, options)
    if options.search == "importance":
        return _swapped(victim, task, [[i] for i in by_importance(victim, task)], substitutes)
    return _swapped(victim, task, [list(range(len(task.words)))] * task.most, substitutes)


def _substitutes(victim: TextVictim, options: Options) -> Callable[[int], list[int]]:
    space = victim.space
    assert space is not None  # the command refuses a network without vectors
    return lambda number: space.neighbours(number, options.neighbours, options.min_similarity)


def _swapped(
    victim: TextVictim,
    task: TextTask,
    steps: list[list[int]],
    substitutes: Callable[[int], list[int]],
) -> tuple[str, ...]:
    """The words after the best swap of each step, where it raises the margin.

    Args:
        steps: the places that may be changed in each step; a place is changed once.
    """
    from advlab.perturbation.text_search import best
    from advlab.perturbation.text_victim import is_broken

    words, numbers = list(task.words), victim.numbers(task.words)
    highest = victim.margins([numbers], task.label)[0]
    changed: set[int] = set()
    for places in steps:
        if len(changed) == task.most:
            break
        swaps = [
            (place, word)
            for place in places
            if place not in changed
            for word in substitutes(numbers[place])
        ]
        if not swaps:
            continue
        rows = [[*numbers[:place], word, *numbers[place + 1 :]] for place, word in swaps]
        margins = victim.margins(rows, task.label)
        chosen = best(margins)
        if margins[chosen] <= highest:
            continue
        if is_broken(margins[chosen]):
            breaking = [n for n, value in enumerate(margins) if is_broken(value)]
            chosen = max(breaking, key=lambda n: _similarity(victim, numbers, swaps[n]))
        place, word = swaps[chosen]
        words[place] = victim.vocabulary.word(word)
        numbers, highest = rows[chosen], margins[chosen]
        changed.add(place)
        if is_broken(highest):
            break
    return tuple(words)


def _similarity(victim: TextVictim, numbers: list[int], swap: tuple[int, int]) -> float:
    assert victim.space is not None
    return victim.space.cosine(numbers[swap[0]], swap[1])
