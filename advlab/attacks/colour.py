"""Colour: shifts of hue, saturation, brightness and contrast of the whole image.

Hosseini and Poovendran 2018, arXiv:1804.00499, shift hue and saturation by amounts that are drawn
at random and grow. Here brightness and contrast are shifted too, all within stated limits, at
random or over a grid; saturation, brightness and contrast are factors, as in torchvision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from advlab.config import fields as f
from advlab.config.base import Flag
from advlab.config.options.run import ImageAttackOptions, Sees
from advlab.config.threats import ColourShift

if TYPE_CHECKING:
    from torch import Tensor

    from advlab.perturbation.goal import Goal
    from advlab.perturbation.randomness import ImageRandom
    from advlab.perturbation.transformed import Searched
    from advlab.perturbation.victim import Victim


class Options(ImageAttackOptions):
    """Colour: the worst shift of hue, saturation, brightness and contrast; no Lp ball."""

    sees: ClassVar[Sees] = "logits"
    checked_against: ClassVar[str] = "torchvision's shifts; a naive loop; a closed form"
    instead_of_eps: ClassVar[str] = (
        "its limits are --hue, --saturation, --brightness and --contrast"
    )

    precision: f.Precision = "fp32"  # there is no gradient to be quick about
    hue: Annotated[
        float,
        Field(
            ge=0,
            le=180,
            description="largest rotation of the hue in either direction, in degrees (colour only)",
        ),
        f.PERTURBATION,
    ] = 180.0
    saturation: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="change the saturation by up to this fraction (colour only)",
        ),
        f.PERTURBATION,
    ] = 0.5
    brightness: Annotated[
        float,
        Field(ge=0, le=1, description="change the brightness by up to this fraction"),
        f.PERTURBATION,
    ] = 0.3
    contrast: Annotated[
        float,
        Field(ge=0, le=1, description="change the contrast by up to this fraction"),
        f.PERTURBATION,
    ] = 0.3
    levels: Annotated[
        int,
        Field(ge=1, le=50, description="shifts of each kind in the grid, from -limit to limit"),
        f.PERTURBATION,
    ] = 5
    tries: Annotated[
        int | None,
        Field(
            ge=1,
            le=10_000,
            description="try so many random shifts of each image, ever larger, instead of the grid",
        ),
        Flag(bare="100", group="perturbation"),
    ] = None

    @property
    def threat(self) -> ColourShift:
        """What the attack may do to a colour image; a grid of one level holds the middle alone."""
        if self.tries is None and self.levels == 1:
            return ColourShift(hue=0, saturation=0, brightness=0, contrast=0)
        return ColourShift(
            hue=self.hue,
            saturation=self.saturation,
            brightness=self.brightness,
            contrast=self.contrast,
        )

    @model_validator(mode="after")
    def _one_search(self) -> Options:
        """Refuse the size of a grid where there is none."""
        if self.tries is not None and self.levels != self.usual("levels"):
            reason = "is the size of the grid, which --tries replaces; leave one of them out"
            raise PydanticCustomError("no_grid", "{reason}", {"option": "levels", "reason": reason})
        return self


def perturb(
    victim: Victim, images: Tensor, goal: Goal, random: ImageRandom, options: Options
) -> Tensor:
    """Images (N, C, H, W) in [0, 1], each with one shift of all its pixels within the limits."""
    return search(victim, images, goal, random, options).images


def search(
    victim: Victim, images: Tensor, goal: Goal, random: ImageRandom, options: Options
) -> Searched:
    """The same with the shifts (see ``perturbation.colour``), and the number of queries.

    The first query is about the image itself, the others about one shift each. An image is done
    once it reaches its goal, unless it is made on a surrogate; one that never does comes back as it
    was nearest to it, by the margin between logits.
    """
    from advlab.perturbation import colour, transformed

    limits = colour.limits_of(options.threat, images.shape[1])
    if options.tries is None:
        candidates = colour.grid(limits, options.levels)
    else:
        candidates = colour.drawn(random, limits, options.tries)
    return transformed.search(
        victim, images, goal, candidates, colour.shifted, stop=options.surrogate is None
    )


def unchanged(shape: tuple[int, ...]) -> Tensor:
    """The shift that leaves an image of this shape as it is."""
    import torch

    from advlab.perturbation.colour import kinds

    return torch.zeros(len(kinds(shape[0])), dtype=torch.float64)
