"""Classifiers of timm, with the preprocessing of their weights.

timm is not part of the installation: ``pip install 'advlab[timm]'``. Nothing here imports it before
one of its networks is named.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from advlab.components import optional, suggestion
from advlab.errors import EnvironmentFailure, UsageError
from advlab.networks.class_names import ClassNames
from advlab.networks.preprocessing import Preprocessing
from advlab.networks.weights import check_values
from advlab.progress import quiet

_HUB = "hf-hub:"  # a repository of the Hugging Face Hub that holds a configuration of timm


_TIMM = partial(optional, what="timm:NAME", extra="timm")


def downloaded(name: str) -> nn.Module:
    """The network with its own weights, which timm downloads once and keeps.

    Raises:
        UsageError: timm has no such network, or no weights of it.
        EnvironmentFailure: they cannot be downloaded.
    """
    timm = check_known(name)
    try:
        with quiet("huggingface_hub"):
            network: nn.Module = timm.create_model(name, pretrained=True)
    except RuntimeError as error:  # "No pretrained weights exist", or "Unknown model" of a tag
        raise UsageError(f"timm:{name}: {error}") from error
    except Exception as error:  # the hub's own errors derive from several bases
        text = " ".join(str(error).split())[:200]
        raise EnvironmentFailure(
            f"the weights of timm:{name} cannot be downloaded ({type(error).__name__}: {text}); "
            "'--weights FILE' takes them from a file"
        ) from error
    return network.eval()


def build(name: str, state: Mapping[str, Tensor], file: Path) -> nn.Module:
    """The network with the weights of a state dict, in evaluation mode.

    There are as many classes as the last layer has rows in ``state``. Names must match, since two
    networks of timm may differ in nothing but names and preprocessing, and the weights of one then
    give wrong logits in the other.

    Args:
        file: where ``state`` is from, for the refusal.

    Raises:
        UsageError: timm has no such network, or these are the weights of another one.
    """
    timm, empty = check_known(name), _empty(name)
    refusal = f"--weights: {file} does not hold weights of timm's {name}"
    check_values(state, f"--weights: {file}")
    classifier = empty.pretrained_cfg.get("classifier")
    heads = [classifier] if isinstance(classifier, str) else list(classifier or [])
    missing = [key for key in empty.state_dict() if key not in state]
    if missing:
        raise UsageError(
            f"{refusal}: {len(missing)} of its {len(empty.state_dict())} tensors are missing, "
            f"{missing[0]} first; the file holds {next(iter(state))}, …"
        )
    rows = [state[f"{head}.weight"].shape[0] for head in heads if f"{head}.weight" in state]
    arguments = {"num_classes": rows[0]} if rows else {}
    with _unknown_as_usage_error(name):
        network: nn.Module = timm.create_model(name, pretrained=False, **arguments)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(line.strip() for line in str(error).splitlines()[1:2]) or str(error)
        raise UsageError(f"{refusal}: {reason[:200]}") from error
    return network.eval()


def names_of_weights(name: str) -> list[str]:
    """The names of the network's weights.

    Raises:
        UsageError: timm has no such network.
    """
    return list(_empty(name).state_dict())


def _empty(name: str) -> Any:
    """The network without memory for its weights, with timm's own attributes."""
    timm = check_known(name)
    with torch.device("meta"), _unknown_as_usage_error(name):
        return timm.create_model(name, pretrained=False)


def fresh(name: str, classes: int | None) -> nn.Module:
    """The network with random weights, in evaluation mode, for that many classes; None for as many
    as timm's own weights tell apart.

    Raises:
        UsageError: timm has no such network.
        EnvironmentFailure: timm is not installed.
    """
    timm = check_known(name)
    arguments = {} if classes is None else {"num_classes": classes}
    with _unknown_as_usage_error(name):
        network: nn.Module = timm.create_model(name, pretrained=False, **arguments)
    return network.eval()


def preprocessing(network: nn.Module) -> Preprocessing:
    """What timm does to images before the weights that it has for the network see them."""
    config: dict[str, Any] = _TIMM("timm.data").resolve_data_config({}, model=network)
    side = int(min(config["input_size"][1:]))
    return Preprocessing(
        int(side / config["crop_pct"]),
        side,
        str(config["interpolation"]),
        tuple(config["mean"]),
        tuple(config["std"]),
    )


def class_names(network: nn.Module, count: int) -> ClassNames | None:
    """ImageNet's class names and synsets where the network tells as many classes apart as a known
    part of ImageNet has; None elsewhere."""
    data = _TIMM("timm.data")
    subset = data.infer_imagenet_subset(network)
    if not subset:
        return None
    known = data.ImageNetInfo(subset)
    if known.num_classes() != count:
        return None
    numbers = range(count)
    return ClassNames(
        tuple(known.index_to_description(number).split(",")[0] for number in numbers),
        tuple(known.index_to_label_name(number) for number in numbers),
    )


def check_known(name: str) -> ModuleType:
    """timm, once the name is known to be one of its networks or of the hub.

    Raises:
        UsageError: there is no such network.
        EnvironmentFailure: timm is not installed.
    """
    timm = _TIMM("timm")
    if name.startswith(_HUB):
        return timm
    known: list[str] = timm.list_models()
    base = name.split(".")[0]
    if base not in known:
        raise UsageError(
            f"timm:{name}: timm {timm.__version__} has no network of that "
            f"name{suggestion(base, known)}; there are {len(known):,}, such as resnet18 and "
            "vit_tiny_patch16_224"
        )
    return timm


@contextlib.contextmanager
def _unknown_as_usage_error(name: str) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise UsageError(f"timm:{name}: {' '.join(str(error).split())[:200]}") from error
