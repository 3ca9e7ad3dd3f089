"""The precision of gradients in which attacks on a network are not weaker than in float32."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from advlab.networks import code
from advlab.networks.adapter import NetworkError
from advlab.perturbation.goal import Goal
from advlab.perturbation.randomness import repeatable
from advlab.perturbation.victim import Victim
from advlab.runs.machine import Machine

COMPARED = 8  # images on which gradients in two precisions are compared
_ALIGNED = 0.95  # the least median cosine between them
_ALIKE = 0.1  # the largest median difference of logits, of the norm of the logits around their mean


def dependable(network: nn.Module, images: Tensor, machine: Machine) -> tuple[Machine, str]:
    """The machine in its own precision, or in float32 where that one would weaken attacks.

    A network that advlab did not build may hold constants of its own in float32, and then fails in
    bf16, or computes something else there: the logits of torchvision's ResNet-50, EfficientNet-B0
    and MobileNetV3 with random weights differ by 0.5 to 1.7 %. In a deep one the rounding of many
    layers adds up, and the gradient points elsewhere: for timm's tf_efficientnet_lite0 with its
    ImageNet weights the median cosine to the gradient in float32 was 0.83, and PGD (20 steps,
    ε = 1/255) broke 8 of 9 images in bf16 and all 9 in float32.

    Args:
        images: (N, C, H, W) in [0, 1] on the machine's device; the first few are looked at.

    Returns:
        The machine, and why it is in float32; empty where the precision is as it was.
    """
    if machine.dtype == torch.float32:
        return machine, ""
    return _compared(network, images, machine)


def weak_precision(
    network: nn.Module, images: Tensor, machine: Machine, asked: str
) -> dict[str, str]:
    """The check whether the precision that the user asked for weakens attacks, a sentence by its
    name; empty where it does not, or where none was asked for (``auto``).

    Args:
        images: as for ``dependable``.
        asked: the value of ``--precision``.
    """
    reason = "" if asked == "auto" else dependable(network, images, machine)[1]
    if not reason:
        return {}
    return {
        "weak precision": (
            f"--precision {asked} was asked for, and {reason}; auto or fp32 makes stronger attacks"
        )
    }


def _compared(network: nn.Module, images: Tensor, machine: Machine) -> tuple[Machine, str]:
    """The machine, or the same in float32 and the reason, from both precisions on some images."""
    exact = Machine(machine.device, "fp32")
    probe = images[:COMPARED]
    reference = Victim(network, exact)
    goal = Goal(reference.logits(probe).argmax(dim=1))

    def seen(victim: Victim) -> tuple[Tensor, Tensor]:
        with repeatable(0, machine.device):  # or two passes of a random network differ by chance
            gradient, logits = victim.gradient(probe, goal, "ce")
        return gradient.flatten(1), logits

    try:
        answers = [seen(victim) for victim in (reference, Victim(network, machine))]
    except (NetworkError, RuntimeError, TypeError, ValueError) as error:
        return exact, f"the network does not run in {machine.precision} ({code.in_one_line(error)})"
    gradients, logits = zip(*answers, strict=True)
    moved = gradients[0].abs().amax(dim=1) > 0  # without a gradient there is none to compare
    if bool(moved.any()):
        alike = nn.functional.cosine_similarity(gradients[0], gradients[1])
        cosine = float(alike[moved].median())
        if cosine < _ALIGNED:
            return (
                exact,
                f"gradients in {machine.precision} point elsewhere than in fp32 (median cosine "
                f"{cosine:.2f})",
            )
    spread = (logits[0] - logits[0].mean(dim=1, keepdim=True)).norm(dim=1)
    difference = float(((logits[1] - logits[0]).norm(dim=1) / spread).nan_to_num(0.0).median())
    if difference > _ALIKE:
        return (
            exact,
            f"the network answers otherwise in {machine.precision} (its logits differ by "
            f"{100 * difference:.0f} %, median)",
        )
    return machine, ""
