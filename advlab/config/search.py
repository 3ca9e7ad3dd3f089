"""Random search (Bergstra and Bengio 2012): settings drawn from lists and ranges of values."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_origin

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(f"({_NUMBER})[.][.]({_NUMBER})")
_LOGARITHMIC = 10.0  # a range whose ends differ by this factor is drawn from by orders of magnitude
_DIGITS = 3  # of a drawn number, so that the line that repeats its run can be read
_ATTEMPTS = 100  # for every setting that is asked for


@dataclass(frozen=True)
class Range:
    """Numbers to draw from, both ends included.

    Attributes:
        low, high: its ends.
        whole: whether whole numbers alone are drawn.
        text: as it was written.
    """

    low: float
    high: float
    whole: bool
    text: str

    @property
    def logarithmic(self) -> bool:
        """Whether every order of magnitude is equally likely, and not every number."""
        return self.low > 0 and self.high >= _LOGARITHMIC * self.low

    @property
    def ends(self) -> tuple[float, float]:
        """Both ends, as values of the option."""
        return (int(self.low), int(self.high)) if self.whole else (self.low, self.high)

    def draw(self, source: random.Random) -> float:
        """A number of the range."""
        if self.logarithmic:
            value = math.exp(source.uniform(math.log(self.low), math.log(self.high)))
        else:
            value = source.uniform(self.low, self.high)
        return self.rounded(value)

    def rounded(self, value: float) -> float:
        """A value of the option, next to a number between the ends."""
        value = round(value) if self.whole else float(f"{value:.{_DIGITS}g}")
        low, high = self.ends
        return min(max(value, low), high)

    def __str__(self) -> str:
        return self.text


def range_in(value: object, annotation: Any) -> Range | None:
    """The range that a value such as ``1e-4..0.1`` gives for an option of numbers; else None.

    Raises:
        ValueError: its ends are in the wrong order, or not whole where the option takes whole
            numbers; the message says so.
    """
    kinds = {annotation, *get_args(annotation)}
    if any(get_origin(kind) is list for kind in kinds):
        return None
    if not isinstance(value, str) or not kinds & {int, float} or str in kinds:
        return None
    match = _RANGE.fullmatch(value.strip())
    if match is None:
        return None
    low, high = map(float, match.groups())
    if not low < high:
        raise ValueError("the first end must be below the second")
    whole = float not in kinds
    if whole and not (low.is_integer() and high.is_integer()):
        raise ValueError("takes whole numbers")
    return Range(low, high, whole, value.strip())


def settings(
    varied: Mapping[str, Range | Sequence[Any]], count: int, seed: int
) -> list[tuple[Any, ...]]:
    """Different settings, drawn independently: a value of every option, in their order.

    The first settings of a longer search are those of a shorter one with the same seed.

    Returns:
        ``count`` settings, or fewer where so many different ones were not found.
    """
    drawn: dict[tuple[Any, ...], None] = {}
    for attempt in range(_ATTEMPTS * count):
        # An option's values do not depend on which other options are searched.
        sources = {key: random.Random(f"{seed} {attempt} {key}") for key in varied}
        values = tuple(
            choice.draw(sources[key])
            if isinstance(choice, Range)
            else sources[key].choice(list(choice))
            for key, choice in varied.items()
        )
        drawn[values] = None
        if len(drawn) == count:
            break
    return list(drawn)
