"""Download of the files of a data set from mirrors, with resumption and checksums.

A file is written to ``NAME.part`` and renamed after its checksum was verified, so that a file under
its own name is complete. Other processes wait at a lock while one of them downloads.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from advlab.data.catalogue import DatasetInfo, RemoteFile
from advlab.data.download import archives
from advlab.data.download.connection import Deadline, MirrorError, Patience, open_url
from advlab.errors import EnvironmentFailure
from advlab.progress import progress_bar

QUICK = Patience(connect=3.0, stall=5.0, total=20.0, tries=1)
"""Timeouts of the implicit download of MNIST for ``auto``."""
THOROUGH = Patience()
"""Timeouts of a download that the user requested."""

_LOCK = ".download.lock"
_DISK_MARGIN = 1.05
_GZIP_RATIO = 5
"""For the required disk space: a margin, and the largest compression ratio."""


def fetch_set(
    name: str, info: DatasetInfo, data_dir: Path, patience: Patience, overwrite: bool = False
) -> None:
    """Download and unpack all files of a data set into its folder under ``data_dir``.

    Existing files are kept, unless ``overwrite`` is set. If the download fails, folders that it
    created and left empty are removed.

    Raises:
        EnvironmentFailure: no mirror delivered a file, the disk is full, or the folder is not
            writable.
    """
    folder = data_dir / info.folder
    missing_folders = [path for path in (folder, *folder.parents) if not path.exists()]
    deadline = Deadline(patience.total)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / _LOCK, timeout=-1 if patience.total is None else patience.total):
            for file in info.files:
                if overwrite or not archives.is_unpacked(file, folder):
                    _fetch_and_unpack(file, folder, patience, deadline, overwrite)
    except Timeout as error:
        raise EnvironmentFailure(
            f"{name}: another process is downloading it to {folder}"
        ) from error
    except OSError as error:
        raise EnvironmentFailure(
            f"{name}: cannot write to {folder} ({error.strerror or error})"
        ) from error
    finally:
        _remove_empty(missing_folders)


def _remove_empty(folders: list[Path]) -> None:
    """Remove those of the folders, innermost first, that hold nothing but the lock."""
    for folder in folders:
        if not folder.is_dir() or any(entry.name != _LOCK for entry in folder.iterdir()):
            return
        with contextlib.suppress(OSError):  # another process may have started to use the folder
            (folder / _LOCK).unlink(missing_ok=True)
            folder.rmdir()


def _fetch_and_unpack(
    file: RemoteFile, folder: Path, patience: Patience, deadline: Deadline, overwrite: bool
) -> None:
    target = folder / file.name
    if overwrite or not (target.is_file() and checksum(target) == file.md5):
        fetch(file, folder, patience, deadline)
    archives.unpack(file, folder)


def fetch(
    file: RemoteFile, folder: Path, patience: Patience, deadline: Deadline | None = None
) -> Path:
    """Download one file to ``folder``; the file gets its name only once it is complete.

    Returns:
        The path of the file.

    Raises:
        EnvironmentFailure: no mirror delivered the file, with the reason for each, or the disk is
            full.
    """
    deadline = deadline or Deadline(patience.total)
    target, part = folder / file.name, folder / f"{file.name}.part"
    _check_disk_space(file, folder)
    hosts_by_reason: dict[str, list[str]] = {}
    for url in file.urls:
        reason = _try_mirror(url, file, part, patience, deadline)
        if reason is None:
            part.replace(target)
            return target
        hosts_by_reason.setdefault(reason, []).append(urlsplit(url).netloc)
    reasons = "; ".join(
        f"{', '.join(hosts)}: {reason}" for reason, hosts in hosts_by_reason.items()
    )
    raise EnvironmentFailure(f"{file.name} cannot be downloaded: {reasons}")


def _try_mirror(
    url: str, file: RemoteFile, part: Path, patience: Patience, deadline: Deadline
) -> str | None:
    """Download ``part`` from one mirror; return None on success, else the reason of the failure."""
    try:
        _from_mirror(url, file, part, patience, deadline)
    except MirrorError as error:
        return str(error)
    return None


def checksum(path: Path) -> str:
    """Return the MD5 checksum of a file in hex.

    The sources publish MD5. It detects damaged files, not manipulated ones.
    """
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _from_mirror(
    url: str, file: RemoteFile, part: Path, patience: Patience, deadline: Deadline
) -> None:
    """Complete ``part`` from one mirror, retrying after temporary errors.

    Raises:
        MirrorError: the mirror did not deliver the file.
    """
    pause, tries_left, restarted = patience.backoff, patience.tries, False
    while True:
        try:
            from_start = _resume(url, file, part, patience, deadline)
            if checksum(part) == file.md5:
                return
            part.unlink()
            # The wrong bytes may stem from an earlier attempt, so the mirror gets one attempt from
            # the start.
            if from_start or restarted:
                raise MirrorError("served wrong bytes (checksum differs)", retryable=False)
            restarted = True
            continue
        except MirrorError as error:
            if error.restart and part.exists():
                part.unlink()
                continue
            tries_left -= 1
            if not error.retryable or tries_left <= 0 or deadline.remaining() <= 0:
                raise
        deadline.sleep(pause)
        pause *= 2


def _resume(url: str, file: RemoteFile, part: Path, patience: Patience, deadline: Deadline) -> bool:
    """Download the missing bytes of ``part``; return whether the download began at byte 0.

    Raises:
        MirrorError: the response ended early, stalled, or was longer than the file.
    """
    size = part.stat().st_size if part.exists() else 0
    if size > file.size:
        part.unlink()
        size = 0
    if size == file.size:
        return False
    response = open_url(url, size, file.size, patience, deadline)
    size = response.start
    try:
        with (
            part.open("r+b" if size else "wb") as out,
            progress_bar(file.size, file.name, "bytes", done=size, scale=True) as bar,
        ):
            out.seek(size)
            out.truncate()
            while size < file.size and (chunk := response.read()):
                if deadline.remaining() <= 0:
                    raise MirrorError("too slow for the time limit", retryable=False)
                out.write(chunk)
                size += len(chunk)
                bar.update(len(chunk))
    finally:
        response.close()
    if size < file.size:
        raise MirrorError(f"ended after {size:,} of {file.size:,} bytes", retryable=True)
    if size > file.size:
        part.unlink()
        raise MirrorError(f"served more than the {file.size:,} bytes of the file", retryable=False)
    return response.start == 0


def _check_disk_space(file: RemoteFile, folder: Path) -> None:
    needed = int(file.size * _DISK_MARGIN) * (
        1 if file.unpack == "no" else 1 + _GZIP_RATIO if file.unpack == "gzip" else 2
    )
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise EnvironmentFailure(
            f"{folder}: {file.name} needs {needed / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are free"
        )
