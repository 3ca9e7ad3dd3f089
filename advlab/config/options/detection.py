"""The options of ``advlab evaluate detection``."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from advlab.components import component_names
from advlab.config import fields as f
from advlab.config.base import Conditions, Flag
from advlab.config.options.run import TargetOptions
from advlab.config.radii import ACCEPTED, Fraction

SQUEEZERS = ("bits", "median", "means")
_DETECTION = Flag(group="detection")


def _detectors() -> list[str]:
    return component_names("advlab.evaluation.detectors")


class DetectionOptions(TargetOptions):
    """Options of ``advlab evaluate detection``: the network, the detector, and the attacks."""

    revision: ClassVar[int] = 2  # FGSM in float32

    goes_with: ClassVar[Conditions] = {
        "squeezers": ("detector", ("squeezing",)),
        "bits": ("detector", ("squeezing",)),
        "median": ("detector", ("squeezing",)),
    }

    detector: Annotated[
        str,
        Field(min_length=1, description="detector of adversarial images"),
        Flag(group="detection", words=_detectors),
    ] = "squeezing"
    false_alarms: Annotated[
        float,
        Field(
            gt=0,
            lt=1,
            description=(
                "fraction of clean validation images that may be taken for adversarial, which sets "
                "the threshold"
            ),
        ),
        _DETECTION,
    ] = 0.05
    squeezers: Annotated[
        list[str] | None,
        Field(
            min_length=1,
            description=(
                "squeezing: fewer grey levels (bits), a median filter, non-local means; by default "
                "the first two of grey images, all three of colour images"
            ),
        ),
        Flag(group="detection", grid=False, words=lambda: list(SQUEEZERS)),
    ] = None
    bits: Annotated[
        int | None,
        Field(
            ge=1,
            le=8,
            description="squeezing: bits per channel (default 1 for grey images, 5 for colour)",
        ),
        _DETECTION,
    ] = None
    median: Annotated[
        int,
        Field(ge=2, le=15, description="squeezing: side of the median filter in pixels"),
        _DETECTION,
    ] = 2
    norm: f.Norm = "linf"
    eps: Annotated[
        float,
        Field(
            gt=0,
            le=1e6,
            description=f"radius of the ball, in pixel units (pixels lie in [0, 1]); {ACCEPTED}",
        ),
        Fraction,
        f.PERTURBATION,
    ] = 0.1
    attacks: Annotated[
        list[str] | None,
        Field(
            min_length=1,
            description=(
                "of the attacks that do not know the detector, run only these, by the names in the "
                "table; the adaptive attack is always run"
            ),
        ),
        Flag(group="perturbation", grid=False),
    ] = None
    steps: f.Steps = 50
    restarts: Annotated[
        int,
        Field(ge=1, le=10_000, description="random starts of the adaptive attack"),
        f.PERTURBATION,
    ] = 4
    limit: f.Limit = None
    batch_size: f.AttackBatch = 250

    @model_validator(mode="after")
    def _options_of_the_squeezers(self) -> DetectionOptions:
        """Refuse options of a squeezer that is not used."""
        for name in ("bits", "median"):
            given = getattr(self, name) != self.usual(name)
            if given and name not in (self.squeezers or SQUEEZERS):
                message = "goes with the squeezer {option}, which --squeezers leaves out"
                raise PydanticCustomError("of_squeezer", message, {"option": name})
        return self
