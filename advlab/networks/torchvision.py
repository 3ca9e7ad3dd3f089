"""Classifiers of torchvision with the preprocessing of their weights as first layers.

A photo goes in as it is, in [0, 1] and at its own size, so that eps is in its own pixels and
gradients reach every one.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as transforms

from advlab.components import suggestion
from advlab.errors import UsageError
from advlab.input_files import is_plain
from advlab.networks.classifier import Normalize
from advlab.networks.weights import UnreadableError, check_values, read_plain

# Torchvision's own files for its DenseNets still bear the names of an older version, which its
# loader changes as it reads.
_OLD_DENSENET = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12])\.(.+)$")


class Framing(nn.Module):
    """Scale the shorter side, then cut out the middle: what torchvision does to a photo before its
    networks see it.

    Scaling is antialiased and differentiable. Torchvision rounds a scaled uint8 photo to whole grey
    levels; this does not, since rounding has no gradient, so its answers differ by what that
    rounding does.
    """

    def __init__(self, resize: int, crop: int, interpolation: InterpolationMode) -> None:
        """To a shorter side of ``resize`` pixels, of which the middle ``crop`` × ``crop`` are
        kept."""
        super().__init__()
        self.resize, self.crop, self.interpolation = resize, crop, interpolation

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) in [0, 1] to (N, 3, crop, crop) in [0, 1]."""
        scaled = transforms.resize(images, [self.resize], self.interpolation, antialias=True)
        middle: Tensor = transforms.center_crop(scaled, [self.crop, self.crop])
        # A cubic overshoots black and white; for bytes that is cut off as well.
        return middle.clamp(0, 1) if self.interpolation == InterpolationMode.BICUBIC else middle

    def seen(self, height: int, width: int) -> Tensor:
        """Which pixels of a photo of that size reach the network at all, bool (1, 1, height,
        width)."""
        photo = torch.full((1, 3, height, width), 0.5, requires_grad=True)
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(self(photo).sum(), photo)
        return gradient[:, :1] != 0


def known() -> list[str]:
    """Names of torchvision's classifiers."""
    found: list[str] = models.list_models(module=models)
    return found


def checked(name: str) -> str:
    """The name, once it is known to be one.

    Raises:
        UsageError: torchvision has no such classifier.
    """
    if name not in known():
        raise UsageError(
            f"--model torchvision:{name}: torchvision has no classifier of that "
            f"name{suggestion(name, known())}; "
            f"there are {len(known())}, such as resnet18, vgg16 and mobilenet_v3_small"
        )
    return name


def default_weights(name: str) -> Any:
    """Torchvision's entry for the network's usual weights: their ``url``, ``transforms`` and
    ``meta``."""
    return models.get_model_weights(name).DEFAULT


def read_state(file: Path) -> dict[str, Tensor]:
    """The tensors of a weights file, ``.safetensors`` or what ``torch.save`` made of a state dict.
    No code in it is run.

    Raises:
        UsageError: the file is missing, or holds something else.
    """
    if not is_plain(file):
        raise UsageError(f"--weights: no file at {file}")
    try:
        state = read_plain(file)
    except UnreadableError as error:
        raise UsageError(
            f"--weights: {file} holds no state dict that can be read without running code: {error}"
        ) from error
    for key in ("state_dict", "model"):  # what training scripts wrap it in
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if (
        not isinstance(state, dict)
        or not state
        or not all(isinstance(value, Tensor) for value in state.values())
    ):
        raise UsageError(
            f"--weights: {file} holds no state dict (names of weights, and a tensor for each)"
        )
    return {str(key).removeprefix("module."): value for key, value in state.items()}


def build(name: str, state: dict[str, Tensor], file: Path) -> nn.Sequential:
    """The network in evaluation mode: framing, normalisation, and torchvision's own module, from
    [0, 1] to logits.

    There are as many classes as its last layer has rows in ``state``.

    Args:
        file: where ``state`` is from, for the refusal.

    Raises:
        UsageError: these are the weights of another network.
    """
    if name.startswith("densenet"):
        state = {_OLD_DENSENET.sub(r"\1\2.\3", key): value for key, value in state.items()}
    last = _last_layer(name)
    refusal = f"--weights: {file} does not hold weights of torchvision's {name}"
    check_values(state, f"--weights: {file}")
    if f"{last}.weight" not in state or state[f"{last}.weight"].ndim < 2:
        raise UsageError(
            f"{refusal}: among its {len(state)} tensors ({next(iter(state))}, …) is no "
            f"{last}.weight"
        )
    try:
        body = _fresh(
            name,
            state[f"{last}.weight"].shape[0],
            auxiliary=any(key.startswith(("AuxLogits.", "aux1.")) for key in state),
        )
        body.load_state_dict(state)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(line.strip() for line in str(error).splitlines()[1:2]) or str(error)
        raise UsageError(f"{refusal}: {reason[:200]}") from error
    recipe = default_weights(name).transforms()
    framing = Framing(recipe.resize_size[0], recipe.crop_size[0], recipe.interpolation)
    return nn.Sequential(framing, Normalize(list(recipe.mean), list(recipe.std)), body).eval()


def _fresh(name: str, classes: int, auxiliary: bool) -> nn.Module:
    extra: dict[str, object] = {}
    if name in ("inception_v3", "googlenet"):  # as torchvision builds them for its own weights
        extra = {"transform_input": True, "aux_logits": auxiliary, "init_weights": False}
    if name.startswith("vit_"):
        extra = {"image_size": default_weights(name).meta["min_size"][0]}
    body: nn.Module = models.get_model(name, weights=None, num_classes=classes, **extra)
    return body


def _last_layer(name: str) -> str:
    """The layer whose rows are the classes: the last linear one or convolution, in the order that
    the network defines them."""
    try:
        with torch.device("meta"):
            network = _fresh(name, 1000, auxiliary=False)
    except NotImplementedError:  # some count their own widths with tensors
        network = _fresh(name, 1000, auxiliary=False)
    layers: list[str] = [
        part
        for part, module in network.named_modules()
        if isinstance(module, (nn.Linear, nn.Conv2d))
    ]
    return layers[-1]
