"""The hash of what a network computes beside its weights, which makes two runs the same or not."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import re
import sys
import sysconfig
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path, PurePath
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from advlab.errors import UsageError
from advlab.networks.tensor_hash import update_with

_VERSIONED = frozenset({"torch", "torchvision", "timm", "robustbench", "advlab", "numpy"})
"""Packages whose parts are known by their version, and whose source files are left out."""
_VALUES_OF_TORCH = ("torch.nn.", "torch.distributions.", "torch.ao.")
"""Where torch keeps classes whose objects are values, and not a state of the process."""
_OF_THE_PROCESS = frozenset(
    {
        *("_asyncio", "_contextvars", "_io", "_random", "_thread", "_weakref", "asyncio"),
        *("concurrent", "contextvars", "ctypes", "io", "logging", "multiprocessing", "os", "queue"),
        *("random", "socket", "subprocess", "tempfile", "threading", "weakref"),
    }
)
"""Modules of Python whose objects are another thing in every process, such as locks and loggers,
and random generators, which are mostly seeded by the system: of these the type counts alone."""

_HOOKS = ("_backward_hooks", "_backward_pre_hooks", "_forward_hooks", "_forward_pre_hooks")
_OF_EVERY_MODULE = frozenset(vars(nn.Module()))
"""Attributes in which torch keeps parameters, parts and its own state."""
_BUILDING = frozenset({"__init__", "__new__", "__post_init__", "__repr__", "__str__", "extra_repr"})
"""Methods that take no part in what a finished network computes."""
_DEEPEST = 6  # objects of installed packages within one another that are looked at
_ADDRESS = re.compile(r"(?: at |=)0x[0-9a-fA-F]+")
_MANGLED = re.compile(r"___torch_mangle_\d+\.")  # how many scripts were made before in the process


def code_hash(network: nn.Module) -> str:
    """Hash of what a network computes beside the weights and buffers of its state dict.

    It covers the structure, every module's attributes and the buffers that are not saved, whatever
    these hold, other modules included; forward and backward hooks and functions that replace
    ``forward``, with what they close over; of the user's own classes and functions found in this
    way, the globals and class attributes that they name, and their source files with those that
    these import. It does not cover what a file of data, the environment or the clock tells the code
    while it computes, nor the code that made the network and takes no part in it.
    """
    digest = _Digest()
    digest.text(_ADDRESS.sub("", repr(network)))
    digest.network(network)
    digest.finish()
    for content in sorted(file.read_bytes() for file in _sources(digest.modules)):
        digest.hash.update(hashlib.sha256(content).digest())
    return digest.hash.hexdigest()


@contextmanager
def refusing_unreadable(where: str) -> Iterator[None]:
    """Within it, a network whose values cannot be hashed is refused.

    Args:
        where: what the refusal begins with.

    Raises:
        UsageError: a tensor has no values, or they cannot be read.
    """
    try:
        yield
    except ValueError as error:
        raise UsageError(
            f"{where}: nothing tells this network from others, so that it cannot be used: {error}"
        ) from error


def value_hash(value: object) -> str:
    """Hash of a value that a state dict holds beside tensors, such as the state of a module of the
    user's own."""
    digest = _Digest()
    digest.value(value)
    digest.finish()
    return digest.hash.hexdigest()


class _Digest:
    """A hash of values, and the names of the modules whose classes and functions were met.

    A value that may hold others is hashed after the one that holds it, and once: each is known by
    the order in which it was met. So values may hold one another.
    """

    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        self.modules: set[str] = set()
        self._parts: dict[int, str] = {}  # modules by the place in which they are hashed
        self._met_before: dict[int, int] = {}
        self._waiting: deque[tuple[Any, int]] = deque()
        self._kept: list[Any] = []  # so that no later value gets the id of one that was met
        self._users: dict[str, bool] = {}

    def text(self, text: str) -> None:
        self.hash.update(text.encode(errors="surrogatepass"))
        self.hash.update(b"\0")

    def finish(self) -> None:
        """Hash what the values that were met hold, and what that holds in turn."""
        while self._waiting:
            value, depth = self._waiting.popleft()
            self._content(value, depth)

    def network(self, network: nn.Module, place: str = "", *, weights: bool = False) -> None:
        """Everything of a network; of the parameters and buffers that its state dict holds only
        with ``weights``.

        Args:
            place: what tells it from other networks.
        """
        modules = list(network.named_modules())
        for name, module in modules:
            self._parts.setdefault(id(module), f"{place}.{name}")
            self._kept.append(module)
        state = network.state_dict()
        for name, buffer in network.named_buffers():
            if name not in state:
                self.text(name)
                self.value(buffer)
        for name, value in state.items() if weights else ():
            self.text(name)
            self.value(value)
        for parameter in network.parameters():
            self._hooks_of(parameter)
        for name, module in modules:
            self.text(name)
            self._met(type(module))
            self._part(module)

    def _part(self, module: nn.Module) -> None:
        if isinstance(module, torch.fx.GraphModule):  # its code is generated, in no file
            self.text(module.code)
            self._hooks_of(module, own=True)
            return
        if isinstance(module, torch.jit.ScriptModule):
            self._script(module)
        self._hooks_of(module)
        kind = type(module)
        own = _package(kind) not in _VERSIONED or kind in (nn.Sequential, nn.ModuleList)
        for name, value in sorted(vars(module).items()):
            if name not in _OF_EVERY_MODULE and (own or not name.startswith("_")):
                self.text(name)
                self.value(value)

    def _script(self, module: torch.jit.ScriptModule) -> None:
        """The code and constants of a script, and the attributes that the code names."""
        script = module._c
        named: set[str] = set()
        for method in sorted(script._method_names()):
            code, constants = script._get_method(method).code_with_constants
            self.text(_MANGLED.sub("", code))
            self.value(constants)
            named |= set(re.findall(r"\w+", code))
        for name in sorted(named):
            if script.hasattr(name) and not isinstance(
                value := script.getattr(name), torch._C.ScriptModule
            ):
                self.text(name)
                self.value(value)

    def _hooks_of(self, thing: Any, *, own: bool = False) -> None:
        """The hooks of a module or tensor; with ``own`` without those of torch and its like."""
        for name in (*_HOOKS, "_post_accumulate_grad_hooks"):
            hooks = getattr(thing, name, None)
            for hook in hooks.values() if isinstance(hooks, Mapping) else ():
                if not own or _package(hook) not in _VERSIONED:
                    self.text(name)
                    self.value(hook)

    def value(self, value: Any, depth: int = 0) -> None:
        """A value of an attribute, a closure, a default or a global."""
        if value is None or isinstance(value, (bool, int, float, complex, bytes, bytearray)):
            self.text(f"{type(value).__name__} {value!r}")
        elif isinstance(value, str):
            self.text(_placeless(value))
        elif isinstance(value, memoryview):
            self.text(f"memoryview {value.tobytes()!r}")
        elif isinstance(value, (tuple, frozenset)) and type(value) in (tuple, frozenset):
            items = value if isinstance(value, tuple) else sorted(value, key=_order)
            self.text(f"{type(value).__name__} {len(items)}")
            for item in items:
                self.value(item, depth)
        elif isinstance(value, nn.Module) and id(value) in self._parts:
            self.text(f"part {self._parts[id(value)]}")
        elif id(value) in self._met_before:
            self.text(f"met {self._met_before[id(value)]}")
        else:
            self._met_before[id(value)] = len(self._met_before)
            self._kept.append(value)
            self.text(f"new {self._met_before[id(value)]}")
            self._waiting.append((value, depth))

    def _content(self, value: Any, depth: int) -> None:
        inner: Callable[[Any], None] = functools.partial(self.value, depth=depth)
        if isinstance(value, nn.Module):
            if id(value) not in self._parts:  # as a part of another that was met since
                self.text(_ADDRESS.sub("", repr(value)))
                self.network(value, str(self._met_before[id(value)]), weights=True)
        elif isinstance(value, Tensor):
            update_with(self.hash, value)
            self._hooks_of(value)
        elif isinstance(value, np.ndarray):
            self.text(f"{value.dtype} {value.shape}")
            if value.dtype.hasobject:
                inner(value.tolist())
            else:
                self.hash.update(value.tobytes())
        elif isinstance(value, functools.partial):
            inner((value.func, value.args, value.keywords))
        elif isinstance(value, MethodType):
            inner((value.__func__, value.__self__))
        elif isinstance(value, FunctionType):
            self._function(value, inner)
        elif isinstance(value, BuiltinFunctionType):  # such as a method of a tensor
            self.text(_name(value, value))
            inner(value.__self__)
        elif isinstance(value, (staticmethod, classmethod)):
            inner(value.__func__)
        elif isinstance(value, property):
            inner((value.fget, value.fset))
        elif isinstance(value, ModuleType):
            self.text("module" if self._is_own(value.__name__) else value.__name__)
        elif isinstance(value, type):
            self._class(value, inner)
        else:
            self._object(value, depth)

    def _function(self, function: FunctionType, inner: Callable[[Any], None]) -> None:
        compiled = getattr(function, "_torchdynamo_orig_callable", None)
        if compiled is not None:  # by torch.compile, whose own state is of the process
            inner(compiled)
            return
        self.text(_name(function, function))
        self._met(function)
        if _package(function) not in _VERSIONED:
            # Two functions of one name in one file, such as lambdas.
            codes = list(_codes(function.__code__))
            for code in codes:
                self.hash.update(code.co_code)
                inner(tuple(one for one in code.co_consts if not isinstance(one, CodeType)))
                inner(code.co_names)
            if self._is_own(function.__module__):
                names = {name for code in codes for name in code.co_names if not _special(name)}
                self._globals(function.__globals__, names, inner)
            inner({name: one for name, one in vars(function).items() if not _special(name)})
        for cell in function.__closure__ or ():
            inner(_content_of(cell))
        inner(function.__defaults__)
        inner(function.__kwdefaults__)

    def _globals(
        self, scope: Mapping[str, Any], names: set[str], inner: Callable[[Any], None]
    ) -> None:
        """The globals of these names, and those of the user's modules that are among them."""
        scopes = {id(scope): scope}
        waiting = [scope]
        while waiting:
            one = waiting.pop()
            for name in sorted(names & one.keys()):
                value = one[name]
                self.text(name)
                inner(value)
                if isinstance(value, ModuleType) and self._is_own(value.__name__):
                    further = vars(value)
                    if id(further) not in scopes:
                        scopes[id(further)] = further
                        waiting.append(further)

    def _class(self, kind: type, inner: Callable[[Any], None]) -> None:
        self.text(_name(kind, kind))
        self._met(kind)
        for one in kind.__mro__:
            if not self._is_own(one.__module__):
                continue
            self.text(one.__qualname__)
            self._met(one)
            for name, value in sorted(vars(one).items()):
                if name not in _BUILDING and (callable(value) or not _special(name)):
                    self.text(name)
                    inner(value)

    def _object(self, value: Any, depth: int) -> None:
        kind = type(value)
        package = _package(kind)
        self.text(_name(kind, value))
        if package in _OF_THE_PROCESS or kind.__module__.startswith("numpy.random"):
            return
        self._met(kind)
        if isinstance(value, torch.Generator):
            self.value(value.initial_seed())
            return
        if isinstance(value, re.Pattern):
            self.value((value.pattern, value.flags))
            return
        own = self._is_own(kind.__module__)
        depth = depth if own or package == "builtins" else depth + 1
        inner: Callable[[Any], None] = functools.partial(self.value, depth=depth)
        if isinstance(value, (Mapping, list, tuple, set, frozenset, deque)):
            self._container(value, inner)
        of_torch = f"{kind.__module__}.".startswith(_VALUES_OF_TORCH)
        attributes = getattr(value, "__dict__", None)
        looked_at = own or (depth <= _DEEPEST and (package != "torch" or of_torch))
        ordered = not isinstance(value, (set, frozenset))  # else pickle has an order by chance
        if looked_at and not own and ordered and _pickles_itself(kind):
            inner(_pickled(value))  # without caches and the like
        elif looked_at:
            for name, one in sorted((attributes or {}).items()):
                # What is wrapped counts, as of a function with a cache, and not from which file.
                if name == "__wrapped__" or not _special(name):
                    self.text(name)
                    inner(one)
            for base in kind.__mro__:
                slots = vars(base).get("__slots__", ())
                names = [slots] if isinstance(slots, str) else list(slots)
                inner(tuple(getattr(value, name, None) for name in names))
        # Of what has no attributes, such as a dtype, a NumPy number or a fraction, the words are
        # the value; those of an object without words of its own are its address.
        words = ""
        if attributes is None and not isinstance(value, (PurePath, Mapping, list, set)):
            words = repr(value)
            self.text("" if _ADDRESS.search(words) else words)
            if looked_at and not own and _ADDRESS.search(words):  # and what it holds is compiled
                inner(_pickled(value))

    def _container(self, value: Any, inner: Callable[[Any], None]) -> None:
        if isinstance(value, Mapping):
            for key in sorted(value, key=_order):
                inner(key)
                inner(value[key])
            return
        items = sorted(value, key=_order) if isinstance(value, (set, frozenset)) else list(value)
        self.text(f"{len(items)}")
        for item in items:
            inner(item)

    def _met(self, thing: Any) -> None:
        if _package(thing) not in _VERSIONED:
            self.modules.add(thing.__module__)
        if isinstance(thing, type) and self._is_own(thing.__module__):
            self.value(thing)

    def _is_own(self, name: str | None) -> bool:
        """Whether a module is the user's, and belongs to no installed package."""
        if not name:
            return False
        if name not in self._users:
            self._users[name] = _is_own(name)
        return self._users[name]


def _placeless(text: str) -> str:
    """A text; of the place of a file its name alone, since where code and files lie is no part of
    what they compute."""
    try:
        place = Path(text)
        return f"path {place.name}" if place.is_absolute() and place.exists() else text
    except (OSError, ValueError):  # too long for a path, or not one at all
        return text


def _pickles_itself(kind: type) -> bool:
    """Whether a class says what pickle stores of its objects."""
    own = {"__reduce__", "__reduce_ex__", "__getstate__"}
    return any(own & vars(base).keys() for base in kind.__mro__ if base is not object)


def _pickled(value: Any) -> Any:
    """What pickle would store of an object, as a tuple; an empty one where it cannot."""
    try:
        stored = value.__reduce_ex__(2)
    except Exception:  # of whatever kind the class thinks right
        return ()
    if isinstance(stored, str):
        return (stored,)
    _, arguments, *rest = stored
    state, *items = [*rest, None, None, None][:3]
    return (arguments, state, *(list(one) if one is not None else None for one in items))


def _special(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _content_of(cell: CellType) -> Any:
    """What a closure holds; a text where it is empty still."""
    try:
        return cell.cell_contents
    except ValueError:
        return "empty"


def _order(value: object) -> str:
    """A text to sort by, the same in every process."""
    return _ADDRESS.sub("", f"{type(value).__name__} {value!r}")


def _codes(code: CodeType) -> Iterator[CodeType]:
    """The code of a function and of those within it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _is_own(name: str) -> bool:
    if name.partition(".")[0] in _VERSIONED or _file(name) is None:
        return False
    return not _installed(name)


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
    return any(
        place is not None and not _installed_folders().isdisjoint(Path(place).resolve().parents)
        for place in places
    )


@functools.cache
def _installed_folders() -> frozenset[Path]:
    """Where Python and installed packages lie."""
    keys = ("stdlib", "purelib", "platlib")
    return frozenset(Path(sysconfig.get_path(key)).resolve() for key in keys)


_imports: dict[tuple[bytes, str], tuple[str, ...]] = {}
"""What source files import, by the hash of their content and their package: a package of many files
is looked through again for every network that holds an object of it."""


def _imported(file: Path, name: str) -> tuple[str, ...]:
    """Names of the modules that a source file may import, in any place: of ``from a import b`` both
    ``a`` and ``a.b``."""
    module = sys.modules.get(name)
    package = getattr(module, "__package__", None) or name.rpartition(".")[0]
    content = file.read_bytes()
    key = hashlib.sha256(content).digest(), package
    if key not in _imports:
        _imports[key] = tuple(_imported_by(content, package))
    return _imports[key]


def _imported_by(content: bytes, package: str) -> Iterator[str]:
    """The same of the content of a source file in a package."""
    try:
        tree = ast.parse(content)
    except SyntaxError:
        return
    for node in _statements(tree):
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


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """Every statement, without the expressions, which import nothing and are nine tenths of it."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        for part in ("body", "orelse", "finalbody", "handlers", "cases"):
            waiting.extend(getattr(node, part, ()))
