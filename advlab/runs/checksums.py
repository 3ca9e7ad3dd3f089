"""Checksums of a finished run: ``.checksums``, as ``sha256sum --check`` reads it.

A figure is shown as that of a run only while the run's files are those that it wrote.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from advlab.errors import EnvironmentFailure
from advlab.runs.files import CHECKSUMS, CONFIG, journal, write_text

_DATA = {".json", ".jsonl", ".safetensors"}  # what is read again; figures are drawn again
_BLOCK = 2**20  # bytes that are read at once
_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def write(folder: Path, upcoming: Mapping[str, bytes]) -> None:
    """Write the checksums of a run's data files, whole or not at all.

    Args:
        upcoming: content by name of files that are written only afterwards.
    """
    present = [
        name
        for name in journal(folder)
        if (Path(name).suffix in _DATA or name == CONFIG)
        and name not in upcoming
        and (folder / name).is_file()
    ]
    sums = {name: _sum(folder / name) for name in present}
    sums |= {name: hashlib.sha256(content).hexdigest() for name, content in upcoming.items()}
    lines = [f"{digest}  {name}\n" for name, digest in sorted(sums.items()) if "\n" not in name]
    write_text(folder / CHECKSUMS, "".join(lines))


def check(folder: Path, names: Iterable[str] | None = None) -> None:
    """Compare files with their checksums.

    Files that are gone, and runs of earlier versions, which have no checksums, pass.

    Args:
        names: only these files; for None all of them but the configuration, from which no figure
            is read.

    Raises:
        EnvironmentFailure: a file is another one than the run wrote.
    """
    sums = _written(folder)
    for name in (one for one in sums if one != CONFIG) if names is None else names:
        if _differs(folder, name, sums):
            raise EnvironmentFailure(
                f"{folder / name} is not the file that this run wrote: its sha256 is another one "
                f"than in {CHECKSUMS}; --overwrite runs it again"
            )


def config_remark(folder: Path) -> str:
    """Return a phrase about a configuration that the run did not write; empty where it did.

    Nothing is known of runs of earlier versions, whose checksums leave it out.
    """
    if not _differs(folder, CONFIG, _written(folder)):
        return ""
    return f"{CONFIG} is not the file that this run wrote"


def _written(folder: Path) -> dict[str, str]:
    """The checksums of a run by file, in the order of the names; none of earlier versions."""
    file = folder / CHECKSUMS
    if not file.is_file():
        return {}
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    return {match[2]: match[1] for match in map(_LINE.fullmatch, lines) if match is not None}


def _differs(folder: Path, name: str, sums: Mapping[str, str]) -> bool:
    return name in sums and (folder / name).is_file() and _sum(folder / name) != sums[name]


def _sum(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while block := opened.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
