"""What figures call a network."""

from __future__ import annotations

from pathlib import Path

from advlab.config.references import names_code
from advlab.networks.metadata import IMAGE_CLASSIFIER
from advlab.runs.results import NetworkRecord


def title_of(network: NetworkRecord) -> str:
    """What figures call a network: ``my.py:make`` for the user's own code, ``robust (cnn)`` for the
    network of a run, ``torchvision:resnet18`` for one of a library."""
    if network.source is not None and names_code(network.source):
        return Path(network.source).name
    if network.path is None:
        return network.model
    file = Path(network.path)
    name = file.parent.name if file.name == IMAGE_CLASSIFIER.file else file.stem
    # The name that a run gets by default begins with the network's component.
    return name if name.startswith(f"{network.model}-") else f"{name} ({network.model})"
