"""Records of figures: the function that drew a figure and what it was given.

A figure is drawn by a function of ``advlab.plots`` from plain values: numbers, texts, arrays,
lists, dictionaries, and the dataclasses of these modules. Its record holds these values in a
safetensors file beside the picture, so that the same function draws it again, in another format,
size or style. A record is data: it names a function of ``advlab.plots`` that draws figures, and
nothing else is ever called.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

from advlab.errors import EnvironmentFailure
from advlab.runs.files import write_atomically

_ENDING = ".figure"

_KEY = "advlab-figure"
_PACKAGE = "advlab.plots."
# Entries of a training's history that say how long it took. No figure draws them, and without them
# a run has the same files on every day.
_TIMINGS = frozenset({"seconds", "images_per_second", "views_share"})
_LEVELS = 255  # of an image of bytes, which a figure gets in [0, 1]

Drawing = TypeVar("Drawing", bound=Callable[..., Figure])


def recorded(function: Drawing) -> Drawing:
    """Have the figures that ``function`` returns remember their record; a decorator."""

    @functools.wraps(function)
    def drawn(*arguments: Any, **options: Any) -> Figure:
        figure = function(*arguments, **options)
        bound = inspect.signature(function).bind(*arguments, **options)
        figure._advlab_record = (  # type: ignore[attr-defined]
            f"{function.__module__.removeprefix(_PACKAGE)}:{function.__name__}",
            dict(bound.arguments),
        )
        return figure

    drawn._advlab_draws = True  # type: ignore[attr-defined]
    return drawn  # type: ignore[return-value]


def write(figure: Figure, picture: Path) -> None:
    """Write the record of a figure that is saved at ``picture``; nothing for a figure that has
    none."""
    stored = getattr(figure, "_advlab_record", None)
    if stored is None:
        return
    function, arguments = stored
    arrays: dict[str, NDArray[Any]] = {}
    content = {"function": function, "arguments": _packed(arguments, arrays)}
    text = json.dumps(content, ensure_ascii=False, allow_nan=False)
    data = to_bytes(arrays, metadata={_KEY: text})
    write_atomically(record_of(picture), lambda opened: opened.write(data))


def record_of(picture: Path) -> Path:
    """Where the record of the figure at ``picture`` lies: ``.curves.figure`` for ``curves.png``."""
    return picture.with_name(f".{picture.stem}{_ENDING}")


def records_in(folder: Path) -> dict[str, Path]:
    """The records in a folder, by the names of their figures, sorted."""
    files = sorted(folder.glob(f".*{_ENDING}"))
    return {file.name[1 : -len(_ENDING)]: file for file in files}


def words_of(picture: Path) -> str:
    """Title and caption of the figure at ``picture``, from its record; empty where it has none.

    Only the head of the record is read, not its arrays.
    """
    try:
        with safe_open(record_of(picture), framework="np") as opened:
            content = json.loads((opened.metadata() or {})[_KEY])
        arguments = dict(content["arguments"]["mapping"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return ""
    words = [arguments.get(name) for name in ("title", "caption")]
    return ". ".join(word for word in words if isinstance(word, str) and word)


def drawn_again(file: Path) -> Figure:
    """The figure of a record.

    Raises:
        EnvironmentFailure: the record is damaged, or was written by another version of advlab.
    """
    try:
        with safe_open(file, framework="np") as opened:
            content = json.loads((opened.metadata() or {})[_KEY])
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        function = _named(content["function"])
        if not getattr(function, "_advlab_draws", False):
            raise ValueError(f"{content['function']} draws no figure")
        arguments = _unpacked(content["arguments"], arrays)
        inspect.signature(function).bind(**arguments)  # other arguments raise a TypeError here
    except (
        SafetensorError,
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        ImportError,
    ) as error:
        raise EnvironmentFailure(
            f"{file}: this record of a figure is damaged, or of another version of advlab "
            f"({str(error).splitlines()[0]})"
        ) from error
    figure: Figure = function(**arguments)
    return figure


def _packed(value: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    """A value as JSON, with its arrays under names in ``arrays``."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": str(value)}
    if isinstance(value, np.generic):
        return _packed(value.item(), arrays)
    if isinstance(value, np.ndarray):
        return _packed_array(value, arrays)
    if isinstance(value, Mapping):
        pairs = [
            [_packed(key, arrays), _packed(one, arrays)]
            for key, one in value.items()
            if key not in _TIMINGS
        ]
        return {"mapping": pairs}
    if isinstance(value, (list, tuple)):
        sequence = "tuple" if isinstance(value, tuple) else "list"
        return {sequence: [_packed(one, arrays) for one in value]}
    kind = type(value)
    if dataclasses.is_dataclass(value) and kind.__module__.startswith(_PACKAGE):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        name = f"{kind.__module__.removeprefix(_PACKAGE)}:{kind.__name__}"
        return {"record": name, "fields": _packed(fields, arrays)}
    raise TypeError(f"a figure was given a {kind.__name__}, of which no record can be kept")


def _packed_array(array: NDArray[Any], arrays: dict[str, NDArray[Any]]) -> Any:
    """Store an array and return its name; images in [0, 1] that come from bytes are stored as
    bytes."""
    name = f"array{len(arrays)}"
    if array.dtype == np.float32 and array.size > 0:
        levels = np.round(array * _LEVELS)
        inside = bool(np.isfinite(array).all()) and levels.min() >= 0 and levels.max() <= _LEVELS
        if inside and np.array_equal(levels / np.float32(_LEVELS), array):
            arrays[name] = np.ascontiguousarray(levels.astype(np.uint8))
            return {"image": name}
    arrays[name] = np.ascontiguousarray(array)
    return {"array": name}


def _unpacked(value: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    """The value that ``_packed`` was given."""
    if not isinstance(value, dict):
        return value
    (kind, content), *rest = value.items()
    if kind == "float":
        return float(content)
    if kind == "array":
        return arrays[content]
    if kind == "image":
        return arrays[content].astype(np.float32) / np.float32(_LEVELS)
    if kind == "mapping":
        return {_unpacked(key, arrays): _unpacked(one, arrays) for key, one in content}
    if kind in ("list", "tuple"):
        items = [_unpacked(one, arrays) for one in content]
        return tuple(items) if kind == "tuple" else items
    if kind == "record":
        cls = _named(content)
        if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
            raise ValueError(f"{content} is no record")
        return cls(**_unpacked(rest[0][1], arrays))
    raise ValueError(f"unknown value {kind!r}")


def _named(name: str) -> Any:
    """A function or dataclass of ``advlab.plots``."""
    module, _, attribute = name.partition(":")
    if not module.isidentifier() or not attribute.isidentifier():
        raise ValueError(f"{name!r} names nothing of advlab.plots")
    return getattr(importlib.import_module(_PACKAGE + module), attribute)
