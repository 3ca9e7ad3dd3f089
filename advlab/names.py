"""Names that users type: what exists, what was probably meant. A name in a config is a file name."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Iterable
from types import ModuleType

from advlab.errors import UserError


def modules_in(package: str) -> list[str]:
    """Names of the public modules of a package, sorted: its files that do not start with an underscore.

    Nothing is imported but the package itself, so this is safe on the way to a help text.
    """
    path = importlib.import_module(package).__path__
    return sorted(module.name for module in pkgutil.iter_modules(path) if not module.name.startswith("_"))


def load(package: str, name: str, kind: str) -> ModuleType:
    """Import ``package.name``.

    Args:
        kind: what to call the thing in the refusal ("model", "attack", "data set").

    Raises:
        UserError: there is no such module; the line suggests the nearest name and lists all.
    """
    known = modules_in(package)
    if name not in known:
        raise UserError(f"unknown {kind} {name!r}{suggestion(name, known)}; there are: {', '.join(known)}")
    return importlib.import_module(f"{package}.{name}")


def suggestion(typed: str, known: Iterable[str]) -> str:
    """``" (did you mean 'cnn'?)"`` where something in ``known`` is close to ``typed``, else an empty string."""
    normal = {name.lower().replace("-", "_"): name for name in known}
    close = difflib.get_close_matches(typed.lower().replace("-", "_"), normal, n=1, cutoff=0.6)
    return f" (did you mean {normal[close[0]]!r}?)" if close else ""
