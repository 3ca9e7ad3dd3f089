"""What ``--model`` may name beside a component: a checkpoint, a network of a library, or code.

Nothing is loaded here: these functions only tell by its form what a text names.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

LIBRARIES = ("torchvision:", "timm:")
"""What the name of a network of a library begins with."""

_CODE = re.compile(r"(?:[A-Za-z_][\w.]*|.+\.py):[A-Za-z_]\w*")
_FILES = (".safetensors", ".pt", ".pth")


def names_library(text: str) -> bool:
    """Whether a text names a network of torchvision or timm, such as ``torchvision:resnet18``."""
    return text.startswith(LIBRARIES)


def names_code(text: str) -> bool:
    """Whether a text names code: ``FILE.py:FUNCTION``, ``package.module:FUNCTION``, or a program
    that ``torch.export`` saved (``FILE.pt2``)."""
    return not names_library(text) and (_CODE.fullmatch(text) is not None or text.endswith(".pt2"))


def names_file(text: str) -> bool:
    """Whether a text is the place of a checkpoint or of the folder of a run."""
    separators = [separator for separator in (os.sep, os.altsep) if separator]
    return not names_library(text) and (
        text.endswith(_FILES)
        or any(separator in text for separator in separators)
        or Path(text).exists()
    )


def is_reference(text: str) -> bool:
    """Whether a text names a network in one of these ways."""
    return names_library(text) or names_code(text) or names_file(text)
