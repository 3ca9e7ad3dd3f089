"""Patch: one disc for all images, made on training images to work at many places.

Brown et al. 2017, arXiv:1712.09665: the patch of largest expected log-probability of the target,
over images, places, rotations and scales. The paper always has a target; without one the patch here
leads away from the label.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from advlab.config import fields as f
from advlab.config.options.run import OneForAllOptions
from advlab.config.radii import ACCEPTED, Fraction
from advlab.config.threats import PatchAnywhere

if TYPE_CHECKING:
    from torch import Tensor

    from advlab.data.image_set import Images
    from advlab.perturbation.victim import Victim


class Options(OneForAllOptions):
    """Patch: one disc for all images, made to work at random places; no Lp ball."""

    checked_against: ClassVar[str] = "SciPy's placement; the closed form on linear networks"
    instead_of_eps: ClassVar[str] = "its size is --size"

    size: Annotated[
        float,
        Field(gt=0, lt=1, description="area of the patch, as a fraction of the image's"),
        f.PERTURBATION,
    ] = 0.1
    location: Annotated[
        Literal["random", "top-left", "top-right", "bottom-left", "bottom-right", "centre"],
        Field(description="where the patch is put: at random, or at one place in all images"),
        f.PERTURBATION,
    ] = "random"
    degrees: Annotated[
        float,
        Field(ge=0, le=180, description="largest rotation in either direction, in degrees"),
        f.PERTURBATION,
    ] = 22.5
    scale: Annotated[
        float,
        Field(ge=0, lt=1, description="enlarge or shrink the patch by up to this fraction"),
        f.PERTURBATION,
    ] = 0.2
    steps: f.Steps = 200
    step_size: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description=f"length of the first step of every pixel of the patch; {ACCEPTED}",
        ),
        Fraction,
        f.PERTURBATION,
    ] = 0.1
    eot: Annotated[
        int,
        Field(
            ge=1,
            le=10_000,
            description="random placements of each training image that a step sums over",
        ),
        f.PERTURBATION,
    ] = 1

    @property
    def threat(self) -> PatchAnywhere:
        """What the attack may do."""
        return PatchAnywhere(
            size=self.size, location=self.location, degrees=self.degrees, scale=self.scale
        )


def made(victim: Victim, images: Images, target: int | None, options: Options) -> Tensor:
    """A patch (1, C, K, K) in [0, 1], made on these images.

    Args:
        target: the class that all images are to be taken for; None for any but their own.
    """
    from advlab.perturbation.patch import ascended

    return ascended(
        victim,
        images,
        target,
        options.threat,
        steps=options.steps,
        step_size=options.step_size,
        placements=options.eot,
        batch_size=options.batch_size,
        seed=options.seed,
    )
