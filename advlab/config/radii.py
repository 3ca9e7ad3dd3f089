"""Radii in pixel units: parsed from numbers and fractions, and formatted without loss."""

from __future__ import annotations

import re

from pydantic import AfterValidator, BeforeValidator
from pydantic_core import PydanticCustomError

ACCEPTED = "fractions such as 8/255 are accepted"
"""What the help of every such option ends in."""

GREY_LEVELS = 255
"""Grey levels from black to white in a channel of 8 bits."""

_NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_FRACTION = re.compile(rf"([+-]?{_NUMBER})\s*/\s*({_NUMBER})", re.ASCII)


def _from_fraction(value: object) -> object:
    """The float nearest to a fraction that was written as text; anything else as it is, for
    pydantic to read or refuse."""
    if not isinstance(value, str) or "/" not in value:
        return value
    match = _FRACTION.fullmatch(value.strip())
    if match is None:
        raise PydanticCustomError("fraction", "must be a number or a fraction such as 8/255")
    if float(match[2]) == 0:
        raise PydanticCustomError(
            "fraction", "must be a fraction such as 8/255, whose denominator is not 0"
        )
    return float(match[1]) / float(match[2])


def _each_once(values: list[float]) -> list[float]:
    """The values as they are, if no two of them are the same float."""
    if len(set(values)) < len(values):
        twice = next(value for place, value in enumerate(values) if value in values[:place])
        raise PydanticCustomError(
            "given_twice",
            "must hold each value once ({value} is given twice)",
            {"value": eps_text(twice)},
        )
    return values


Fraction = BeforeValidator(_from_fraction)
"""Put beside a float in ``Annotated``: it may then be written as a fraction too."""

EachOnce = AfterValidator(_each_once)
"""Put beside a list of floats in ``Annotated``: no value may be given twice, however it was
written."""


def eps_digits(eps: float) -> str:
    """The shortest decimal digits that give the same float back: ``0.1``, ``2``,
    ``0.03137254901960784``; for file names."""
    return repr(float(eps) + 0.0).removesuffix(".0")  # + 0.0 takes the sign from -0.0


def eps_text(eps: float) -> str:
    """An ε for people: the shortest text that every option that takes an ε reads back as the same
    float.

    That is its digits, or a fraction of the 255 grey levels where that is shorter: ``0.1``,
    ``8/255``.
    """
    digits = eps_digits(eps)
    levels = round(eps * GREY_LEVELS)
    fraction = f"{levels}/{GREY_LEVELS}"
    return fraction if levels / GREY_LEVELS == eps and len(fraction) < len(digits) else digits


def norm_name(norm: str) -> str:
    """A norm for people: L∞ for ``linf``, L2 for ``l2``, L3 for ``l3``."""
    return "L∞" if norm == "linf" else norm.upper()
