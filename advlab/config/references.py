"""What ``--model`` may name beside a component: a checkpoint, a network of a library, code, or an
ensemble.

Nothing is loaded here: these functions only tell by its form what a text names.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from advlab.config.robustbench import PREFIX

LIBRARIES = ("torchvision:", "timm:", PREFIX)
"""What the name of a network of a library begins with."""

ENSEMBLE = "ensemble:"
"""What the name of several networks that are judged as one begins with."""

_CODE = re.compile(r"(?:[A-Za-z_][\w.]*|.+\.py):[A-Za-z_]\w*")
_FILES = (".safetensors", ".pt", ".pth")
_LONGEST_HEAD = 100_000_000  # bytes, as the format allows


def names_library(text: str) -> bool:
    """Whether a text names a network of torchvision, timm or RobustBench, such as
    ``torchvision:resnet18``."""
    return text.startswith(LIBRARIES)


def names_ensemble(text: str) -> bool:
    """Whether a text names several trained networks as one, such as
    ``ensemble:samples/train/a,samples/train/b``."""
    return text.startswith(ENSEMBLE)


def members_of(ensemble: str) -> list[str]:
    """The places of the networks that the name of an ensemble lists, in its order."""
    return [place.strip() for place in ensemble.removeprefix(ENSEMBLE).split(",") if place.strip()]


def names_code(text: str) -> bool:
    """Whether a text names code: ``FILE.py:FUNCTION``, ``package.module:FUNCTION``, or a program
    that ``torch.export`` saved (``FILE.pt2``)."""
    elsewhere = names_library(text) or names_ensemble(text)
    return not elsewhere and (_CODE.fullmatch(text) is not None or text.endswith(".pt2"))


def names_file(text: str) -> bool:
    """Whether a text is the place of a checkpoint or of the folder of a run."""
    separators = [separator for separator in (os.sep, os.altsep) if separator]
    return not (names_library(text) or names_ensemble(text)) and (
        text.endswith(_FILES)
        or any(separator in text for separator in separators)
        or Path(text).exists()
    )


def checkpoint_model(text: str) -> tuple[str, dict[str, object]] | None:
    """The network and the architecture of the classifier of images at ``text``, a checkpoint or the
    folder of a run; None where there is none."""
    metadata = _metadata(text)
    model, architecture = metadata.get("model"), metadata.get("architecture")
    return (model, architecture) if isinstance(architecture, dict) and model is not None else None


def checkpoint_data(text: str) -> dict[str, object]:
    """The options of the data that the classifier of images at ``text`` was trained on, the name
    among them; empty where there is no such checkpoint."""
    metadata = _metadata(text)
    dataset, others = metadata.get("dataset"), metadata.get("data")
    if not isinstance(dataset, str) or not isinstance(others, dict):
        return {}
    return {"dataset": dataset, **{key: one for key, one in others.items() if one is not None}}


def _metadata(text: str) -> dict[str, Any]:
    """The metadata of a checkpoint of a classifier of images, unchecked; empty where there is none.

    Only the head of the file is read: a length, then a JSON object with the metadata.
    """
    path = Path(text)
    file = path / "model.safetensors" if path.is_dir() else path
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            head = json.loads(opened.read(length) if length < _LONGEST_HEAD else b"")
        metadata = json.loads(head["__metadata__"]["advlab"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    return metadata if isinstance(metadata, dict) else {}


def dataset_title(name: str) -> str:
    """What figures call a data set: ``csv:tweets.csv`` for ``csv:/home/me/tweets.csv``; the same
    name where it holds no path."""
    kind, _, place = name.partition(":")
    if not place or kind in ("hf", "torchvision"):
        return name
    return f"{kind}:{Path(place).name or place}"


def is_reference(text: str) -> bool:
    """Whether a text names a single network: of a library, code or a checkpoint."""
    return names_library(text) or names_code(text) or names_file(text)


def is_target(text: str) -> bool:
    """Whether a text names a finished network, which may be an ensemble."""
    return is_reference(text) or names_ensemble(text)
