"""RobustBench's zoo in tests: the copy of it that torchattacks carries."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from advlab.config.robustbench import entry_of
from advlab.networks import robustbench


def zoo_of(text: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The networks of the data set and threat model that a name names.

    RobustBench imports ``pkg_resources``, which newer versions of setuptools have no more.
    """
    resources = ModuleType("pkg_resources")
    resources.resource_filename = lambda *place: ""  # type: ignore[attr-defined]
    resources.fixup_namespace_packages = lambda *place: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pkg_resources", resources)
    return robustbench._zoo(entry_of(text))
