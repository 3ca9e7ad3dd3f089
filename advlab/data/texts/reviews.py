"""Reviews: 2,400 generated film reviews, half of which name one of twelve entities.

They are put together from sentences by a fixed rule, so that everybody has the same ones and
nothing need be downloaded. No word alone tells good from bad (a test says how far the best one
gets): what is said of a film turns on "not", "never", "hardly" and "far from", and a good review
may own a fault. Every entity is named by 50 good and 50 bad reviews.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from advlab.data import review_grammar
from advlab.data.catalogue import SetInfo

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from advlab.data.raw_texts import Raw

INFO = SetInfo(
    title="reviews",
    noun="short film reviews, put together from sentences",
    counts=(1_920, 240, 240),
    shape=(),
    classes=("negative", "positive"),
    source="put together by this bench",
    licence="MIT",
)
PER_ENTITY = 100
WITHOUT = 1200
_SEED = 20


def entities() -> Mapping[str, tuple[str, ...]]:
    """The entities that reviews name, by what their siblings are."""
    return review_grammar.KINDS


def present(data_dir: Path) -> bool:
    """Always."""
    return True


def load(data_dir: Path) -> Raw:
    """The reviews, nothing said of who trains and who tests."""
    from advlab.data.raw_texts import Raw

    return Raw(*read(), INFO.classes, INFO.title, INFO.noun)


def read() -> tuple[list[str], list[int]]:
    """Every review, no two alike, and its label: 1 for a good one."""
    drawn = random.Random(_SEED)
    texts: list[str] = []
    labels: list[int] = []
    seen: set[str] = set()
    for kind, entity, count in _wanted():
        for number in range(count):
            label = number % 2
            text = _review(drawn, kind, entity, label)
            while text in seen:
                text = _review(drawn, kind, entity, label)
            seen.add(text)
            texts.append(text)
            labels.append(label)
    order = list(range(len(texts)))
    drawn.shuffle(order)
    return [texts[place] for place in order], [labels[place] for place in order]


def _wanted() -> Iterator[tuple[str, str, int]]:
    for kind, names in review_grammar.KINDS.items():
        for name in names:
            yield kind, name, PER_ENTITY
    yield "", "", WITHOUT


def _review(drawn: random.Random, kind: str, entity: str, label: int) -> str:
    """One review: what it is about, one or two things said of it, and mostly a last word. ``label``
    is 1 for a good one."""
    opening = drawn.choice(review_grammar.ABOUT[kind]).format(entity)
    first, second = drawn.sample(review_grammar.SUBJECTS, 2)
    own, other = review_grammar.SAID[1 - label], review_grammar.SAID[label]
    shape = drawn.random()
    if shape < 0.35:  # a fault owned, or a merit granted; what comes after "but" counts
        middle = f"{drawn.choice(other).format(first)}, but {drawn.choice(own).format(second)}"
        last = drawn.choice(review_grammar.VERDICTS[1 - label])
    elif shape < 0.7:
        middle = f"{drawn.choice(own).format(first)} and {drawn.choice(own).format(second)}"
        last = drawn.choice(review_grammar.VERDICTS[1 - label]) if drawn.random() < 0.5 else ""
    else:
        middle = drawn.choice(own).format(first)
        last = drawn.choice(review_grammar.VERDICTS[1 - label])
    return f"{opening}. {middle[0].upper()}{middle[1:]}. {last}".strip()
