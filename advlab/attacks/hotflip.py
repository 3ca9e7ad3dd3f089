"""HotFlip: replaces words by those that raise the loss most to first order, with a beam.

Ebrahimi et al. 2018, arXiv:1712.06751, at the level of words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from advlab.config import fields as f
from advlab.config.options.text_attack import TextAttackOptions

if TYPE_CHECKING:
    from advlab.perturbation.randomness import ImageRandom
    from advlab.perturbation.text_search import TextTask
    from advlab.perturbation.text_victim import TextVictim

TAKES = "texts"


class Options(TextAttackOptions):
    """HotFlip (texts): replaces words by those that raise the loss most to first order."""

    checked_against: ClassVar[str] = "exhaustive search"

    beam: Annotated[
        int,
        Field(ge=1, le=100, description="number of partly changed texts that are followed"),
        f.PERTURBATION,
    ] = 1


def perturb(
    victim: TextVictim, task: TextTask, random: ImageRandom, options: Options
) -> tuple[str, ...]:
    """The words of the first text found that is misclassified, or of the last one tried.

    In each step, every text of the beam offers the replacements of largest estimated margin: its
    own margin and the gain to first order. The best of all offers are put to the network. A word is
    changed once, to a word of the vocabulary.
    """
    from advlab.perturbation.text_search import best
    from advlab.perturbation.text_victim import is_broken

    start = tuple(victim.numbers(task.words))
    beam = [start]
    margins = victim.margins(beam, task.label)
    for _ in range(task.most):
        offers = _offers(victim, task, start, beam, margins, options.beam)
        if not offers:  # every word is changed
            break
        beam = offers
        margins = victim.margins(beam, task.label)
        if is_broken(margins[best(margins)]):
            break
    chosen = beam[best(margins)]
    return tuple(
        word if before == after else victim.vocabulary.word(after)
        for word, before, after in zip(task.words, start, chosen, strict=True)
    )


def _offers(
    victim: TextVictim,
    task: TextTask,
    start: tuple[int, ...],
    beam: list[tuple[int, ...]],
    margins: list[float],
    most: int,
) -> list[tuple[int, ...]]:
    """The ``most`` texts with one more word changed whose estimated margin is highest; fewer where
    there are not so many."""
    import torch

    from advlab.data.vocabulary import UNKNOWN

    gains = victim.gains(beam, task.label)
    estimates: dict[tuple[int, ...], float] = {}
    for text, margin, gain in zip(beam, margins, gains, strict=True):
        gain[:, : UNKNOWN + 1] = -torch.inf
        for place, (before, now) in enumerate(zip(start, text, strict=True)):
            gain[place, before] = -torch.inf
            if before != now:
                gain[place] = -torch.inf
        values, cells = gain.flatten().nan_to_num(nan=-torch.inf).topk(min(most, gain.numel()))
        for value, cell in zip(values.tolist(), cells.tolist(), strict=True):
            place, word = divmod(cell, gain.shape[1])
            if value > -torch.inf:
                estimates[(*text[:place], word, *text[place + 1 :])] = margin + value
    return sorted(estimates, key=lambda text: -estimates[text])[:most]
