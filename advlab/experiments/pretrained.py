"""Networks of torchvision, timm and RobustBench: weights, class names and preprocessing."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from advlab.config.robustbench import PREFIX, entry_of
from advlab.data import catalogue
from advlab.data.load_images import OFFLINE, offline
from advlab.errors import EnvironmentFailure, UsageError
from advlab.networks import robustbench, timm, torchvision
from advlab.networks.checkpoint import sha256, sha256_of
from advlab.networks.class_names import ClassNames
from advlab.networks.preprocessing import Preprocessing
from advlab.networks.weights import read_state
from advlab.runs.results import NetworkRecord

_PATIENCE = 30.0  # seconds that a download may stay silent
_TORCHVISION, _TIMM = "torchvision:", "timm:"


@dataclass(frozen=True)
class Pretrained:
    """A network of a library.

    Attributes:
        network: from preprocessed images to logits, in evaluation mode.
        classes: names of its classes; None where they are unknown.
        preprocessing: what the library does to images before it.
        record: what a result says of it.
    """

    network: nn.Module
    classes: ClassNames | None
    preprocessing: Preprocessing
    record: NetworkRecord


def load(text: str, weights: str | None = None) -> Pretrained:
    """The network that ``torchvision:NAME``, ``timm:NAME`` or ``robustbench:NAME`` names, with the
    weights of a file, else the library's own.

    Raises:
        UsageError: there is none of that name, or the file given does not fit it.
        EnvironmentFailure: its weights cannot be downloaded, or the library is not
            installed.
    """
    if text.startswith(_TIMM):
        return _of_timm(text, weights)
    if text.startswith(PREFIX):
        return _of_robustbench(text, weights)
    return _of_torchvision(text, weights)


def _of_torchvision(text: str, weights: str | None) -> Pretrained:
    name = torchvision.checked(text.removeprefix(_TORCHVISION))
    entry = torchvision.default_weights(name)
    file = _downloaded(name, entry.url) if weights is None else Path(weights)
    try:
        names = None if weights is None else partial(torchvision.names_of_weights, name)
        network = torchvision.build(name, read_state(file, names), file)
    except UsageError as error:
        if weights is None:  # nobody named that file
            raise EnvironmentFailure(
                f"{str(error).removeprefix('--weights: ')}; remove it, and it is downloaded again"
            ) from error
        raise
    record = NetworkRecord(
        model=text,
        sha256=sha256(file),
        path=str(file),
        source=str(entry) if weights is None else file.name,
    )
    imagenet = tuple(entry.meta["categories"])
    classes = ClassNames(imagenet) if _outputs(network) == len(imagenet) else None
    return Pretrained(network, classes, torchvision.preprocessing(name), record)


def _of_timm(text: str, weights: str | None) -> Pretrained:
    name = text.removeprefix(_TIMM)
    if weights is not None:
        file = Path(weights)
        state = read_state(file, partial(timm.names_of_weights, name))
        network = timm.build(name, state, file)
        record = NetworkRecord(model=text, sha256=sha256(file), path=str(file), source=file.name)
    else:
        timm.check_known(name)
        if offline():
            raise EnvironmentFailure(
                f"{OFFLINE} is set, and the weights of {text} are downloaded by timm; '--weights "
                "FILE' takes them from a file"
            )
        network = timm.downloaded(name)
        record = NetworkRecord(model=text, sha256=sha256_of(network), source=f"{text}, pretrained")
    classes = timm.class_names(network, _outputs(network))
    return Pretrained(network, classes, timm.preprocessing(network), record)


def _of_robustbench(text: str, weights: str | None) -> Pretrained:
    entry = entry_of(text)
    if weights is not None:
        network, source = robustbench.build(entry, Path(weights)), Path(weights).name
    else:
        if offline() and not robustbench.is_kept(entry):
            raise EnvironmentFailure(
                f"{OFFLINE} is set, and the weights of {text} are not in "
                f"{robustbench.folder()}{robustbench.elsewhere(entry)}"
            )
        network, source = robustbench.downloaded(entry), f"{text}, pretrained"
    record = NetworkRecord(model=text, sha256=sha256_of(network), path=weights, source=source)
    classes = {"cifar10": _cifar10, "imagenet": _imagenet}.get(entry.dataset, lambda: None)()
    return Pretrained(network, classes, robustbench.preprocessing(entry), record)


def _cifar10() -> ClassNames:
    return ClassNames(tuple(catalogue.dataset_module("cifar10").INFO.classes))


def _imagenet() -> ClassNames:
    return ClassNames(tuple(torchvision.default_weights("resnet50").meta["categories"]))


def _outputs(network: nn.Module) -> int:
    """How many classes a network tells apart: the width of its last linear layer or convolution."""
    return [
        part.weight.shape[0]
        for part in network.modules()
        if isinstance(part, (nn.Linear, nn.Conv2d))
    ][-1]


def _downloaded(name: str, url: str) -> Path:
    """The file of torchvision's own weights, in torch's cache; downloaded and checked against its
    hash if need be."""
    file = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if file.is_file():
        return file
    elsewhere = f"'--weights FILE' takes them from a file ({file.name}, from {url})"
    if offline():
        raise EnvironmentFailure(
            f"the weights of torchvision:{name} are not in {file.parent} and {OFFLINE} is set; "
            f"{elsewhere}"
        )
    stamp = re.search(r"-([0-9a-f]{8,})\.", file.name)
    patience = socket.getdefaulttimeout()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        socket.setdefaulttimeout(_PATIENCE)
        torch.hub.download_url_to_file(url, str(file), stamp[1] if stamp else None)
    except (OSError, RuntimeError) as error:  # URLError is an OSError; a wrong hash a RuntimeError
        raise EnvironmentFailure(
            f"the weights of torchvision:{name} are not in {file.parent} and cannot be downloaded "
            f"({error}); {elsewhere}"
        ) from error
    finally:
        socket.setdefaulttimeout(patience)
    return file
