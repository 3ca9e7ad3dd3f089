"""Which files may be read: plain files. A pipe, a socket or a device may block for ever."""

from __future__ import annotations

import stat
from pathlib import Path

from advlab.errors import UsageError

_SPECIAL = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def is_plain(path: Path) -> bool:
    """Whether there is a plain file at ``path``, links followed; False where there is nothing or a
    folder.

    Call this before any file is opened that a user or a folder names: opening a pipe waits for a
    writer, and none may ever come.

    Raises:
        UsageError: there is a named pipe, a socket or a device; the line says which.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # nothing there, out of reach, or a name that no system takes
        return False
    if (kind := _SPECIAL.get(stat.S_IFMT(mode))) is not None:
        raise UsageError(f"{path}: is {kind}; only plain files are read")
    return stat.S_ISREG(mode)
