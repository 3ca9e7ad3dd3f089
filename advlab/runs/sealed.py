"""Files that a resumed run reads, with the run's identity and a checksum."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from advlab.errors import EnvironmentFailure, UsageError
from advlab.input_files import is_plain
from advlab.runs.files import write_atomically
from advlab.runs.identity import digest_of

Restored = TypeVar("Restored")

_MAGIC = b"advlab state 1"
_NONE = "none"  # the identity of a file outside any run's folder
_SEAL = "advlab-seal"


def write_bytes(path: Path, payload: bytes | memoryview) -> None:
    """Write ``payload`` behind a line that holds identity and the checksum of both, whole or not at
    all."""
    identity = (digest_of(path) or _NONE).encode()
    head = b" ".join([_MAGIC, identity, _digest(identity, payload).encode()])

    def fill(file: object) -> None:
        file.write(head + b"\n")  # type: ignore[attr-defined]
        file.write(payload)  # type: ignore[attr-defined]

    write_atomically(path, fill)


def read_bytes(path: Path) -> bytes | None:
    """The payload that ``write_bytes`` wrote; None where there is no file.

    Raises:
        UsageError: it belongs to a run of another identity.
        EnvironmentFailure: it is damaged.
    """
    if not is_plain(path):
        return None
    head, _, payload = path.read_bytes().partition(b"\n")
    begin, _, checksum = head.rpartition(b" ")
    magic, _, identity = begin.rpartition(b" ")
    if magic != _MAGIC or _digest(identity, payload).encode() != checksum:
        raise _damaged(path, "its checksum does not match its content")
    _check_identity(path, identity.decode())
    return payload


def _digest(identity: bytes, payload: bytes | memoryview) -> str:
    digest = hashlib.sha256(identity + b"\n")
    digest.update(payload)
    return digest.hexdigest()


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], values: Mapping[str, str] | None = None
) -> None:
    """Write tensors and some texts as safetensors that hold identity and checksum, whole or not at
    all."""
    identity, texts = digest_of(path) or _NONE, dict(values or {})
    checksum = _checksum(tensors, texts, identity)
    # One entry, since safetensors writes several in an order of its own, another one each time.
    seal = json.dumps({"identity": identity, "sha256": checksum, "values": texts}, sort_keys=True)
    content = save(
        {name: tensor.contiguous() for name, tensor in tensors.items()}, metadata={_SEAL: seal}
    )
    write_atomically(path, lambda file: file.write(content))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]] | None:
    """Tensors and texts that ``write_tensors`` wrote; None where there is no file.

    Raises:
        UsageError: they belong to a run of another identity.
        EnvironmentFailure: the file is damaged.
    """
    if not is_plain(path):
        return None
    try:
        with safe_open(path, framework="pt") as content:
            seal = json.loads((content.metadata() or {})[_SEAL])
            tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118 (a file is no mapping)
        identity, values = str(seal["identity"]), dict(seal["values"])
        whole = seal["sha256"] == _checksum(tensors, values, identity)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(path, str(error).splitlines()[0]) from None
    if not whole:
        raise _damaged(path, "its checksum does not match its content")
    _check_identity(path, identity)
    return tensors, values


def restored(
    path: Path, make: Callable[[dict[str, Tensor], dict[str, str]], Restored]
) -> Restored | None:
    """What ``make`` makes of what ``write_tensors`` wrote; None where there is no file.

    Raises:
        UsageError: they belong to a run of another identity.
        EnvironmentFailure: the file is damaged, or does not hold what ``make`` looks for.
    """
    stored = read_tensors(path)
    if stored is None:
        return None
    try:
        return make(*stored)
    except (KeyError, ValueError, TypeError, AttributeError) as error:  # pydantic's are ValueErrors
        raise _damaged(path, str(error)) from error


def _checksum(tensors: Mapping[str, Tensor], values: Mapping[str, str], identity: str) -> str:
    digest = hashlib.sha256(json.dumps([identity, dict(values)], sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _check_identity(path: Path, recorded: str) -> None:
    own = digest_of(path) or _NONE
    if recorded != own:
        raise UsageError(
            f"{path} belongs to a run of other settings, data or networks ({recorded[:12]} there, "
            f"{own[:12]} here); --overwrite starts over"
        )


def _damaged(path: Path, why: str) -> EnvironmentFailure:
    return EnvironmentFailure(f"{path} is damaged ({why}); --overwrite starts over")
