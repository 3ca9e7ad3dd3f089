"""Where the pixels of a data set are kept: in memory, or in a file that the system maps into it.

A data set that takes more than a quarter of the machine's memory is kept in a file on disk. The
system reads parts of it as they are used and lets go of them when memory is short, so that sets
larger than memory can be used.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from advlab.errors import EnvironmentFailure
from advlab.logs import logger

_IN_MEMORY = 0.25  # of the machine's memory, what a set may take of it
_CHUNK = 64_000_000  # bytes that are copied at a time
_GROUPS = Path("/sys/fs/cgroup")  # Linux: limits of containers, and of jobs on a cluster
_OWN_GROUPS = Path("/proc/self/cgroup")


def empty(shape: Sequence[int]) -> Tensor:
    """Pixels to be filled in, uint8 of that shape.

    Raises:
        EnvironmentFailure: they neither fit in memory nor on the disk.
    """
    size = math.prod(shape)
    if size <= largest_in_memory():
        return torch.empty(tuple(shape), dtype=torch.uint8)
    place = folder()
    text = f"images of {size / 1e9:.3g} GB, more than a quarter of the memory,"
    free = shutil.disk_usage(place).free
    if size > free:
        raise EnvironmentFailure(
            f"{text} do not fit on the disk of {place} either, which has {free / 1e9:.3g} GB left; "
            "TMPDIR names another folder"
        )
    logger.info(f"note: {text} are kept in a file in {place} while they are used")
    descriptor, name = tempfile.mkstemp(prefix="advlab-", dir=place)
    try:
        os.truncate(descriptor, size)
        mapped = torch.from_file(name, shared=True, size=size, dtype=torch.uint8)
    finally:
        os.close(descriptor)
        with suppress(OSError):  # Windows keeps a file that is in use
            Path(name).unlink()
    return mapped.view(tuple(shape))


def selected(pixels: Tensor, index: Tensor) -> Tensor:
    """The images (N, C, H, W) at ``index`` (int64), in that order."""
    shape = (len(index), *pixels.shape[1:])
    if pixels.dtype != torch.uint8 or math.prod(shape) <= largest_in_memory():
        return pixels[index]
    chosen = empty(shape)
    rows = max(1, _CHUNK // max(1, math.prod(shape[1:])))
    for start in range(0, len(index), rows):
        torch.index_select(pixels, 0, index[start : start + rows], out=chosen[start : start + rows])
    return chosen


def contiguous(pixels: Tensor) -> Tensor:
    """The same images (N, C, H, W) of bytes with every byte once, in this order."""
    if pixels.is_contiguous():
        return pixels
    copy = empty(pixels.shape)
    rows = max(1, _CHUNK // max(1, math.prod(pixels.shape[1:])))
    for start in range(0, len(pixels), rows):
        copy[start : start + rows] = pixels[start : start + rows]
    return copy


def folder() -> Path:
    """Where files of large sets are kept: ``TMPDIR`` where it is set, else ``/var/tmp``, since
    ``/tmp`` is often kept in memory itself."""
    if not any(os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP")):
        lasting = Path("/var/tmp")
        if os.access(lasting, os.W_OK):
            return lasting
    return Path(tempfile.gettempdir())


def largest_in_memory() -> float:
    """How many bytes of pixels are kept in memory, of one part of a set."""
    return _IN_MEMORY * memory()


def memory() -> float:
    """Bytes of memory of this machine, or of the part of it that this process may use; infinite
    where the system does not say."""
    known = math.inf
    with suppress(OSError, ValueError, AttributeError):  # no such figures outside of POSIX
        known = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for file in _limits():
        with suppress(OSError, ValueError):
            known = min(known, float(file.read_text().strip().replace("max", "inf")))
    return known


def _limits() -> list[Path]:
    """Files that may hold a limit of memory for this process, in both versions of control groups.
    Within a container its own group stands where the group of all processes does elsewhere."""
    limits = [_GROUPS / "memory.max", _GROUPS / "memory" / "memory.limit_in_bytes"]
    lines: list[str] = []
    with suppress(OSError):
        lines = _OWN_GROUPS.read_text().splitlines()
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if not controllers:
            limits.append(_GROUPS / group.lstrip("/") / "memory.max")
        elif "memory" in controllers.split(","):
            limits.append(_GROUPS / "memory" / group.lstrip("/") / "memory.limit_in_bytes")
    return limits
