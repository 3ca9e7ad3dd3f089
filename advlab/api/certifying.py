"""Certificates of a model: randomised smoothing and interval bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from advlab.api.inputs import (
    INTEGERS,
    as_tensor,
    check_classes,
    checked_images,
    named_machine,
    radius_within_one,
)
from advlab.api.keywords import in_keywords, undisturbed, validated
from advlab.api.loading import training_check
from advlab.components import flag_suggestion
from advlab.config.options.run import RunOptions
from advlab.data.image_set import Images
from advlab.defenses import smooth
from advlab.errors import UsageError
from advlab.evaluation import certify as certification
from advlab.evaluation.certify import Certified
from advlab.evaluation.checks import chance_check, log_failed
from advlab.evaluation.verify import verified
from advlab.metrics.classification import is_correct
from advlab.networks.adapter import Adapter, copied, part_in_training_mode, unwrapped
from advlab.networks.layout import place
from advlab.perturbation.sweep import judge
from advlab.perturbation.victim import Victim
from advlab.runs.machine import Machine

_OF_CERTIFY = ("samples", "select", "alpha")


@dataclass(frozen=True, repr=False)
class CertificationResult:
    """What randomised smoothing certifies. All tensors are on the CPU.

    Attributes:
        predictions: classes of the smoothed model, int64 (N,); -1 where it abstains.
        radii: certified L2 radii in pixel units, float64 (N,); 0 where it abstains.
        accuracy: fraction of images that are classified correctly, in [0, 1].
        checks_failed: why the certificates are void, by the name of each failed check.
    """

    predictions: Tensor
    radii: Tensor
    accuracy: float
    checks_failed: dict[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        """The figure in one line, without the tensors."""
        return (
            f"CertificationResult({len(self.radii)} images, accuracy={self.accuracy:.4g}, "
            f"checks_failed={list(self.checks_failed)})"
        )

    def certified_accuracy(self, labels: Tensor, radius: float) -> float:
        """Fraction of images classified correctly with a certified radius of at least
        ``radius``.

        Args:
            labels: the true classes, integers (N,).
            radius: in pixel units of L2, at least 0.

        Raises:
            ValueError: the labels are not one integer for each image, or the radius is negative or
                no number.
        """
        classes = as_tensor(labels, "labels").cpu()
        if classes.shape != self.predictions.shape or classes.dtype not in INTEGERS:
            raise ValueError(
                f"labels: {classes.dtype} of shape {tuple(classes.shape)}; they must be "
                f"{len(self.predictions)} integers"
            )
        if not (math.isfinite(radius) and radius >= 0):
            raise ValueError(f"radius: {radius}; it must be a number of at least 0")
        return Certified(self.predictions, self.radii).accuracy(classes, radius)


@dataclass(frozen=True, repr=False)
class VerificationResult:
    """What interval bounds verify.

    Attributes:
        verified: for which images no image within the radius is misclassified, bool (N,) on the
            CPU. An image that is misclassified itself is never verified.
        verified_accuracy: the fraction of such images: a lower bound of robust accuracy.
    """

    verified: Tensor
    verified_accuracy: float

    def __repr__(self) -> str:
        """The figure in one line, without the tensor."""
        return (
            f"VerificationResult({len(self.verified)} images, "
            f"verified_accuracy={self.verified_accuracy:.4g})"
        )


@in_keywords()
@undisturbed
def certify(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    sigma: float,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    **options: Any,
) -> CertificationResult:
    """Certify a model that is smoothed by Gaussian noise (Cohen et al. 2019, arXiv:1902.02918).

    Args:
        model, images, labels, device: as for ``attack``.
        precision: of the passes that vote: ``auto``, which is ``fp32``, or ``bf16`` or ``fp16``.
        sigma: standard deviation of the noise, in pixel units.
        seed: seed of the noise.
        **options: ``samples`` (noisy copies of an image that vote, 1,000), ``select`` (copies that
            choose the class, 100), ``alpha`` (probability that a certificate is wrong, .001).

    Raises:
        UsageError: there is no such option, or a value is out of range.
        ValueError: as for ``attack``.
    """
    for option in options:
        if option not in _OF_CERTIFY:
            raise UsageError(f"certify: no option {option!r}{flag_suggestion(option, _OF_CERTIFY)}")
    settings = validated(smooth.Options, "certify", sigma=sigma, **options)
    seed = validated(RunOptions, "certify", seed=seed).seed
    data = checked_images(images, labels)
    # Whether an image is misclassified is decided in float32, unless the caller asks for less.
    machine = named_machine(device, "fp32" if precision == "auto" else precision)
    network = _own_copy(model, data, machine)
    smoothing = certification.Smoothing.of(settings, seed)
    certified = certification.certify(network, data, smoothing, machine)
    victim = Victim(model, machine)
    failed = certification.vote_checks(victim, data, smoothing)
    logits = judge(victim, data.inputs(slice(None)))
    failed |= chance_check(is_correct(logits, data.labels), logits.shape[1])
    failed |= training_check(model, data)
    failed |= certification.lost_votes(certified.without_vote)
    log_failed(failed)
    accuracy = certified.accuracy(data.labels, 0.0)
    return CertificationResult(certified.predicted, certified.radius, accuracy, failed)


@in_keywords()
@undisturbed
def verify(
    model: nn.Module, images: Tensor, labels: Tensor, *, eps: float | str, device: str = "auto"
) -> VerificationResult:
    """Verify by interval bounds that no image within L∞ distance ``eps`` is misclassified (Gowal et
    al. 2018, arXiv:1810.12715).

    The bounds are loose unless the model was trained for them, as ``advlab defend ibp`` does: an
    image that is not verified may be robust all the same.

    Args:
        model, images, labels, device: as for ``attack``. The model is a chain of layers with known
            bounds, such as ``nn.Sequential`` of convolutions, ReLU and linear layers.
        eps: L∞ radius in pixel units, in [0, 1], a number or a fraction as text. The images around
            are those with pixels in [0, 1].

    Raises:
        UsageError: the model has a layer without known bounds; it is named.
        ValueError: as for ``attack``, or the radius is out of range.
    """
    radius = radius_within_one(eps)
    data, machine = checked_images(images, labels), named_machine(device, "fp32")
    flags = verified(_own_copy(model, data, machine), data, radius, machine)
    return VerificationResult(flags, int(flags.sum()) / len(flags))


def _own_copy(model: nn.Module, data: Images, machine: Machine) -> Adapter:
    """A copy of the model on the machine's device, which tells enough classes apart.

    Raises:
        ValueError: it is in training mode, or has fewer classes than the labels.
    """
    training = part_in_training_mode(model)
    if training is not None:
        raise ValueError(f"the model is in training mode ({training}); call model.eval() first")
    network = Adapter(place(copied(unwrapped(model)), machine.device))
    with torch.no_grad():
        count = network(data.inputs(slice(0, 1), machine.device)).shape[1]
    check_classes(data.labels, count, "labels")
    return network
