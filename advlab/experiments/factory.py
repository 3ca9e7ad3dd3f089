"""A user's own network, from ``package.module:function``."""

from __future__ import annotations

import hashlib
import importlib
import sys
from pathlib import Path

import torch
from torch import nn

from advlab.data.image_set import ImageSet
from advlab.errors import UsageError


def made_by(place: str, data: ImageSet, device: torch.device) -> nn.Module:
    """Import the module, call the function without arguments, and check that what it returns can be
    evaluated.

    The module is looked for in the working directory too. The network takes images (N, C, H, W) in
    [0, 1], whatever it does to them inside, and returns logits (N, classes). It is put into
    evaluation mode here, and tried on two images on ``device``.

    Raises:
        UsageError: there is no such module or function, it raises, or what it returns is no such
            network.
    """
    name, _, attribute = place.partition(":")
    where = f"--factory {place}"
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{where}: no module named {error.name!r} here or among the installed packages"
        ) from error
    except Exception as error:
        raise UsageError(f"{where}: importing {name} raises {_told(error)}") from error
    function = getattr(module, attribute, None)
    if not callable(function):
        raise UsageError(f"{where}: {name} has no function {attribute!r}")
    try:
        network = function()
    except Exception as error:
        raise UsageError(f"{where}: calling it raises {_told(error)}") from error
    if not isinstance(network, nn.Module):
        raise UsageError(f"{where}: must return a torch.nn.Module, not {type(network).__name__}")
    network.eval()
    try:
        with torch.no_grad():
            logits = network.to(device)(data.test.inputs(slice(0, 2), device))
    except Exception as error:
        raise UsageError(
            f"{where}: its network cannot take images of {tuple(data.shape)} on {device.type}: "
            f"{_told(error)}"
        ) from error
    if (
        not isinstance(logits, torch.Tensor)
        or logits.dim() != 2
        or logits.shape != (2, len(data.classes))
    ):
        got = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise UsageError(
            f"{where}: its network must return logits of shape (N, {len(data.classes)}) for "
            f"{data.name}, not {got} for N = 2"
        )
    return network


def code_hash(network: nn.Module) -> str:
    """Hash of what a network computes beside its weights: its structure, and the source files of
    its classes.

    Parts of torch and torchvision are known by their versions and left out.
    """
    digest = hashlib.sha256(repr(network).encode())
    kinds = {type(module) for module in network.modules()}
    files = {
        file
        for kind in kinds
        if kind.__module__.partition(".")[0] not in ("torch", "torchvision")
        and (file := getattr(sys.modules.get(kind.__module__), "__file__", None)) is not None
    }
    for file in sorted(files):
        digest.update(Path(file).read_bytes())
    return digest.hexdigest()


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
