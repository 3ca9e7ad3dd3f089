"""Data augmentation, and whether it makes a network robust to attacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from advlab.config import fields as f
from advlab.config.options.run import AugmentOptions, DefendOptions

if TYPE_CHECKING:
    from advlab.runs.machine import Machine
    from advlab.training.objective import Objective


class Options(AugmentOptions, DefendOptions):
    """Data augmentation: random transformations of training images, over several seeds."""

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
