"""A classifier of torchvision: its weights and class names."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from advlab.config.options.run import PhotoOptions
from advlab.data.load_images import OFFLINE, offline
from advlab.errors import EnvironmentFailure, UsageError
from advlab.experiments.target_network import PREFIX
from advlab.networks import class_names, torchvision
from advlab.networks.checkpoint import sha256
from advlab.runs.results import NetworkRecord

_PATIENCE = 30.0  # seconds that a download may stay silent


@dataclass(frozen=True)
class Pretrained:
    """A classifier of torchvision's.

    Attributes:
        name: as torchvision calls it.
        network: framing, normalisation, body: from a photo in [0, 1] to logits.
        classes: names by number.
        weights: what the weights are called, for people.
        file: where they lie.
        sha256: hash of that file.
    """

    name: str
    network: nn.Sequential
    classes: tuple[str, ...]
    weights: str
    file: Path
    sha256: str

    @property
    def framing(self) -> torchvision.Framing:
        """What brings a photo to the network's own size."""
        first = self.network[0]
        assert isinstance(first, torchvision.Framing)
        return first

    def describe(self) -> NetworkRecord:
        """What a result says of the network."""
        return NetworkRecord(
            model=f"{PREFIX}{self.name}",
            sha256=self.sha256,
            path=str(self.file),
            source=self.weights,
        )


def load(options: PhotoOptions) -> Pretrained:
    """The network that ``--model torchvision:NAME`` names.

    Raises:
        UsageError: there is none of that name, or the files given do not fit it.
        EnvironmentFailure: its weights cannot be downloaded.
    """
    name = torchvision.checked(options.model.removeprefix(PREFIX))
    entry = torchvision.default_weights(name)
    own = options.weights is None
    file = _downloaded(name, entry.url) if options.weights is None else Path(options.weights)
    try:
        network = torchvision.build(name, torchvision.read_state(file), file)
    except UsageError as error:
        if own:  # nobody named that file
            raise EnvironmentFailure(
                f"{str(error).removeprefix('--weights: ')}; remove it, and it is downloaded again"
            ) from error
        raise
    count = _outputs(network)
    return Pretrained(
        name,
        network,
        _classes(options, count, entry),
        str(entry) if own else file.name,
        file,
        sha256(file),
    )


def _outputs(network: nn.Module) -> int:
    return [
        part.weight.shape[0]
        for part in network.modules()
        if isinstance(part, (nn.Linear, nn.Conv2d))
    ][-1]


def _classes(options: PhotoOptions, count: int, entry: Any) -> tuple[str, ...]:
    """From ``--classes``, else ImageNet's where there are as many, else numbers."""
    if options.classes is not None:
        return class_names.read(Path(options.classes), count)
    imagenet = tuple(entry.meta["categories"])
    return (
        imagenet if len(imagenet) == count else tuple(f"class {number}" for number in range(count))
    )


def _downloaded(name: str, url: str) -> Path:
    """The file of torchvision's own weights, in torch's cache; downloaded and checked against its
    hash if need be."""
    file = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if file.is_file():
        return file
    elsewhere = f"'--weights FILE' takes them from a file ({file.name}, from {url})"
    if offline():
        raise EnvironmentFailure(
            f"the weights of {PREFIX}{name} are not in {file.parent} and {OFFLINE} is set; "
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
            f"the weights of {PREFIX}{name} are not in {file.parent} and cannot be downloaded "
            f"({error}); {elsewhere}"
        ) from error
    finally:
        socket.setdefaulttimeout(patience)
    return file
