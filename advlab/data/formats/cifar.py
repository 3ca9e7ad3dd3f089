"""CIFAR's batch files, binary or pickled. The pickles are read without executing code."""

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
    """Pixels of shape (N, 3072), channel by channel, and labels, from records of a label byte and
    3,072 pixel bytes.

    Raises:
        EnvironmentFailure: the file cannot be read or is no whole number of records.
    """
    try:
        content = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise EnvironmentFailure(f"{path}: cannot be read ({error.strerror})") from error
    if len(content) % (1 + _PIXELS):
        raise EnvironmentFailure(
            f"{path}: {len(content):,} bytes are no whole number of records of {1 + _PIXELS:,}; "
            "the file is cut off"
        )
    records = content.reshape(-1, 1 + _PIXELS)
    return records[:, 1:], records[:, 0]


class _Recorded:
    """Stands in for numpy's classes while a batch is unpickled: keeps what it is given, runs
    nothing."""

    def __init__(self, *arguments: object) -> None:
        self.arguments = arguments
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state


def _encoded(text: str, encoding: str) -> bytes:
    """What Python 2's byte strings are pickled as by later protocols."""
    return text.encode(encoding if encoding == "latin1" else "ascii")


class _DataOnly(pickle.Unpickler):
    """An unpickler that knows the four names a batch of CIFAR uses, and gives none of them the
    right to act."""

    def find_class(self, module: str, name: str) -> type[_Recorded] | Callable[[str, str], bytes]:
        if name in ("_reconstruct", "ndarray", "dtype") and module.split(".")[0] == "numpy":
            return _Recorded
        if (module, name) == ("_codecs", "encode"):
            return _encoded
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is no data")


def read_pickled(path: Path) -> Batch:
    """As ``read_binary``, from a batch of the Python version.

    Raises:
        EnvironmentFailure: the file cannot be read, is no such batch, or holds anything but data.
    """
    try:
        with path.open("rb") as stream:
            content = _DataOnly(stream, encoding="bytes").load()
        _, shape, _, column_major, raw = content[b"data"].state
        pixels = np.frombuffer(raw, dtype=np.uint8).reshape(
            shape, order="F" if column_major else "C"
        )
        labels = np.array(content[b"labels"], dtype=np.uint8)
    except Exception as error:  # a broken pickle may trip over anything; nothing of it has run
        raise EnvironmentFailure(f"{path}: is no batch of CIFAR-10 ({error})") from error
    if pixels.ndim != 2 or pixels.shape[1] != _PIXELS:
        raise EnvironmentFailure(
            f"{path}: holds images of shape {pixels.shape[1:]}, not ({_PIXELS},)"
        )
    return pixels, labels
