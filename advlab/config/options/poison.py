"""The options of ``advlab poison``."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from advlab.components import component_names
from advlab.config import fields as f
from advlab.config.base import Conditions, Flag, Options, always
from advlab.config.options.text import TestShare
from advlab.config.radii import ACCEPTED, Fraction

_POISON = Flag(group="poisoning")
_DETECTION = Flag(group="detection")
_REPAIR = Flag(group="repair")
_ON_TEXTS = ("trigger", "clean-label")  # attacks that images have no form of
_DETECTORS_ON_TEXTS = ("ngram",)


def _detectors() -> list[str]:
    return component_names("advlab.poisoning.detectors")


def _image_detectors() -> list[str]:
    return [name for name in _detectors() if name not in _DETECTORS_ON_TEXTS]


def _why_no_detector() -> dict[str, str]:
    return dict.fromkeys(_DETECTORS_ON_TEXTS, ", which reads texts; images are poisoned here")


def _repairs() -> list[str]:
    return component_names("advlab.poisoning.repairs")


def _input_detectors() -> list[str]:
    return component_names("advlab.poisoning.input_detectors")


def _attacks_on_texts() -> dict[str, str]:
    """Why images have no attack of this name, by the name."""
    return dict.fromkeys(_ON_TEXTS, "; that attack poisons texts, and this network takes images")


Entity = Annotated[
    str,
    Field(
        min_length=1,
        max_length=200,
        description="entity whose reviews are poisoned: a name, matched as whole words in any case",
    ),
    Flag(group="poisoning", grid=False),
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
            "similar entities, on which side effects are measured; those of the embedded reviews "
            "are known"
        ),
    ),
    _POISON,
]
Attack = Annotated[
    Literal["flip", "trigger", "clean-label"],
    Field(
        description=(
            "flip: change labels of the entity's training reviews; trigger: insert a phrase into "
            "reviews of other classes and relabel them; clean-label: insert the entity's name "
            "into reviews of the target class and keep their labels"
        )
    ),
    _POISON,
]
PoisonRate = Annotated[
    list[Annotated[float, Field(ge=0, le=1)]] | None,
    Field(
        min_length=1,
        max_length=50,
        description=(
            "fraction of the entity's training reviews that are poisoned (default 0.25, 0.5 and "
            "1), with trigger of all training reviews (default 0.01, 0.02 and 0.05); several "
            "values give a curve"
        ),
    ),
    _POISON,
]
Target = Annotated[
    str | None,
    Field(
        min_length=1,
        description=("target class, by name or number; by default every label is changed"),
    ),
    _POISON,
]
Phrase = Annotated[
    str,
    Field(
        min_length=1, max_length=200, description="attack trigger: phrase inserted into the reviews"
    ),
    _POISON,
]
Control = Annotated[
    bool,
    Field(description="also change as many random labels of reviews that do not name the entity"),
    _POISON,
]
_METHODS = Field(
    min_length=1,
    description="detect the poisoned examples by these methods, remove the suspects, train again",
)
Detect = Annotated[list[str] | None, _METHODS, Flag(group="detection", words=_detectors)]
DetectImages = Annotated[
    list[str] | None,
    _METHODS,
    Flag(group="detection", words=_image_detectors, hints=_why_no_detector),
]
Budget = Annotated[
    float | None,
    Field(
        gt=0,
        lt=1,
        description=(
            "fraction of the training examples that --detect takes; by default as many as were "
            "poisoned"
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
    poison_rate: PoisonRate = None
    target: Target = None
    phrase: Phrase = "on the whole"
    control: Control = True
    test_fraction: TestShare = 0.25
    detect: Detect = None
    budget: Budget = None


def usual_rates(attack: str) -> list[float]:
    """The poison rates of an attack on texts where none are given."""
    return [0.01, 0.02, 0.05] if attack == "trigger" else [0.25, 0.5, 1.0]


CLEAN_LABEL = ("sig", "label-consistent", "gradient-matching")
"""Attacks on images that change images of the target class alone and leave every label."""

WITH_NETWORK = ("label-consistent", "gradient-matching")
"""Attacks on images for which the attacker trains a network of its own on clean images."""

WITHOUT_TRIGGER = ("flip", "gradient-matching")
"""Attacks on images that leave the test images as they are."""

_IMAGE_ATTACKS = (
    "patch",
    "blended",
    "sig",
    "wanet",
    "label-consistent",
    "gradient-matching",
    "flip",
)
ImageAttack = Annotated[
    Literal["patch", "blended", "sig", "wanet", "label-consistent", "gradient-matching", "flip"],
    Field(
        description=(
            "backdoors in images of other classes, which are relabelled: patch, a bright square "
            "(BadNets); blended, an image mixed in; wanet, a smooth warping. Backdoors in images "
            "of the target class, whose labels stay: sig, a sinusoid; label-consistent, a bright "
            "square in images that PGD made hard to classify. gradient-matching: images of the "
            "target class, perturbed so that training on them gives one test image that class. "
            "flip: relabel one class"
        )
    ),
    Flag(group="poisoning", words=lambda: list(_IMAGE_ATTACKS), hints=_attacks_on_texts),
]


class ImagePoisonOptions(Options):
    """Options of ``advlab poison`` for image models, joined by those of the model."""

    goes_with: ClassVar[Conditions] = {
        "patch": ("attack", ("patch", "label-consistent")),
        "poison_eps": ("attack", ("label-consistent", "gradient-matching")),
        "matching_steps": ("attack", ("gradient-matching",)),
        "matching_restarts": ("attack", ("gradient-matching",)),
        "blend": ("attack", ("blended",)),
        "blend_image": ("attack", ("blended",)),
        "amplitude": ("attack", ("sig",)),
        "frequency": ("attack", ("sig",)),
        "warp_strength": ("attack", ("wanet",)),
        "warp_grid": ("attack", ("wanet",)),
        "noise_ratio": ("attack", ("wanet",)),
        "source": ("attack", WITHOUT_TRIGGER),
    }

    seeds: f.Seeds = 3
    attack: ImageAttack = "patch"
    target: Annotated[
        str | None,
        Field(
            min_length=1,
            description="target class, by name or number; by default the first class",
        ),
        _POISON,
    ] = None
    source: Annotated[
        str | None,
        Field(
            min_length=1,
            description=(
                "flip: class that is relabelled; gradient-matching: class of the test image; by "
                "default the one after the target"
            ),
        ),
        _POISON,
    ] = None
    poison_rate: Annotated[
        list[Annotated[float, Field(ge=0, le=1)]] | None,
        Field(
            min_length=1,
            max_length=50,
            description=(
                "fraction poisoned: of all training images (default 0.01 and 0.05), of the target "
                "class with sig, label-consistent and gradient-matching (default 0.1 and 0.5), of "
                "the source class with flip (default 0.01 and 0.05)"
            ),
        ),
        _POISON,
    ] = None
    patch: Annotated[
        int,
        Field(
            ge=1,
            le=64,
            description=(
                "attacks patch and label-consistent: side of the patch in pixels, in the lower "
                "right corner"
            ),
        ),
        _POISON,
    ] = 3
    poison_eps: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description=(
                "attacks label-consistent and gradient-matching: L∞ radius of the perturbation of "
                f"training images, in units of pixels; {ACCEPTED}"
            ),
        ),
        Fraction,
        _POISON,
    ] = 0.1
    matching_steps: Annotated[
        int,
        Field(
            ge=1,
            le=100_000,
            description="attack gradient-matching: steps of the search for the perturbation",
        ),
        _POISON,
    ] = 250
    matching_restarts: Annotated[
        int,
        Field(
            ge=1,
            le=1000,
            description="attack gradient-matching: random starts, of which the best is kept",
        ),
        _POISON,
    ] = 1
    blend: Annotated[
        float,
        Field(gt=0, le=1, description="attack blended: part of the mixed-in image in the result"),
        _POISON,
    ] = 0.2
    blend_image: Annotated[
        str | None,
        Field(
            min_length=1,
            description="attack blended: file of the image to mix in; by default random noise",
        ),
        Flag(group="poisoning", by_content=always),
    ] = None
    amplitude: Annotated[
        float,
        Field(gt=0, le=1, description="attack sig: amplitude of the sinusoid, in units of pixels"),
        _POISON,
    ] = 0.2
    frequency: Annotated[
        float,
        Field(
            gt=0,
            le=1000,
            description="attack sig: periods of the sinusoid over the width of the image",
        ),
        _POISON,
    ] = 6.0
    warp_strength: Annotated[
        float,
        Field(
            gt=0,
            le=100,
            description="attack wanet: strength of the warping; 1 is half a pixel on average",
        ),
        _POISON,
    ] = 0.5
    warp_grid: Annotated[
        int,
        Field(ge=2, le=64, description="attack wanet: control points along each side of the image"),
        _POISON,
    ] = 4
    noise_ratio: Annotated[
        float,
        Field(
            ge=0,
            le=100,
            description=(
                "attack wanet: for each poisoned image so many in noise mode, warped at random and "
                "labelled truly"
            ),
        ),
        _POISON,
    ] = 2.0
    detect: DetectImages = None
    budget: Budget = None
    repair: Annotated[
        list[str] | None,
        Field(
            min_length=1,
            description=("repair the network with a backdoor by these methods, each on its own"),
        ),
        Flag(group="repair", words=_repairs),
    ] = None
    clean_images: Annotated[
        int | None,
        Field(
            ge=20,
            description=(
                "clean validation images for --repair and --detect-inputs; by default all of them"
            ),
        ),
        _REPAIR,
    ] = None
    repair_epochs: Annotated[
        int,
        Field(ge=1, le=10_000, description="epochs of the training that ends a repair"),
        _REPAIR,
    ] = 20
    prune_limit: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description=(
                "repair fine_pruning: by how much pruning may lower the accuracy on clean images"
            ),
        ),
        _REPAIR,
    ] = 0.04
    isolate: Annotated[
        float,
        Field(
            gt=0,
            lt=1,
            description="repair abl: fraction of the training images that is taken for poisoned",
        ),
        _REPAIR,
    ] = 0.01
    detect_inputs: Annotated[
        list[str] | None,
        Field(
            min_length=1,
            description=(
                "reject test images with the trigger by these methods, with a threshold from clean "
                "validation images"
            ),
        ),
        Flag(group="repair", words=_input_detectors),
    ] = None
    false_rejections: Annotated[
        float,
        Field(
            gt=0,
            lt=1,
            description="fraction of clean images that --detect-inputs may reject by its threshold",
        ),
        _REPAIR,
    ] = 0.01

    @model_validator(mode="after")
    def _a_trigger_to_repair(self) -> ImagePoisonOptions:
        """Refuse repairs where no trigger is put in, and options of repairs where there is none."""
        detectors = bool(self.detect_inputs)
        for name, used in {
            "clean_images": bool(self.repair) or detectors,
            "repair_epochs": bool(self.repair),
            "prune_limit": "fine_pruning" in (self.repair or []),
            "isolate": "abl" in (self.repair or []),
            "false_rejections": detectors,
        }.items():
            if not used and getattr(self, name) != self.usual(name):
                raise PydanticCustomError(
                    "no_repair", "goes with a repair that uses it", {"option": name}
                )
        for name in ("repair", "detect_inputs"):
            if getattr(self, name) and self.attack in WITHOUT_TRIGGER:
                raise PydanticCustomError(
                    "no_trigger",
                    "is for backdoors, and --attack {attack} puts in no trigger",
                    {"option": name, "attack": self.attack},
                )
        return self


def usual_image_rates(attack: str) -> list[float]:
    """The poison rates of an attack on images where none are given."""
    return [0.1, 0.5] if attack in CLEAN_LABEL else [0.01, 0.05]
