"""Weights on the disk, as safetensors, with a few plain values beside them; whole or absent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from advlab.errors import WorldError
from advlab.runs.files import write_atomically
from advlab.scratch._layers import Array


def store(path: Path, arrays: Mapping[str, Array], said: Mapping[str, Any]) -> None:
    """Write arrays by name, and beside them what JSON can hold."""
    data = save(dict(arrays), {"advlab": json.dumps(said, allow_nan=False)})
    write_atomically(path, lambda file: file.write(data))


def read(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """What ``store`` wrote.

    Raises:
        WorldError: the file is damaged or another program's.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            said = json.loads((file.metadata() or {})["advlab"])
            return {name: file.get_tensor(name) for name in file.keys()}, said  # noqa: SIM118 (a file is no mapping)
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise WorldError(f"{path} cannot be read ({str(error).splitlines()[0]}); --overwrite starts over") from error
