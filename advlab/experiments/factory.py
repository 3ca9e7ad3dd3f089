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
from advlab.networks.adapter import Adapter, set_evaluation_mode, unwrapped


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
    set_evaluation_mode(network)
    _try(network, data, device, where)
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


def _try(network: nn.Module, data: ImageSet, device: torch.device, where: str) -> None:
    """Refuse a network that cannot take the images, that takes batches of one size only, or that
    returns something else than logits of their classes."""
    shape = tuple(data.shape)
    adapter = Adapter(unwrapped(network).to(device))
    for count in (2, 1):
        images = data.test.inputs(slice(0, count), device)
        try:
            with torch.no_grad():
                logits = adapter(images)
        except Exception as error:
            one_size = "batches of 2, but not of 1" if count == 1 else f"images of {shape}"
            raise UsageError(
                f"{where}: its network cannot take {one_size} on {device.type}: {_told(error)}"
            ) from error
    if logits.shape[1] != len(data.classes):
        raise UsageError(
            f"{where}: its network tells {logits.shape[1]} classes apart, and {data.name} has "
            f"{len(data.classes)}"
        )


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
