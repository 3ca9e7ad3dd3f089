"""Reader of CIFAR batch files, binary or pickled; pickles are read without executing code."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from advlab.errors import EnvironmentFailure

_PIXELS = 3 * 32 * 32
Batch = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def read_binary(path: Path) -> Batch:
    """Read a binary batch: records of one label byte and 3,072 pixel bytes.

    Returns:
        Pixels (N, 3072), channel by channel, and labels (N,).

    Raises:
        EnvironmentFailure: the file cannot be read, or its size is not a multiple of a record.
    """
    try:
        content = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise EnvironmentFailure(f"{path}: cannot be read ({error.strerror})") from error
    if len(content) % (1 + _PIXELS):
        raise EnvironmentFailure(
            f"{path}: {len(content):,} bytes are not a multiple of the record size "
            f"{1 + _PIXELS:,}; the file is truncated"
        )
    records = content.reshape(-1, 1 + _PIXELS)
    return records[:, 1:], records[:, 0]


class _Placeholder:
    """Replacement for NumPy's classes during unpickling; stores arguments and state only."""

    def __init__(self, *arguments: object) -> None:
        self.arguments = arguments
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state


def _encoded(text: str, encoding: str) -> bytes:
    """Encode a string as ``_codecs.encode`` does, which pickles of byte strings call."""
    return text.encode(encoding if encoding == "latin1" else "ascii")


class _DataOnly(pickle.Unpickler):
    """Unpickler that accepts only the four names in a CIFAR batch and executes none of them."""

    def find_class(
        self, module: str, name: str
    ) -> type[_Placeholder] | Callable[[str, str], bytes]:
        if name in ("_reconstruct", "ndarray", "dtype") and module.split(".")[0] == "numpy":
            return _Placeholder
        if (module, name) == ("_codecs", "encode"):
            return _encoded
        raise pickle.UnpicklingError(f"it refers to {module}.{name}, which is not data")


def read_pickled(path: Path) -> Batch:
    """Read a pickled batch of the Python version; returns the same as ``read_binary``.

    Raises:
        EnvironmentFailure: the file cannot be read, is not a CIFAR batch, or refers to code.
    """
    try:
        with path.open("rb") as stream:
            content = _DataOnly(stream, encoding="bytes").load()
        _, shape, _, column_major, raw = content[b"data"].state
        pixels = np.frombuffer(raw, dtype=np.uint8).reshape(
            shape, order="F" if column_major else "C"
        )
        labels = np.array(content[b"labels"], dtype=np.uint8)
    except Exception as error:  # a damaged pickle can raise any exception
        raise EnvironmentFailure(f"{path}: not a CIFAR-10 batch ({error})") from error
    if pixels.ndim != 2 or pixels.shape[1] != _PIXELS:
        raise EnvironmentFailure(
            f"{path}: images of shape {pixels.shape[1:]}, expected ({_PIXELS},)"
        )
    return pixels, labels
