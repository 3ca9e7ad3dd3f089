"""Detectors of adversarial images: what they are made from, their scores, and their threshold."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from advlab.data.image_set import Images
from advlab.perturbation.randomness import repeatable
from advlab.runs.machine import derive
from advlab.training.evaluate import EVALUATION_BATCH

_SCORING = 61  # the seed of what a random network draws when images are scored


@dataclass(frozen=True)
class DetectorEvidence:
    """What a detector is made from.

    Attributes:
        network: the network that it guards, from images (N, C, H, W) in [0, 1] to logits (N,
            classes): in evaluation mode, on ``device``, and a copy that the detector may change.
        name: what a refusal calls the network.
        train: clean training images with their labels.
        device: where images are given to the network.
    """

    network: nn.Module
    name: str
    train: Images
    device: torch.device


class Detector(nn.Module):
    """A network with a detector of adversarial images: from images to logits and scores.

    Gradients with respect to the images flow through both. Where the true gradient of a score is
    zero almost everywhere, the detector passes one backwards that leads on (BPDA).
    """

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, classes) and scores (N,), as ``precise`` gives them, of images (N, C, H, W) in
        [0, 1].

        A higher score is more suspicious.
        """
        raise NotImplementedError

    def settings(self) -> dict[str, object]:
        """What it was made of, for the result."""
        raise NotImplementedError


def precise(values: Tensor) -> Tensor:
    """The values in float64, on Apple's GPUs in float32, which have no other."""
    return values.float() if values.device.type == "mps" else values.double()


@torch.no_grad()
def scored(detector: Detector, images: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """Logits (N, classes) and scores, float64 (N,), on the CPU.

    They are computed in fixed batches, which give the same bits each time.
    """
    every = []
    for start in range(0, len(images), EVALUATION_BATCH):
        with repeatable(derive(_SCORING, start), device):
            every.append(detector(images[start : start + EVALUATION_BATCH].to(device)))
    logits, scores = zip(*every, strict=True)
    return torch.cat(logits).cpu(), torch.cat(scores).cpu().double()


def threshold_of(scores: Tensor, false_alarms: float) -> float:
    """The smallest of the scores above which at most this fraction of them lies.

    Images with a higher score are taken for adversarial.

    Args:
        scores: of clean images that the detector was not made from, (N,).
        false_alarms: fraction in (0, 1); at least one of the images.

    Raises:
        ValueError: there are so few images that none may raise an alarm.
    """
    allowed = math.floor(false_alarms * len(scores) + 1e-9)
    if allowed < 1:
        raise ValueError(f"{len(scores)} images have no {false_alarms:g} of them")
    return float(scores.double().sort(descending=True).values[allowed])
