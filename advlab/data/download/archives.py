"""Unpacking of archives under a temporary name, never outside their folder."""

from __future__ import annotations

import gzip
import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path

from advlab.data.catalogue import RemoteFile
from advlab.errors import EnvironmentFailure


def is_unpacked(file: RemoteFile, folder: Path) -> bool:
    """Return whether the unpacked content of the file exists in the folder."""
    return all((folder / name).exists() for name in file.outputs)


def unpack(file: RemoteFile, folder: Path) -> None:
    """Unpack a downloaded file in its folder and remove the archive; keep a plain file.

    Raises:
        EnvironmentFailure: the archive is damaged, or contains a path outside of the folder.
    """
    source = folder / file.name
    try:
        if file.unpack == "gzip":
            _gunzip(source, source.with_suffix(""))
        elif file.unpack == "tar":
            _untar(source, folder)
        else:
            return
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise EnvironmentFailure(f"{source}: cannot be unpacked ({error})") from error
    source.unlink()


def _gunzip(source: Path, target: Path) -> None:
    part = target.with_name(f"{target.name}.part")
    try:
        with gzip.open(source) as packed, part.open("wb") as out:
            shutil.copyfileobj(packed, out, 1 << 20)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _untar(source: Path, folder: Path) -> None:
    """Extract into a temporary folder, then move each top-level entry into place at once."""
    if not hasattr(tarfile, "data_filter"):
        raise EnvironmentFailure(
            f"{source}: this Python cannot unpack archives safely; 3.10.12, 3.11.4 and later can"
        )
    with tempfile.TemporaryDirectory(prefix=".unpack-", dir=folder) as name:
        inner = Path(name)
        with tarfile.open(source) as archive:
            # The data filter rejects absolute paths, "..", links that lead outside, and devices.
            archive.extractall(inner, filter="data")
        for entry in sorted(inner.iterdir()):
            target = folder / entry.name
            if target.is_dir() and not target.is_symlink():
                target.rename(inner / f"{entry.name}.old")
            entry.rename(target)
