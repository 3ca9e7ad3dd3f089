"""Synthetic photos and a torchvision network that has learned to tell them apart, for the tests of
photos and of looking."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torchvision import models

from advlab.networks import torchvision as networks_torchvision

NETWORK = "shufflenet_v2_x0_5"
"""One of torchvision's cheapest."""

CLASSES = ("red house", "green field", "blue sea", "grey road")
_TINTS = ((0.8, 0.25, 0.2), (0.25, 0.7, 0.25), (0.2, 0.3, 0.8), (0.5, 0.5, 0.5))


def pixels(kind: int, seed: int, height: int = 72, width: int = 96) -> NDArray[np.uint8]:
    """A photo of a class, (height, width, 3): its tint, coarse and fine structure."""
    random = np.random.default_rng([kind, seed])
    coarse = np.kron(
        random.normal(size=(-(-height // 12), -(-width // 12), 1)), np.ones((12, 12, 1))
    )[:height, :width]
    picture = np.array(_TINTS[kind]) + 0.08 * coarse + 0.03 * random.normal(size=(height, width, 3))
    return np.asarray((picture.clip(0, 1) * 255).round(), dtype=np.uint8)


def write(path: Path, kind: int = 0, seed: int = 100) -> Path:
    """One such photo as a file of the format that its ending says."""
    Image.fromarray(pixels(kind, seed)).save(path)
    return path


def fitted(path: Path, name: str = NETWORK, side: int | None = None) -> Path:
    """A state dict of the network: random features (seed 0), and a last layer fitted to 20 photos,
    which it sees as torchvision does, or at ``side`` × ``side`` pixels."""
    torch.manual_seed(0)
    body = models.get_model(name, weights=None, num_classes=len(CLASSES)).eval()
    recipe = networks_torchvision.default_weights(name).transforms()
    if side is not None:
        recipe.resize_size = recipe.crop_size = [side]
    kinds = [(kind, seed) for kind in range(len(CLASSES)) for seed in range(5)]
    photos = torch.stack(
        [recipe(torch.from_numpy(pixels(kind, seed)).permute(2, 0, 1)) for kind, seed in kinds]
    )
    wanted = 4 * nn.functional.one_hot(torch.tensor([kind for kind, _ in kinds])).double()
    head, body.fc = body.fc, nn.Identity()
    with torch.no_grad():
        features = body(photos).double()
        centred = features - features.mean(0)
        # Ridge regression in its dual form: as many unknowns as photos, not as features.
        kernel = centred @ centred.T
        kernel += 0.05 * kernel.diagonal().mean() * torch.eye(len(kernel))
        weight = torch.linalg.solve(kernel, wanted - wanted.mean(0)).T @ centred
        head.weight.copy_(weight)
        head.bias.copy_(wanted.mean(0) - weight @ features.mean(0))
    body.fc = head
    torch.save(body.state_dict(), path)
    return path
