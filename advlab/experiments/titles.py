"""What figures call a network."""

from __future__ import annotations

from pathlib import Path

from advlab.components import listed
from advlab.config.references import members_of, names_code, names_ensemble
from advlab.networks.metadata import IMAGE_CLASSIFIER
from advlab.runs.results import NetworkRecord


def title_of(network: NetworkRecord) -> str:
    """What figures call a network: ``my.py:make`` for the user's own code, ``robust (cnn)`` for the
    network of a run, ``torchvision:resnet18`` for one of a library, ``ensemble of a and b`` for
    several runs."""
    if network.source is not None and names_ensemble(network.source):
        return ensemble_title(network.source)
    if network.source is not None and names_code(network.source):
        return Path(network.source).name
    if network.path is None:
        return network.model
    file = Path(network.path)
    name = file.parent.name if file.name == IMAGE_CLASSIFIER.file else file.stem
    # The name that a run gets by default begins with the network's component.
    is_told = name == network.model or name.startswith(f"{network.model}-")
    return name if is_told else f"{name} ({network.model})"


def ensemble_title(name: str) -> str:
    """What figures call the ensemble of this name: the runs' folders, or the files' own names."""
    places = [Path(place) for place in members_of(name)]
    names = [
        place.parent.name
        if place.name == IMAGE_CLASSIFIER.file
        else place.stem
        if place.suffix == ".safetensors"
        else place.name
        for place in places
    ]
    return f"ensemble of {listed(names)}"
