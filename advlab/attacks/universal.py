"""Universal: one perturbation for all images, made on training images.

That there is one was found by Moosavi-Dezfooli et al. 2017, arXiv:1610.08401. Here it is made by
stochastic gradient ascent on a clipped loss, Shafahi et al. 2020, arXiv:1811.11304: it is simpler
than the first paper's walk from boundary to boundary, and stronger by their measurements.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from advlab.config import fields as f
from advlab.config.options.run import SharedPerturbationOptions

if TYPE_CHECKING:
    from torch import Tensor

    from advlab.data.image_set import Images
    from advlab.perturbation.victim import Victim

_FIRST_STEP = 0.5  # of eps; the best of 0.1, 0.3, 0.6 and 1 on validation images of digits is near


class Options(SharedPerturbationOptions):
    """Universal: one perturbation for all images, made on training images, judged on others."""

    checked_against: ClassVar[str] = "the closed form on linear networks"

    norm: f.NormLinfOrL2 = "linf"
    steps: f.Steps = 200
    step_size: f.StepSize = None
    clip: Annotated[
        float,
        Field(
            gt=0,
            le=1e6,
            description="cross-entropy above which an image no longer counts; not with a target",
        ),
        f.PERTURBATION,
    ] = 9.0

    @model_validator(mode="after")
    def _clips_something(self) -> Options:
        """Refuse a clipped loss where the loss is that of a target, which has no ceiling."""
        if self.target is not None and self.clip != self.usual("clip"):
            reason = "does not go with --target, whose loss is not clipped"
            raise PydanticCustomError("no_clip", "{reason}", {"option": "clip", "reason": reason})
        return self


def made(
    victim: Victim, images: Images, target: int | None, eps: float, options: Options
) -> Tensor:
    """A perturbation (1, C, H, W) of norm eps at most, made on these images.

    Args:
        target: the class that all images are to be taken for; None for any but their own.
    """
    from advlab.perturbation.geometry import P
    from advlab.perturbation.shared import ascended

    return ascended(
        victim,
        images,
        target,
        eps,
        P[options.norm],
        steps=options.steps,
        step_size=_FIRST_STEP * eps if options.step_size is None else options.step_size,
        clip=options.clip,
        batch_size=options.batch_size,
        seed=options.seed,
    )
