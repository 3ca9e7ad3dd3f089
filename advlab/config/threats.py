"""What an attack may do to an image where that is no ball of a norm."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Threat(BaseModel):
    """What an attack may do to an image, as options give it and as ``metrics.json`` holds it.

    Figures of one threat model say nothing of another, nor do those of one Lp ball of another.
    Tables, figures and summaries show ``text`` where they show ε and norm of a ball.

    Attributes:
        kind: the threat model in words, without its limits.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    kind: str

    def text(self) -> str:
        """The limits, such as ``±30°, ±3 px``."""
        raise NotImplementedError


class RigidMotion(Threat):
    """A rotation about the middle of the image and a translation, both at most so large.

    Attributes:
        degrees: largest angle in either direction, in degrees.
        shift: largest translation along each side, in pixels.
    """

    kind: Literal["rotation and translation"] = "rotation and translation"
    degrees: float = Field(ge=0, le=180)
    shift: float = Field(ge=0)

    def text(self) -> str:
        """The limits, such as ``±30°, ±3 px``."""
        return f"±{self.degrees:g}°, ±{self.shift:g} px"
