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


class PatchAnywhere(Threat):
    """A disc that replaces the pixels under it, at a place that the attack does not choose.

    Attributes:
        size: area of the disc before it is scaled, as a fraction of the image's.
        location: ``random``, or the corner, or the centre, that it is put in.
        degrees: largest rotation in either direction, in degrees.
        scale: fraction by which it is enlarged or shrunk at most.
    """

    kind: Literal["adversarial patch"] = "adversarial patch"
    size: float = Field(gt=0, lt=1)
    location: str
    degrees: float = Field(ge=0, le=180)
    scale: float = Field(ge=0, lt=1)

    def text(self) -> str:
        """The limits, such as ``10 % of the image, random place, ±22.5°, scale ±20 %``."""
        place = "random place" if self.location == "random" else self.location
        parts = [f"{100 * self.size:g} % of the image", place]
        parts += [f"±{self.degrees:g}°"] * (self.degrees > 0)
        parts += [f"scale ±{100 * self.scale:g} %"] * (self.scale > 0)
        return ", ".join(parts)


class Displacement(Threat):
    """A displacement of every pixel by at most so much, each its own.

    Attributes:
        max_shift: largest displacement along each side, in pixels.
    """

    kind: Literal["displacement of each pixel"] = "displacement of each pixel"
    max_shift: float = Field(ge=0)

    def text(self) -> str:
        """The limit, such as ``at most 1 px along each side``."""
        return f"at most {self.max_shift:g} px along each side"


class ColourShift(Threat):
    """One shift of hue, saturation, brightness and contrast for all pixels of an image.

    Attributes:
        hue: largest rotation in either direction, in degrees of the colour circle.
        saturation, brightness, contrast: largest fraction by which each is changed.
    """

    kind: Literal["colour shift"] = "colour shift"
    hue: float = Field(ge=0, le=180)
    saturation: float = Field(ge=0, le=1)
    brightness: float = Field(ge=0, le=1)
    contrast: float = Field(ge=0, le=1)

    def text(self) -> str:
        """The limits, such as ``hue ±30°, brightness ±20 %``; what may not change is left out."""
        parts = [f"hue ±{self.hue:g}°"] * (self.hue > 0)
        for name in ("saturation", "brightness", "contrast"):
            limit: float = getattr(self, name)
            parts += [f"{name} ±{100 * limit:g} %"] * (limit > 0)
        return ", ".join(parts) or "none"
