"""Reader of IDX files, the format of MNIST: a big-endian header and bytes, plain or gzipped."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from advlab.errors import EnvironmentFailure
from advlab.input_files import is_plain

_UNSIGNED_BYTES = 8


def find(folder: Path, name: str) -> Path | None:
    """Return the path of an IDX file, plain or with ``.gz``; None if neither exists."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if is_plain(path)), None)


def read(folder: Path, name: str, dimensions: int) -> NDArray[np.uint8]:
    """Read the array in an IDX file of unsigned bytes.

    Args:
        dimensions: number of dimensions of the array: 3 for images (N, H, W), 1 for labels (N,).

    Raises:
        EnvironmentFailure: the file is missing, unreadable or not such an IDX file, or its length
            differs from that in its header.
    """
    path = find(folder, name)
    if path is None:
        raise EnvironmentFailure(f"{folder / name}: no such file")
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            return _parse(cast(BinaryIO, stream), dimensions, path)
    except (OSError, EOFError, zlib.error) as error:
        raise EnvironmentFailure(f"{path}: cannot be read ({error})") from error


def _parse(stream: BinaryIO, dimensions: int, path: Path) -> NDArray[np.uint8]:
    header = stream.read(4 + 4 * dimensions)
    magic = bytes((0, 0, _UNSIGNED_BYTES, dimensions))
    if header[:4] != magic:
        raise EnvironmentFailure(
            f"{path}: not an IDX file of {dimensions} dimension(s): it starts with "
            f"{header[:4].hex()}, expected {magic.hex()}"
        )
    if len(header) < 4 + 4 * dimensions:
        raise EnvironmentFailure(f"{path}: truncated within its header")
    shape = struct.unpack(f">{dimensions}I", header[4:])
    expected = math.prod(shape)
    # A corrupt header may state terabytes, so memory is allocated only as the bytes are read.
    body = bytearray()
    while len(body) <= expected and (chunk := stream.read(min(1 << 20, expected + 1 - len(body)))):
        body += chunk
    if len(body) != expected:
        size = "more" if len(body) > expected else f"{len(body):,}"
        raise EnvironmentFailure(f"{path}: holds {size} bytes, its header states {expected:,}")
    return np.frombuffer(body, dtype=np.uint8).reshape(shape)
