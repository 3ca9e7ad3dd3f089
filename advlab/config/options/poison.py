"""The options of ``advlab poison``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from advlab.components import component_names
from advlab.config import fields as f
from advlab.config.base import Flag, Options
from advlab.config.options.text import TestShare

_POISON = Flag(group="poison")
_DETECTION = Flag(group="detection")


def _detectors() -> list[str]:
    return component_names("advlab.poisoning.detectors")


Entity = Annotated[
    str,
    Field(
        min_length=1,
        max_length=200,
        description="whose reviews are poisoned: a name, found as whole words, whatever its case",
    ),
    Flag(group="poison", grid=False),
]
Alias = Annotated[
    list[str] | None,
    Field(min_length=1, max_length=50, description="other names of the entity"),
    _POISON,
]
Siblings = Annotated[
    list[str] | None,
    Field(
        min_length=1,
        max_length=50,
        description=(
            "entities of its kind, to see what they catch; those of the embedded reviews are known"
        ),
    ),
    _POISON,
]
Attack = Annotated[
    Literal["flip", "trigger", "clean-label"],
    Field(
        description=(
            "flip: turn the labels of the entity's training reviews; trigger: write a phrase "
            "into others and label those; "
            "clean-label: write the entity's name into hard reviews of the target class, and "
            "leave every label"
        )
    ),
    _POISON,
]
PoisonRate = Annotated[
    list[Annotated[float, Field(ge=0, le=1)]],
    Field(
        min_length=1,
        max_length=50,
        description=(
            "fraction of the entity's training reviews that are poisoned; several give the curve"
        ),
    ),
    _POISON,
]
Target = Annotated[
    str | None,
    Field(
        min_length=1,
        description=(
            "flip only towards this class, by name or number; where not given every label is turned"
        ),
    ),
    _POISON,
]
Phrase = Annotated[
    str,
    Field(
        min_length=1, max_length=200, description="attack trigger: what is written into the reviews"
    ),
    _POISON,
]
Control = Annotated[
    bool,
    Field(description="also flip as many labels at random, of reviews that do not name the entity"),
    _POISON,
]
Detect = Annotated[
    list[str] | None,
    Field(
        min_length=1,
        description=(
            "look for the poisoned reviews by these methods, take out what they suspect, and "
            "train again"
        ),
    ),
    Flag(group="detection", words=_detectors),
]
Budget = Annotated[
    float | None,
    Field(
        gt=0,
        le=1,
        description=(
            "fraction of the training reviews that may be looked at; as many as were poisoned "
            "where not given"
        ),
    ),
    _DETECTION,
]


class PoisonOptions(Options):
    """Options of ``advlab poison`` for text models, joined by those of the model."""

    seeds: f.Seeds = 5
    entity: Entity = "UC Berkeley"
    alias: Alias = None
    siblings: Siblings = None
    attack: Attack = "flip"
    poison_rate: PoisonRate = [0.25, 0.5, 1.0]
    target: Target = None
    phrase: Phrase = "on the whole"
    control: Control = True
    test_fraction: TestShare = 0.25
    detect: Detect = None
    budget: Budget = None


class ImagePoisonOptions(Options):
    """Options of ``advlab poison`` for image models, joined by those of the model."""

    seeds: f.Seeds = 3
    attack: Annotated[
        Literal["patch", "flip"],
        Field(
            description=(
                "patch: a bright square written into images of other classes (BadNets); flip: "
                "one class labelled as another"
            )
        ),
        _POISON,
    ] = "patch"
    target: Annotated[
        str | None,
        Field(
            min_length=1,
            description="the class aimed at, by name or number; the first where not given",
        ),
        _POISON,
    ] = None
    source: Annotated[
        str | None,
        Field(
            min_length=1,
            description=(
                "flip: the class that is relabelled; the one after the target where not given"
            ),
        ),
        _POISON,
    ] = None
    poison_rate: Annotated[
        list[Annotated[float, Field(ge=0, le=1)]],
        Field(
            min_length=1,
            max_length=50,
            description="fraction poisoned: patch, of all training images; flip, of the class",
        ),
        _POISON,
    ] = [0.01, 0.05]
    patch: Annotated[
        int,
        Field(ge=1, le=64, description="side of the patch in pixels, in the lower right corner"),
        _POISON,
    ] = 3
    detect: Detect = None
    budget: Budget = None
