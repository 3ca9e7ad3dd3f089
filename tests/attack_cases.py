"""Every attack in each of its norms, with budgets that suit tests."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor

from advlab.components import component_names, load_component
from advlab.config.base import Options
from advlab.config.options.run import AttackOptions, ImageAttackOptions, OneForAllOptions
from advlab.config.registry import command_named
from advlab.perturbation.goal import Goal
from advlab.perturbation.randomness import ImageRandom
from advlab.perturbation.victim import Victim


def _of_kind(kind: type[Options]) -> list[str]:
    """The attacks on images whose options derive from a class."""
    return [
        name
        for name in component_names("advlab.attacks")
        if command_named("attack").takes(name) == "images"
        and issubclass(load_component("advlab.attacks", name, "attack").Options, kind)
    ]


ON_IMAGES = _of_kind(ImageAttackOptions)
ONE_FOR_ALL = _of_kind(OneForAllOptions)
"""Those that make one perturbation or patch for all images. What they do to an image depends on the
training images, so that the contract of an attack on each image by itself (one answer whatever the
batch, a goal of its own, nothing done to an image at its goal) has no meaning for them. Their
options class says so, and they have no ``perturb``; ``test_universal.py`` and ``test_patch.py`` say
what they owe instead."""
IN_BALLS = _of_kind(AttackOptions)
ATTACKS = [name for name in IN_BALLS if name not in ONE_FOR_ALL]
"""Those within an Lp ball, on each image by itself."""
RADII = {"linf": 0.15, "l2": 1.5, "l1": 12.0, "l3": 0.9, "l1.5": 3.0, "l0": 30.0}
EXPONENTS = {"linf": math.inf, "l2": 2.0, "l1": 1.0, "l3": 3.0, "l1.5": 1.5, "l0": 0.0}
"""The test images have one channel, so that their changed pixels are their changed entries."""
MOTIONS = {"grid": {"angles": 7, "shifts": 3}, "tries": {"tries": 16}}
SEARCHES: dict[str, dict[str, Any]] = {
    **MOTIONS,
    "flow": {"steps": 40},
    "levels": {"levels": 7},
    "shifts": {"tries": 80},
}
"""The searches of the attacks in no ball. The radius of these cases is the fraction of their
largest transformations."""
LARGEST = {
    "spatial": {"degrees": 30.0, "shift": 2.5},
    "stadv": {"max_shift": 2.5},
    "colour": {"hue": 90.0, "saturation": 0.5, "brightness": 0.9, "contrast": 0.9},
}
RADII |= dict.fromkeys(SEARCHES, 1.0)
STEPS = {"cw": 15, "ead": 6, "deepfool": 40, "fmn": 20, "sigmazero": 20}
"""Steps that attacks need to find any success."""
QUERIES = {
    "square": 60,
    "simba": 100,
    "spsa": 300,
    "nes": 300,
    "onepixel": 60,
    "sparsers": 60,
}
"""Queries that attacks need to find enough of them."""


@dataclass(frozen=True)
class Case:
    """An attack in one of its norms, or with one of its searches where it has none."""

    attack: str
    norm: str

    def options(self, **changes: Any) -> Options:
        kind: type[Options] = load_component("advlab.attacks", self.attack, "attack").Options
        if self.norm in SEARCHES:
            return kind(**{**SEARCHES[self.norm], **changes})
        given: dict[str, Any] = (
            {"norm": self.norm} if "norm" in kind.model_fields else {"p": EXPONENTS[self.norm]}
        )
        if "steps" in kind.model_fields:
            given["steps"] = STEPS.get(self.attack, 8)
        if self.attack == "cw":
            given.update(lr=0.3, search_steps=5)
        if self.attack == "ead":
            given.update(lr=0.3, search_steps=5)
        if self.attack == "fmn" and self.norm == "l0":
            given["steps"] = 30  # its radius grows by a pixel at a time
        if self.attack == "onepixel":
            given["population"] = 20
        if self.attack == "geoda":
            given["low_frequencies"] = 1.0  # the images of tests are small
        if "target_classes" in kind.model_fields:
            given["target_classes"] = 2 if self.attack == "jsma" else 3
        if "queries" in kind.model_fields:
            given["queries"] = QUERIES.get(self.attack, 150)
        return kind(**{**given, **changes})

    def perturb(
        self,
        victim: Victim,
        images: Tensor,
        goal: Goal,
        eps: float,
        seed: int = 0,
        ids: Tensor | None = None,
        **changes: Any,
    ) -> Tensor:
        random = ImageRandom(seed, torch.arange(len(images)) if ids is None else ids)
        attack = load_component("advlab.attacks", self.attack, "attack").perturb
        perturbed: Tensor
        if self.norm in SEARCHES:
            limits = {name: eps * limit for name, limit in LARGEST[self.attack].items()}
            options = self.options(**limits, **changes)
            perturbed = attack(victim, images, goal, random, options)
        else:
            perturbed = attack(victim, images, goal, random, eps, self.options(**changes))
        return perturbed


def cases() -> Iterator[Case]:
    for attack in ATTACKS:
        fields = load_component("advlab.attacks", attack, "attack").Options.model_fields
        # The fixed p-norms of ``lp`` begin at 1.
        powers = [norm for norm in RADII if norm not in ("l0", *SEARCHES)]
        for norm in get_args(fields["norm"].annotation) if "norm" in fields else powers:
            yield Case(attack, norm)


CASES = list(cases())
BEYOND_BALLS = [
    *(Case("spatial", search) for search in MOTIONS),
    Case("stadv", "flow"),
    Case("colour", "levels"),
    Case("colour", "shifts"),
]
