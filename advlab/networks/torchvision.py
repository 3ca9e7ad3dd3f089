"""Classifiers of torchvision, with the preprocessing of their weights.

Torchvision is imported where it is used: it takes seconds, and few commands use it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from advlab.components import suggestion
from advlab.errors import UsageError
from advlab.networks.preprocessing import Preprocessing
from advlab.networks.weights import check_values

# Torchvision's own files for its DenseNets still bear the names of an older version, which its
# loader changes as it reads.
_OLD_DENSENET = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12])\.(.+)$")


def known() -> list[str]:
    """Names of torchvision's classifiers."""
    from torchvision import models

    names: list[str] = models.list_models(module=models)
    return names


def checked(name: str) -> str:
    """The name, once it is known to be one.

    Raises:
        UsageError: torchvision has no such classifier.
    """
    if name not in known():
        raise UsageError(
            f"torchvision:{name}: torchvision has no classifier of that "
            f"name{suggestion(name, known())}; "
            f"there are {len(known())}, such as resnet18, vgg16 and mobilenet_v3_small"
        )
    return name


def default_weights(name: str) -> Any:
    """Torchvision's entry for the network's usual weights: their ``url``, ``transforms`` and
    ``meta``."""
    from torchvision import models

    return models.get_model_weights(name).DEFAULT


def preprocessing(name: str) -> Preprocessing:
    """What torchvision does to images before its own weights of that network see them."""
    recipe = default_weights(name).transforms()
    return Preprocessing(
        recipe.resize_size[0],
        recipe.crop_size[0],
        recipe.interpolation.value,
        tuple(recipe.mean),
        tuple(recipe.std),
    )


def build(name: str, state: dict[str, Tensor], file: Path) -> nn.Module:
    """Torchvision's own module in evaluation mode, from preprocessed images to logits.

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
    return body.eval()


def names_of_weights(name: str) -> list[str]:
    """The names of the weights of torchvision's own module, without heads for its training."""
    return list(_empty(name).state_dict())


def _empty(name: str) -> nn.Module:
    """Torchvision's own module, without memory for its weights where that is possible."""
    try:
        with torch.device("meta"):
            return _fresh(name, 1000, auxiliary=False)
    except NotImplementedError:  # some count their own widths with tensors
        return _fresh(name, 1000, auxiliary=False)


def fresh(name: str, classes: int) -> nn.Module:
    """Torchvision's own module with random weights, in evaluation mode."""
    return _fresh(name, classes, auxiliary=False).eval()


def _fresh(name: str, classes: int, auxiliary: bool) -> nn.Module:
    from torchvision import models

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
    layers: list[str] = [
        part
        for part, module in _empty(name).named_modules()
        if isinstance(module, (nn.Linear, nn.Conv2d))
    ]
    return layers[-1]
