"""Perturbation of images so that their labels, though true, are hard to learn from their content.

Turner, Tsipras & Madry 2019, arXiv:1912.02771: what the images show no longer gives the class away,
so that the network learns it from the trigger. The paper's other way, interpolation in the latent
space of a generative adversarial network, is not offered.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from advlab.data.image_set import Images
from advlab.perturbation.goal import Goal
from advlab.perturbation.victim import Victim
from advlab.robust_training.inner_attack import climb
from advlab.runs.machine import Machine

_STEPS = 40
_BEYOND = 2.5  # all steps together reach so many radii, so that the border can be followed
_AT_A_TIME = 250


def hard_to_classify(network: nn.Module, images: Images, eps: float, machine: Machine) -> Tensor:
    """The images within an L∞ ball after PGD away from their labels, uint8 (N, C, H, W).

    PGD starts at the images and takes 40 steps of 2.5 eps / 40.

    Args:
        network: trained on clean images, in evaluation mode, on the machine's device.
        eps: radius in units of pixels. Rounding to 8 bits can add half a grey level.
    """
    victim = Victim(network, Machine(machine.device, "fp32"))
    parts = []
    for rows in torch.arange(len(images)).split(_AT_A_TIME):
        clean = images.inputs(rows, machine.device)
        goal = Goal(images.labels[rows].to(machine.device))
        moved = climb(victim, clean, clean, goal, "linf", eps, _STEPS, _BEYOND * eps / _STEPS)
        parts.append(moved.mul(255).round().to(torch.uint8).cpu())
    return torch.cat(parts)
