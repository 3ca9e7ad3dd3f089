"""Input filters: an example of obfuscated gradients.

The network looks robust to an attack that follows the true gradient, and is not robust to one that
passes the gradient straight through the filter (BPDA).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from advlab.config.base import Flag
from advlab.config.options.run import DefendOptions

_FILTER = Flag(group="defence")
# Least, most and usual strength of each.
_STRENGTHS = {"bits": (1, 8, 3), "jpeg": (1, 95, 50), "median": (3, 9, 3)}


class Options(DefendOptions):
    """Input filters: grey levels, JPEG or median filter, attacked with and without BPDA."""

    filter: Annotated[
        Literal["bits", "jpeg", "median"],
        Field(description="input filter"),
        _FILTER,
    ] = "jpeg"
    strength: Annotated[
        int | None,
        Field(
            ge=1,
            le=95,
            description=(
                "bits: bits per channel, 1 to 8 (default 3); jpeg: quality, 1 to 95 (default "
                "50); median: side, odd, 3 to 9 (default 3)"
            ),
        ),
        _FILTER,
    ] = None

    @model_validator(mode="after")
    def _strength_of_its_filter(self) -> Options:
        low, high, _ = _STRENGTHS[self.filter]
        if self.strength is not None and (
            not low <= self.strength <= high or (self.filter == "median" and self.strength % 2 == 0)
        ):
            odd = " and be odd" if self.filter == "median" else ""
            message = "for {filter} must lie between {low} and {high}{odd}, not {given}"
            context = {
                "option": "strength",
                "filter": self.filter,
                "low": low,
                "high": high,
                "odd": odd,
                "given": self.strength,
            }
            raise PydanticCustomError("strength_of_filter", message, context)
        return self


def in_front(options: Options) -> dict[str, int]:
    """The filter and its strength, as the metadata of a checkpoint hold them."""
    return {options.filter: options.strength or _STRENGTHS[options.filter][2]}
