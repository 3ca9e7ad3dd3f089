"""Download of a data set's files from mirrors, with resumption and checksums.

A file gets its name only when it is complete.

A file grows as ``NAME.part`` and takes its name when its checksum was right, so whatever bears a
name is whole. What runs at the same time in another process waits at a lock and then finds the work
done.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from advlab.data.catalogue import RemoteFile, SetInfo
from advlab.data.download import archives
from advlab.data.download.connection import Deadline, MirrorError, Patience, ask
from advlab.errors import EnvironmentFailure
from advlab.progress import progress_bar

QUICK = Patience(connect=3.0, stall=5.0, total=20.0, tries=1)
"""For a download that nobody asked for: MNIST on the way to ``auto``."""
THOROUGH = Patience()
"""For one that somebody did ask for."""

_LOCK = ".download.lock"
_ROOM = 1.05
_UNPACKED = 5
"""Room on the disk to ask for: the file, and while it is unpacked up to so many times its size."""


def fetch_set(
    name: str, info: SetInfo, data_dir: Path, patience: Patience, overwrite: bool = False
) -> None:
    """Download all files of a set into its folder under ``data_dir``, and unpack them.

    What lies there already is left alone, unless ``overwrite`` asks for it anew. Folders that were
    made for nothing are taken away again.

    Raises:
        EnvironmentFailure: no mirror gave a file, there is no room, or the folder cannot be
            written.
    """
    folder = data_dir / info.folder
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    deadline = Deadline(patience.total)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / _LOCK, timeout=-1 if patience.total is None else patience.total):
            for file in info.files:
                if overwrite or not archives.done(file, folder):
                    _fetch_and_unpack(file, folder, patience, deadline, overwrite)
    except Timeout as error:
        raise EnvironmentFailure(f"{name}: another process is downloading to {folder}") from error
    except OSError as error:
        raise EnvironmentFailure(
            f"{name}: cannot write to {folder} ({error.strerror or error})"
        ) from error
    finally:
        _take_away_empty(made)


def _take_away_empty(made: list[Path]) -> None:
    """Remove the folders of the list, inner ones first, that hold nothing but the lock."""
    for folder in made:
        if not folder.is_dir() or any(entry.name != _LOCK for entry in folder.iterdir()):
            return
        with contextlib.suppress(OSError):  # another process has begun to use it
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
    """Download one file to ``folder`` under its own name; nothing that is not whole ever bears that
    name.

    Raises:
        EnvironmentFailure: no mirror gave it; the line says what each answered. Or there is no room
            for it.
    """
    deadline = deadline or Deadline(patience.total)
    target, part = folder / file.name, folder / f"{file.name}.part"
    _room_for(file, folder)
    answers: dict[str, list[str]] = {}
    for url in file.urls:
        refusal = _refusal(url, file, part, patience, deadline)
        if refusal is None:
            part.replace(target)
            return target
        answers.setdefault(refusal, []).append(urlsplit(url).netloc)
    said = "; ".join(f"{', '.join(hosts)}: {words}" for words, hosts in answers.items())
    raise EnvironmentFailure(f"{file.name} cannot be downloaded: {said}")


def _refusal(
    url: str, file: RemoteFile, part: Path, patience: Patience, deadline: Deadline
) -> str | None:
    """Try one mirror; None where ``part`` is now the whole, right file, else why it is not."""
    try:
        _from_mirror(url, file, part, patience, deadline)
    except MirrorError as error:
        return str(error)
    return None


def checksum(path: Path) -> str:
    """MD5 of a file in hex. It guards against accidents, which is what the sources publish it
    for."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _from_mirror(
    url: str, file: RemoteFile, part: Path, patience: Patience, deadline: Deadline
) -> None:
    """Bring ``part`` to the whole, right file from one mirror, asking again where that may help.

    Raises:
        MirrorError: the mirror did not give it.
    """
    pause, tries_left, restarted = patience.backoff, patience.tries, False
    while True:
        try:
            fresh = _continue(url, file, part, patience, deadline)
            if checksum(part) == file.md5:
                return
            part.unlink()
            # Bytes of an earlier attempt may have been the wrong ones: the mirror gets one go from
            # the start.
            if fresh or restarted:
                raise MirrorError("served wrong bytes (checksum differs)", passing=False)
            restarted = True
            continue
        except MirrorError as error:
            if error.restart and part.exists():
                part.unlink()
                continue
            tries_left -= 1
            if not error.passing or tries_left <= 0 or deadline.left() <= 0:
                raise
        deadline.sleep(pause)
        pause *= 2


def _continue(
    url: str, file: RemoteFile, part: Path, patience: Patience, deadline: Deadline
) -> bool:
    """Fetch what ``part`` lacks; True if all of it came in this one go.

    Raises:
        MirrorError: it ended early, stalled, or was longer than it should be.
    """
    have = part.stat().st_size if part.exists() else 0
    if have > file.size:
        part.unlink()
        have = 0
    if have == file.size:
        return False
    answer = ask(url, have, file.size, patience, deadline)
    have = answer.start
    try:
        with (
            part.open("r+b" if have else "wb") as out,
            progress_bar(file.size, file.name, "bytes", done=have, scale=True) as bar,
        ):
            out.seek(have)
            out.truncate()
            while have < file.size and (chunk := answer.read()):
                if deadline.left() <= 0:
                    raise MirrorError("too slow for the time given", passing=False)
                out.write(chunk)
                have += len(chunk)
                bar.update(len(chunk))
    finally:
        answer.close()
    if have < file.size:
        raise MirrorError(f"ended after {have:,} of {file.size:,} bytes", passing=True)
    if have > file.size:
        part.unlink()
        raise MirrorError(f"served more than the {file.size:,} bytes of the file", passing=False)
    return answer.start == 0


def _room_for(file: RemoteFile, folder: Path) -> None:
    needed = int(file.size * _ROOM) * (
        1 if file.unpack == "no" else 1 + _UNPACKED if file.unpack == "gzip" else 2
    )
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise EnvironmentFailure(
            f"{folder}: {file.name} needs {needed / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are free"
        )
