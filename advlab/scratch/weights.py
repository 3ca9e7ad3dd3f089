"""Weights and a few plain values as the bytes of a safetensors file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load, save

from advlab.errors import EnvironmentFailure
from advlab.scratch.layers import Array

_KEY = "advlab"


def to_bytes(arrays: Mapping[str, Array], values: Mapping[str, Any]) -> bytes:
    """Arrays by name, and beside them values that JSON can hold."""
    return save(dict(arrays), {_KEY: json.dumps(values, allow_nan=False)})


def from_bytes(content: bytes, path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """What ``to_bytes`` made; ``path`` is where it lay, for the refusal.

    Raises:
        EnvironmentFailure: the content is damaged or another program's.
    """
    try:
        arrays: dict[str, Array] = load(content)
        length = int.from_bytes(content[:8], "little")
        return arrays, json.loads(json.loads(content[8 : 8 + length])["__metadata__"][_KEY])
    except (SafetensorError, KeyError, ValueError) as error:
        why = str(error).splitlines()[0]
        raise EnvironmentFailure(
            f"{path} cannot be read ({why}); --overwrite starts over"
        ) from error
