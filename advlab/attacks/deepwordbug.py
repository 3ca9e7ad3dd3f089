"""DeepWordBug: small edits of the letters of the most important words.

Gao et al. 2018, arXiv:1801.04354.
"""

from __future__ import annotations

from collections.abc import Iterator
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
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_EDITS = ("swap", "substitute", "delete", "insert")


class Options(TextAttackOptions):
    """DeepWordBug (texts): edits letters of the most important words; it sees logits alone."""

    sees: ClassVar[Sees] = "logits"
    takes_subwords: ClassVar[bool] = True
    checked_against: ClassVar[str] = "the order of words by their deletion"

    edit: Annotated[
        Literal["swap", "substitute", "delete", "insert", "combined"],
        Field(
            description=(
                "what is done to a word: swap two neighbouring letters, substitute, delete or "
                "insert one; combined: whichever of the four raises the loss most"
            )
        ),
        f.PERTURBATION,
    ] = "combined"
    max_edits: Annotated[
        int,
        Field(
            ge=1,
            le=10_000,
            description="largest edit distance in letters from the original; a swap counts as two",
        ),
        f.PERTURBATION,
    ] = 30


def perturb(
    victim: TextVictim, task: TextTask, random: ImageRandom, options: Options
) -> tuple[str, ...]:
    """The words of the first text found that is misclassified, or of the last one tried.

    Words are taken in the order of how much their deletion raises the margin. Of each, one edit of
    every kind is tried at a random place; the best is kept if it raises the margin. An edit that
    leaves the network's input as it was, as from one unknown word to another, costs no query.
    """
    from advlab.perturbation.text_search import best, by_importance
    from advlab.perturbation.text_victim import is_broken

    words, spent, changed = list(task.words), 0, 0
    highest = victim.margins([victim.numbers(words)], task.label)[0]
    kinds = _EDITS if options.edit == "combined" else (options.edit,)
    for place in by_importance(victim, task):
        if changed == task.most:
            break
        draws = random.uniform((len(kinds), 2))[0].tolist()
        before = victim.numbers([words[place]])
        candidates = [
            (word, cost)
            for word, cost in _edited(words[place], kinds, draws)
            if spent + cost <= options.max_edits and victim.numbers([word]) != before
        ]
        if not candidates:
            continue
        rows = [
            victim.numbers([*words[:place], word, *words[place + 1 :]]) for word, _ in candidates
        ]
        margins = victim.margins(rows, task.label)
        chosen = best(margins)
        if margins[chosen] <= highest:
            continue
        words[place], cost = candidates[chosen]
        highest, spent, changed = margins[chosen], spent + cost, changed + 1
        if is_broken(highest):
            break
    return tuple(words)


def _edited(
    word: str, kinds: tuple[str, ...], draws: list[list[float]]
) -> Iterator[tuple[str, int]]:
    """The word after an edit of each kind, with its edit distance; only those that are still read
    as one word.

    Args:
        draws: for each kind a place and a letter, in [0, 1).
    """
    from advlab.data.words import tokens

    for kind, (where, which) in zip(kinds, draws, strict=True):
        edited = _edit(word, kind, where, which)
        if edited is not None and tokens(edited) == [edited]:
            yield edited, 2 if kind == "swap" else 1


def _edit(word: str, kind: str, where: float, which: float) -> str | None:
    """The word after one edit; None where there is no such edit."""
    if kind == "insert":
        place, letter = int(where * (len(word) + 1)), _LETTERS[int(which * len(_LETTERS))]
        return word[:place] + letter + word[place:]
    if kind == "swap":
        places = [i for i in range(len(word) - 1) if word[i] != word[i + 1]]
        if not places:
            return None
        place = places[int(where * len(places))]
        return word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    place = int(where * len(word))
    if kind == "delete":
        return word[:place] + word[place + 1 :] if len(word) > 1 else None
    others = _LETTERS.replace(word[place], "")
    return word[:place] + others[int(which * len(others))] + word[place + 1 :]
