"""Randomised smoothing: training under Gaussian noise, and certified L2 radii.

Cohen et al. 2019, arXiv:1902.02918. The other trainings are SmoothAdv, Salman et al. 2019,
arXiv:1906.04584, and MACER, Zhai et al. 2020, arXiv:2001.02378.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from advlab.config import fields as f
from advlab.config.base import Conditions, Flag
from advlab.config.options.run import DefendOptions, PrunableOptions
from advlab.config.options.smoothing import SmoothingOptions

if TYPE_CHECKING:
    from torch import Tensor, nn

    from advlab.data.image_set import Images
    from advlab.runs.machine import Machine
    from advlab.training.objective import Objective, Watch

_SMOOTHING = Flag(group="smoothing")
# Noisy copies of each image in a training step: of SmoothAdv as in one of the paper's settings, of
# MACER the authors'.
_COPIES = {"smoothadv": 4, "macer": 16}


class Options(SmoothingOptions, PrunableOptions, DefendOptions):
    """Randomised smoothing: train under Gaussian noise, then certify L2 radii."""

    # The ball is of SmoothAdv's training, and the radii of a search are of other copies.
    measuring: ClassVar[frozenset[str]] = PrunableOptions.measuring - {"norm", "eps", "samples"}

    goes_with: ClassVar[Conditions] = {
        "copies": ("training", ("smoothadv", "macer")),
        "radius_weight": ("training", ("macer",)),
        "hinge": ("training", ("macer",)),
        "inverse_temperature": ("training", ("macer",)),
    }

    norm: f.Norm = "l2"
    eps: f.Radius = 0.5
    training: Annotated[
        Literal["gaussian", "smoothadv", "macer"],
        Field(
            description=(
                "what is trained on: images with noise; smoothadv: adversarial images with noise; "
                "macer: images with noise, and a loss on their certified radii"
            )
        ),
        _SMOOTHING,
    ] = "gaussian"
    copies: Annotated[
        int | None,
        Field(
            ge=1,
            le=1000,
            description=(
                "smoothadv, macer: noisy copies of each image in a training step (default 4, of "
                "macer 16)"
            ),
        ),
        _SMOOTHING,
    ] = None
    steps: Annotated[
        int,
        Field(ge=1, le=1000, description="smoothadv: gradient steps, of 2 · eps / steps"),
        _SMOOTHING,
    ] = 4
    warmup: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="smoothadv: fraction of the training during which eps grows from 0",
        ),
        _SMOOTHING,
    ] = 0.3
    radius_weight: Annotated[
        float,
        Field(ge=0, le=1000, description="macer: weight of the loss on radii (lambda)"),
        _SMOOTHING,
    ] = 12.0
    hinge: Annotated[
        float,
        Field(
            gt=0,
            le=50,
            description=("macer: radius that the loss asks for, in units of half of sigma (gamma)"),
        ),
        _SMOOTHING,
    ] = 8.0
    inverse_temperature: Annotated[
        float,
        Field(
            gt=0,
            le=1000,
            description="macer: what logits are multiplied by in the loss on radii (beta)",
        ),
        _SMOOTHING,
    ] = 16.0
    check_images: Annotated[
        int,
        Field(
            ge=0,
            description=(
                "validation images whose radii are estimated after every epoch, to choose the best "
                "epoch; 0 for none"
            ),
        ),
        _SMOOTHING,
    ] = 200
    certify: Annotated[
        int,
        Field(ge=1, description="test images to certify, evenly spread over those of --limit"),
        _SMOOTHING,
    ] = 200


def objective(options: Options, label_smoothing: float, machine: Machine) -> Objective:
    """The loss of the training that is asked for. Noise is not clipped to [0, 1], as certified.

    - ``gaussian``: cross-entropy on images with fresh noise.
    - ``smoothadv``: the mean cross-entropy on all noisy copies of the images that PGD finds on the
      softmax averaged over these same copies.
    - ``macer``: the cross-entropy of the softmax averaged over noisy copies, plus
      ``radius_weight`` times the loss on its certified radius.
    """
    import torch

    from advlab.robust_training import smoothing
    from advlab.robust_training.inner_attack import grown, victim_of
    from advlab.training import objective as training

    copies = options.copies or _COPIES.get(options.training, 1)

    class Noisy(training.Objective):
        def __call__(
            self, model: nn.Module, inputs: Tensor, labels: Tensor, done: float
        ) -> tuple[Tensor, Tensor]:
            noisy = inputs + options.sigma * torch.randn(inputs.shape).to(inputs.device)
            return super().__call__(model, noisy, labels, done)

    class SmoothAdv(training.Objective):
        def __call__(
            self, model: nn.Module, inputs: Tensor, labels: Tensor, done: float
        ) -> tuple[Tensor, Tensor]:
            eps = grown(options.eps, options.warmup, done)
            noise = smoothing.noise_for(inputs, options.sigma, copies)
            victim = victim_of(model, machine)
            perturbed = smoothing.attack_smoothed(
                victim, inputs, labels, noise, options.norm, eps, options.steps
            )
            logits = model(smoothing.noisy_copies(perturbed, noise)).float()
            loss = self.cross_entropy(logits, labels.repeat_interleave(copies))
            return loss, smoothing.soft_log_probabilities(logits, copies)

    class Macer(training.Objective):
        def __call__(
            self, model: nn.Module, inputs: Tensor, labels: Tensor, done: float
        ) -> tuple[Tensor, Tensor]:
            noise = smoothing.noise_for(inputs, options.sigma, copies)
            logits = model(smoothing.noisy_copies(inputs, noise)).float()
            likely = smoothing.soft_log_probabilities(logits, copies)
            missing = smoothing.radius_loss(
                logits, labels, copies, options.sigma, options.hinge, options.inverse_temperature
            )
            loss = self.cross_entropy(likely, labels)
            return loss + options.radius_weight * missing.to(loss), likely

    kinds = {"gaussian": Noisy, "smoothadv": SmoothAdv, "macer": Macer}
    return kinds[options.training](label_smoothing)


def watch(options: Options, images: Images, machine: Machine) -> Watch | None:
    """What chooses the epoch: the mean radius of validation images under the noise."""
    from advlab.robust_training.smoothing import RadiusWatch

    if not options.check_images:
        return None
    return RadiusWatch(images, options.check_images, options.sigma, machine)
