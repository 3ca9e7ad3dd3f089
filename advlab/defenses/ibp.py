"""Interval bound propagation: training on bounds of the worst case in the ball.

Gowal et al. 2018, arXiv:1810.12715.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from advlab.config import fields as f
from advlab.config.base import Flag
from advlab.config.options.run import DefendOptions, PrunableOptions

if TYPE_CHECKING:
    from torch import Tensor, nn

    from advlab.data.image_set import Images
    from advlab.runs.machine import Machine
    from advlab.training.objective import Objective, Watch

_DEFENCE = Flag(group="defence")


class Options(PrunableOptions, DefendOptions):
    """Interval bound propagation: train on bounds of the worst case, and verify images."""

    norm: f.NormLinf = "linf"
    kappa: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="weight of the clean loss after the ramp; the worst case has the rest",
        ),
        _DEFENCE,
    ] = 0.5
    clean_start: Annotated[
        float,
        Field(ge=0, le=1, description="fraction of the training on clean images before the ramp"),
        _DEFENCE,
    ] = 0.05
    ramp: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description=(
                "fraction of the training during which ε grows from 0 and the weight of the clean "
                "loss falls from 1"
            ),
        ),
        _DEFENCE,
    ] = 0.5
    check_images: Annotated[
        int,
        Field(
            ge=0,
            description=(
                "validation images that are verified after every epoch, to choose the best epoch; "
                "0 for none"
            ),
        ),
        _DEFENCE,
    ] = 1000
    label_smoothing: f.LabelSmoothing = 0.0


def schedule(options: Options, done: float) -> tuple[float, float]:
    """The weight κ of the clean loss and the radius ε after the fraction ``done`` of all steps.

    Both are linear during the ramp, κ from 1 and ε from 0, as in the paper. On MNIST its clean
    start is a thirtieth of the training and its ramp a sixth; short trainings need a longer ramp.
    """
    ramped = max(0.0, done - options.clean_start)
    part = min(1.0, ramped / options.ramp) if options.ramp else float(done >= options.clean_start)
    return 1 - part * (1 - options.kappa), part * options.eps


def objective(options: Options, label_smoothing: float, machine: Machine) -> Objective:
    """κ · cross-entropy of clean images + (1 − κ) · that of the worst logits in the ball.

    The worst logits are bounds: each other class minus the label, as large as it may become.
    """
    from advlab.networks.intervals import Box, worst_logits
    from advlab.training import objective as training

    class Intervals(training.Objective):
        def __call__(
            self, model: nn.Module, inputs: Tensor, labels: Tensor, done: float
        ) -> tuple[Tensor, Tensor]:
            kappa, eps = schedule(options, done)
            clean, worst = worst_logits(model, Box.around(inputs, eps), labels)
            clean, worst = clean.float(), worst.float()
            loss = kappa * self.cross_entropy(clean, labels)
            if kappa < 1:
                loss = loss + (1 - kappa) * self.cross_entropy(worst, labels)
            return loss, clean

    return Intervals(label_smoothing)


def watch(options: Options, images: Images, machine: Machine) -> Watch | None:
    """What chooses the epoch: verified accuracy at eps on validation images."""
    from advlab.robust_training.verified import VerifiedWatch

    if not options.check_images:
        return None
    return VerifiedWatch(images, options.check_images, options.eps, machine)


def check_network(network: nn.Module) -> None:
    """Check that bounds of all layers are known.

    Raises:
        UsageError: some layer has none; it is named.
    """
    from advlab.networks.intervals import chain

    chain(network)
