"""Networks by name: a file of ``advlab/models``, or one that stands elsewhere."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Protocol

from advlab.components import load_component
from advlab.config import base
from advlab.config.options import referenced
from advlab.config.references import names_code, names_library

PACKAGE = "advlab.models"


class ModelModule(Protocol):
    """What a file of ``advlab/models`` holds. ``TAKES`` is ``"texts"`` in those that read texts."""

    @property
    def Options(self) -> type[base.Options]:
        """The network's options and those of its training."""
        ...

    @property
    def Architecture(self) -> type[base.Options]:
        """What the network is made of."""
        ...

    def build(self, architecture: Any, shape: Any, classes: int, /) -> Any:
        """The network with fresh weights."""
        ...


@dataclass(frozen=True)
class Referenced:
    """What stands for such a file where a network is named by a reference.

    Attributes:
        name: ``torchvision:NAME``, ``timm:NAME``, or the user's own code.
    """

    name: str

    @property
    def Options(self) -> type[base.Options]:
        """Options of the training."""
        return referenced.Options

    @property
    def Architecture(self) -> type[base.Options]:
        """How images are prepared for it."""
        return referenced.Architecture

    def build(self, architecture: Any, shape: Any, classes: int, /) -> Any:
        """The network with fresh weights, or those that the user's code gives it."""
        # By its name, since a command line is parsed before torch is imported.
        networks = importlib.import_module("advlab.networks.referenced")
        return networks.build(self.name, architecture, shape, classes)


def is_referenced(name: object) -> bool:
    """Whether a network is named by a reference to a library or to code."""
    return isinstance(name, str) and (names_library(name) or names_code(name))


def model_module(name: str) -> ModelModule:
    """The module of a network.

    Raises:
        UsageError: there is no network of that name.
    """
    if is_referenced(name):
        return Referenced(name)
    return load_component(PACKAGE, name, "model")
