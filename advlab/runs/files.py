"""Atomic files: written under a temporary name, flushed to disk and renamed."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import IO, Any

from advlab.input_files import is_plain

JOURNAL = ".files"
"""The file of a run's folder that lists everything advlab wrote there, so that nothing else is ever
removed."""

CONFIG = "config.yaml"
"""The value of every option of a run."""

CHECKSUMS = ".checksums"
"""The checksums of a finished run's data files; see ``advlab.runs.checksums``."""

IDENTITY = "identity.json"
"""What makes a run the one it is."""

TEMPORARY = re.compile(r"\..+\.\d+\.tmp")
"""What a file is called while it is being written."""

# The folder whose files are being listed, and the names listed already.
_recorded: ContextVar[tuple[Path, set[str]] | None] = ContextVar("_recorded", default=None)


@contextlib.contextmanager
def recording(folder: Path) -> Iterator[None]:
    """Have every file that is written below ``folder`` meanwhile listed in its journal, before it
    is written."""
    file = folder / JOURNAL
    if file.is_file() and not file.read_bytes().endswith(
        b"\n"
    ):  # a line that a killed process broke off
        with file.open("a", encoding="utf-8") as opened:
            opened.write("\n")
    token = _recorded.set((folder.absolute(), set(journal(folder))))
    try:
        yield
    finally:
        _recorded.reset(token)


def journal(folder: Path) -> list[str]:
    """The names, relative to ``folder``, of everything that advlab wrote there.

    Whatever a damaged file says, no name leads out of the folder.
    """
    file = folder / JOURNAL
    names = file.read_text(encoding="utf-8", errors="replace").split("\n") if file.is_file() else []
    return [
        name for name in dict.fromkeys(names) if name and "\0" not in name and _stays_inside(name)
    ]


def _stays_inside(name: str) -> bool:
    path = Path(name)
    return not path.is_absolute() and ".." not in path.parts and path != Path()


def _record(path: Path) -> None:
    """List ``path`` in the journal of the folder that is being recorded, if it lies there."""
    recorded = _recorded.get()
    if recorded is None or not path.absolute().is_relative_to(recorded[0]):
        return
    folder, names = recorded
    name = path.absolute().relative_to(folder).as_posix()
    if name not in names:
        with (folder / JOURNAL).open("a", encoding="utf-8") as file:
            file.write(f"{name}\n")
        names.add(name)


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let ``write`` fill a binary file that appears at ``path`` only when it is complete.

    A crash or a full disk at any moment leaves the old file as it was; the temporary one is removed
    where possible.

    Raises:
        OSError: the disk is full, the folder cannot be written, and the like.
    """
    if path.name != CHECKSUMS:  # which lists files itself
        _record(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if (
            isinstance(error, OSError) and error.filename is None
        ):  # a write does not know its file's name
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    write_atomically(path, lambda file: file.write(text.encode("utf-8")))


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically. NaN and infinity are refused: a result that
    holds them is a bug.

    Raises:
        ValueError: ``value`` holds NaN or an infinity.
    """
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object that ``write_json`` wrote.

    Raises:
        ValueError: the file holds something else.
        UsageError: it is a pipe, a socket or a device.
    """
    is_plain(path)
    value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds no JSON object")
    return value


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file that holds one JSON object to a line; none where there is no file.

    Raises:
        ValueError: a line is not one.
    """
    return (
        [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        if path.is_file()
        else []
    )


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that killed processes left in ``folder``, and where else its
    journal lists files."""
    for place in {folder, *((folder / name).parent for name in journal(folder))}:
        for path in place.glob(".*.tmp"):
            if TEMPORARY.fullmatch(path.name):
                path.unlink(missing_ok=True)
