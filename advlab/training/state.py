"""The state between two epochs, on the disk: what an interrupted training goes on from. Written whole, read without unpickling code."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from advlab.errors import WorldError
from advlab.input_files import is_plain
from advlab.networks.weights import UnreadableError, read_plain
from advlab.runs.files import write_atomically

Progress = TypeVar("Progress")


def store(path: Path, parts: Mapping[str, Any], progress: Mapping[str, Any]) -> None:
    """Write all that the next epoch needs, whole or not at all.

    Args:
        parts: networks, optimisers and whatever else has a ``state_dict``.
        progress: plain values and tensors.
    """
    buffer = io.BytesIO()
    torch.save({"progress": dict(progress), **{name: part.state_dict() for name, part in parts.items()}}, buffer)
    write_atomically(path, lambda file: file.write(buffer.getbuffer()))


def restore(path: Path, parts: Mapping[str, Any], kind: Callable[..., Progress]) -> Progress | None:
    """Put back what ``store`` wrote; None where there is nothing.

    Args:
        parts: the same as were stored; changed in place.
        kind: what the progress is made with, by its values' names.

    Raises:
        WorldError: the file is damaged or of other networks.
    """
    if not is_plain(path):
        return None
    try:
        state = read_plain(path)
    except UnreadableError as error:
        raise WorldError(f"{path} cannot be resumed from ({error}); --overwrite starts over") from error
    try:
        for name, part in parts.items():
            part.load_state_dict(state[name])
        return kind(**state["progress"])
    except (RuntimeError, KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise WorldError(f"{path} cannot be resumed from ({reason}); --overwrite starts over") from error
