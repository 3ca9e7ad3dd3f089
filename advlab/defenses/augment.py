"""Augmentation: does training on transformed images make a network withstand attacks?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from advlab.config import fields as f
from advlab.config.options.run import AugmentOptions, DefendOptions

if TYPE_CHECKING:
    from advlab.runs.machine import Machine
    from advlab.training.objective import Objective


class Options(AugmentOptions, DefendOptions):
    """Augmentation: train on images that are turned, shifted, bent and erased at random; several
    seeds, and an answer."""

    seeds: f.Seeds = 3
    degrees: f.Degrees = 15.0
    translate: f.Translate = 0.1
    scale: f.Scale = 0.1
    shear: f.Shear = 5.0
    elastic: f.Elastic = 10.0
    erase: f.Erase = 0.25
    noise: f.Noise = 0.1


def objective(options: Options, label_smoothing: float, machine: Machine) -> Objective:
    """The plain loss, on transformed images."""
    from advlab.training.augmented import Augmented

    return Augmented(options, label_smoothing)
