"""The state of a training between epochs, written atomically and read without executing code."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch

from advlab.errors import EnvironmentFailure
from advlab.runs import sealed

Progress = TypeVar("Progress")


class Stateful(Protocol):
    """Anything with a state: a network, an optimiser, a gradient scaler."""

    def state_dict(self) -> dict[str, Any]:
        """What ``load_state_dict`` takes."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> object:
        """Restore a state."""
        ...


def store(path: Path, parts: Mapping[str, Stateful], progress: Mapping[str, Any]) -> None:
    """Write the state that the next epoch needs, atomically.

    Args:
        parts: networks, optimisers and whatever else has a ``state_dict``.
        progress: plain values and tensors.
    """
    buffer = io.BytesIO()
    torch.save(
        {"progress": dict(progress), **{name: part.state_dict() for name, part in parts.items()}},
        buffer,
    )
    sealed.write_bytes(path, buffer.getbuffer())


def restore(
    path: Path, parts: Mapping[str, Stateful], kind: Callable[..., Progress]
) -> Progress | None:
    """Restore what ``store`` wrote; None if there is nothing.

    Args:
        parts: the same as were stored; changed in place.
        kind: what the progress is made with, by its values' names.

    Raises:
        UsageError: the file belongs to a run of other settings, data or networks.
        EnvironmentFailure: the file is damaged.
    """
    payload = sealed.read_bytes(path)
    if payload is None:
        return None
    try:
        state = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        return kind(**state["progress"])
    except (pickle.UnpicklingError, EOFError) as error:
        raise EnvironmentFailure(
            f"{path} holds no state of a training; --overwrite starts over"
        ) from error
    except (RuntimeError, KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise EnvironmentFailure(
            f"{path} is of other networks than these; --overwrite starts over"
        ) from error
