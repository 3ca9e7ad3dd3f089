"""Spatial: rotations and translations, tried one after another; it sees logits and no gradients.

Engstrom et al. 2019, arXiv:1712.02779: the grid search of section 4, and the worst of random
motions. The first-order attack of the paper is weaker than the grid there, and left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from advlab.config import fields as f
from advlab.config.base import Flag
from advlab.config.options.run import ImageAttackOptions, Sees
from advlab.config.threats import RigidMotion

if TYPE_CHECKING:
    from torch import Tensor

    from advlab.perturbation.goal import Goal
    from advlab.perturbation.randomness import ImageRandom
    from advlab.perturbation.transformed import Searched
    from advlab.perturbation.victim import Victim


class Options(ImageAttackOptions):
    """Spatial: the worst rotation and translation, of a grid or of random ones; no Lp ball."""

    sees: ClassVar[Sees] = "logits"
    checked_against: ClassVar[str] = "torchvision's and SciPy's motions; a naive loop"
    instead_of_eps: ClassVar[str] = "its limits are --degrees and --shift"

    precision: f.Precision = "fp32"  # there is no gradient to be quick about
    degrees: Annotated[
        float,
        Field(ge=0, le=180, description="largest rotation in either direction, in degrees"),
        f.PERTURBATION,
    ] = 30.0
    shift: Annotated[
        float,
        Field(ge=0, le=10_000, description="largest translation along each side, in pixels"),
        f.PERTURBATION,
    ] = 3.0
    angles: Annotated[
        int,
        Field(ge=1, le=1000, description="angles of the grid, from -degrees to degrees"),
        f.PERTURBATION,
    ] = 31
    shifts: Annotated[
        int,
        Field(ge=1, le=50, description="translations of the grid along each side, -shift to shift"),
        f.PERTURBATION,
    ] = 5
    tries: Annotated[
        int | None,
        Field(
            ge=1,
            le=10_000,
            description="try so many random motions of each image instead of the grid",
        ),
        Flag(bare="10", group="perturbation"),
    ] = None

    @property
    def threat(self) -> RigidMotion:
        """What the attack may do; a grid of one angle or translation holds the middle alone."""
        drawn = self.tries is not None
        return RigidMotion(
            degrees=self.degrees if drawn or self.angles > 1 else 0.0,
            shift=self.shift if drawn or self.shifts > 1 else 0.0,
        )

    @model_validator(mode="after")
    def _one_search(self) -> Options:
        """Refuse the size of a grid where there is none."""
        for name in ("angles", "shifts"):
            if self.tries is not None and getattr(self, name) != self.usual(name):
                reason = "is the size of the grid, which --tries replaces; leave one of them out"
                raise PydanticCustomError("no_grid", "{reason}", {"option": name, "reason": reason})
        return self


def perturb(
    victim: Victim, images: Tensor, goal: Goal, random: ImageRandom, options: Options
) -> Tensor:
    """Images (N, C, H, W) in [0, 1], rotated by at most ``degrees`` and shifted by at most
    ``shift``."""
    return search(victim, images, goal, random, options).images


def search(
    victim: Victim, images: Tensor, goal: Goal, random: ImageRandom, options: Options
) -> Searched:
    """The same with the motions (degrees, pixels down, pixels right), and the number of queries of
    each image.

    The first query is about the image itself, the others about one motion each. An image is done
    once it reaches its goal, unless it is made on a surrogate; one that never does comes back as it
    was nearest to it, by the margin between logits.
    """
    from advlab.perturbation import motion, transformed

    if options.tries is None:
        candidates = motion.grid(options.degrees, options.shift, options.angles, options.shifts)
    else:
        candidates = motion.drawn(random, options.degrees, options.shift, options.tries)
    return transformed.search(
        victim, images, goal, candidates, motion.moved, stop=options.surrogate is None
    )


def unchanged(shape: tuple[int, ...]) -> Tensor:
    """The motion that leaves an image of this shape where it is."""
    import torch

    return torch.zeros(3, dtype=torch.float64)
