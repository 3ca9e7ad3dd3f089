"""The hash of what a network computes beside its weights, which makes two runs the same or not."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.machinery import ModuleSpec
from pathlib import Path, PurePath
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_VERSIONED = frozenset({"torch", "torchvision", "timm", "advlab", "numpy"})
"""Packages whose parts are known by their version, and whose source files are left out."""

_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
_OF_EVERY_MODULE = frozenset(vars(nn.Module()))
"""Attributes in which torch keeps parameters, parts and its own state."""
_DEEPEST = 6  # values within values of an attribute that are looked at


def code_hash(network: nn.Module) -> str:
    """Hash of what a network computes beside the weights and buffers of its state dict.

    It covers the structure, every module's attributes and the buffers that are not saved; hooks and
    functions that replace ``forward``, with what they close over; and the source files of all
    classes and functions found in this way, with those that they import, as far as these are the
    user's. It does not cover what a file of data, the environment or the clock tells the code while
    it computes.
    """
    digest = _Digest()
    digest.text(repr(network))
    digest.network(network)
    for content in sorted(file.read_bytes() for file in _sources(digest.modules)):
        digest.hash.update(hashlib.sha256(content).digest())
    return digest.hash.hexdigest()


class _Digest:
    """A hash of values, and the names of the modules whose classes and functions were met."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        self.modules: set[str] = set()
        self._open: set[int] = set()  # what is being looked at, which may hold itself

    def text(self, text: str) -> None:
        self.hash.update(text.encode())
        self.hash.update(b"\0")

    def network(self, network: nn.Module) -> None:
        """Everything of a network but the parameters and buffers that its state dict holds."""
        saved = set(network.state_dict())
        for name, buffer in network.named_buffers():
            if name not in saved:
                self.text(name)
                self.value(buffer)
        for name, module in network.named_modules():
            self.text(name)
            self._met(type(module))
            if isinstance(module, torch.fx.GraphModule):  # its code is generated, in no file
                self.text(module.code)
                continue
            self._attributes(module)

    def _attributes(self, module: nn.Module) -> None:
        own = _package(type(module)) not in _VERSIONED
        for name, value in sorted(vars(module).items()):
            if name in _HOOKS:
                for hook in value.values():
                    self.value(hook)
            elif name not in _OF_EVERY_MODULE and (own or not name.startswith("_")):
                self.text(name)
                self.value(value)

    def value(self, value: Any, depth: int = 0) -> None:
        """A value of an attribute, a closure or a default."""
        if depth > _DEEPEST or id(value) in self._open:
            return
        self._open.add(id(value))
        try:
            self._value(value, depth + 1)
        finally:
            self._open.discard(id(value))

    def _value(self, value: Any, depth: int) -> None:
        inner: Callable[[Any], None] = functools.partial(self.value, depth=depth)
        if value is None or isinstance(value, (bool, int, float, complex, bytes)):
            self.text(f"{type(value).__name__} {value!r}")
        elif isinstance(value, str):
            # Where the code lies is no part of what it computes.
            self.text("path" if Path(value).is_absolute() else value)
        elif isinstance(value, np.ndarray):
            self.text(f"{value.dtype} {value.shape}")
            self.hash.update(value.tobytes())
        elif isinstance(value, Tensor):
            self.text(f"{value.dtype} {tuple(value.shape)}")
            dense = value.detach().cpu().to_dense() if value.is_sparse else value.detach().cpu()
            self.hash.update(dense.contiguous().reshape(-1).view(torch.uint8).numpy().data)
        elif isinstance(value, nn.Module):
            self._module(value)
        elif isinstance(value, Mapping):
            for key in sorted(value, key=repr):
                inner(key)
                inner(value[key])
        elif isinstance(value, (list, tuple)):
            self.text(f"{type(value).__name__} {len(value)}")
            for item in value:
                inner(item)
        elif isinstance(value, (set, frozenset)):
            for item in sorted(value, key=repr):
                inner(item)
        elif isinstance(value, functools.partial):
            inner(value.func)
            inner(value.args)
            inner(value.keywords)
        elif isinstance(value, MethodType):
            inner(value.__func__)
            inner(value.__self__)
        elif isinstance(value, FunctionType):
            self._function(value, inner)
        else:
            self._object(value, inner)

    def _module(self, module: nn.Module) -> None:
        """A network that is no part of the one that is hashed, such as one in a closure; a part is
        hashed in its own place, and would be met again and again from there."""
        self.text(repr(module))
        for name, tensor in module.state_dict().items():
            self.text(name)
            self.value(tensor, _DEEPEST)
        self._met(type(module))

    def _function(self, function: FunctionType, inner: Callable[[Any], None]) -> None:
        code = function.__code__
        self.text(_name(function, function))
        self._met(function)
        if _package(function) not in _VERSIONED:
            # Two functions of one name in one file, such as lambdas.
            self.hash.update(code.co_code)
            inner([constant for constant in code.co_consts if not hasattr(constant, "co_code")])
            inner(list(code.co_names))
        for cell in function.__closure__ or ():
            inner(cell.cell_contents)
        inner(function.__defaults__)
        inner(function.__kwdefaults__)

    def _object(self, value: Any, inner: Callable[[Any], None]) -> None:
        kind = value if isinstance(value, type) else type(value)
        self.text(_name(kind, value))
        self._met(kind)
        if isinstance(value, (type, ModuleType)):
            return
        if _package(kind) not in _VERSIONED:
            inner(getattr(value, "__dict__", None))
            slots = getattr(kind, "__slots__", ())
            names = [slots] if isinstance(slots, str) else slots
            inner([getattr(value, name, None) for name in names])
        # Of what has no attributes, such as a dtype, a NumPy number or a fraction, the words are
        # the value; those of an object without words of its own are its address.
        if not hasattr(value, "__dict__") and not isinstance(value, PurePath):
            words = repr(value)
            self.text("" if " at 0x" in words else words)

    def _met(self, thing: Any) -> None:
        if _package(thing) not in _VERSIONED:
            self.modules.add(thing.__module__)


def _name(kind: Any, value: Any) -> str:
    """The name of a function or class, that of what C code defines included. Of the user's own it
    is without the module, whose name depends on the place of its file."""
    name: str = getattr(value, "__qualname__", kind.__qualname__)
    return f"{kind.__module__}.{name}" if _package(kind) in _VERSIONED else name


def _package(thing: Any) -> str:
    return str(getattr(thing, "__module__", None) or "").partition(".")[0]


def _sources(modules: Iterable[str]) -> set[Path]:
    """The source files of modules, and of all that they import anywhere, as far as these are the
    user's: those in the same package, or in no folder of installed packages."""
    files: set[Path] = set()
    waiting = [name for name in modules if name in sys.modules]
    seen = set(waiting)
    while waiting:
        name = waiting.pop()
        file = _file(name)
        if file is None:
            continue
        files.add(file)
        for imported in _imported(file, name):
            same = imported.partition(".")[0] == name.partition(".")[0]
            if imported not in seen and (same or not _installed(imported)):
                seen.add(imported)
                waiting.append(imported)
    return files


def _file(name: str) -> Path | None:
    """The source file of a module; None for one that has none, or that does not exist."""
    place = getattr(sys.modules.get(name), "__file__", None)
    if place is None:
        spec = _spec(name)
        place = None if spec is None else spec.origin
    file = Path(place) if place else None
    return file if file is not None and file.suffix == ".py" and file.is_file() else None


def _spec(name: str) -> ModuleSpec | None:
    """How a module would be imported; the packages that it is in are imported for the answer."""
    try:
        return importlib.util.find_spec(name)
    except Exception:  # no module, such as a class of one; or a package that cannot be imported
        return None


def _installed(name: str) -> bool:
    """Whether a module belongs to Python or to an installed package."""
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names or top in _VERSIONED:
        return True
    spec = _spec(top)
    if spec is None:
        return True
    places = [spec.origin] if spec.has_location else spec.submodule_search_locations or []
    folders = {Path(sysconfig.get_path(key)).resolve() for key in ("stdlib", "purelib", "platlib")}
    return any(
        place is not None and not folders.isdisjoint(Path(place).resolve().parents)
        for place in places
    )


def _imported(file: Path, name: str) -> Iterator[str]:
    """Names of the modules that a source file may import, in any place: of ``from a import b`` both
    ``a`` and ``a.b``."""
    module = sys.modules.get(name)
    package = getattr(module, "__package__", None) or name.rpartition(".")[0]
    try:
        tree = ast.parse(file.read_bytes())
    except SyntaxError:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                parents = parts[: len(parts) - node.level + 1]
                base = ".".join([*parents, *([node.module] if node.module else [])])
            if base:
                yield base
                yield from (f"{base}.{alias.name}" for alias in node.names)
