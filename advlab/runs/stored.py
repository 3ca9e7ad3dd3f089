"""Files of networks in runs' folders, compared with what the runs' results say of them."""

from __future__ import annotations

from pathlib import Path

from advlab.errors import WorldError
from advlab.runs import results
from advlab.runs.folder import is_run
from advlab.runs.results import EarlierResult


def check_network(file: Path, sha256: str) -> None:
    """Refuse a network's file that is not the one its run wrote.

    A file outside any finished run is believed.

    Args:
        file: the network's file.
        sha256: hash of its content.

    Raises:
        WorldError: the result beside it names another hash, or is damaged.
    """
    folder = file.parent
    if not (is_run(folder) and (folder / results.FILE).is_file()):
        return
    result = results.read(folder)
    if isinstance(result, EarlierResult) or getattr(result, "checkpoint", None) != file.name:
        return
    expected = str(getattr(result, "checkpoint_sha256", sha256))
    if sha256 != expected:
        raise WorldError(
            f"{file} is damaged or was replaced: its sha256 is {sha256[:12]}, and that of the network its run wrote was "
            f"{expected[:12]}; run it again with --overwrite"
        )
