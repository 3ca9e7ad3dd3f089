"""What a tensor adds to a hash, of whatever layout and arithmetic it is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def update_with(digest: Any, tensor: Tensor) -> None:
    """Add the dtype, shape and values of a tensor to a hash of ``hashlib``.

    Raises:
        ValueError: it holds no values, as on the device ``meta``, or they cannot be read.
    """
    if tensor.is_meta:
        raise ValueError("it is on the device meta, where tensors have shapes and no values")
    digest.update(f"{tensor.dtype} {tuple(tensor.shape)}\0".encode())
    try:
        for part in _parts(tensor):
            digest.update(bytes_of(part))
    except (RuntimeError, TypeError) as error:  # of a layout that torch reads in no such way
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"its values cannot be read: {reason}") from error


def bytes_of(tensor: Tensor) -> memoryview:
    """The values of a dense tensor that is no meta tensor, bit for bit, in the order of its
    indices."""
    plain = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()
    return plain.reshape(-1).view(torch.uint8).numpy().data


def is_dense(tensor: Tensor) -> bool:
    """Whether a tensor is an array of numbers: not sparse, quantised or without values."""
    return tensor.layout == torch.strided and not (tensor.is_quantized or tensor.is_meta)


def _parts(tensor: Tensor) -> tuple[Tensor, ...]:
    """Dense tensors that together hold the values of a tensor."""
    tensor = tensor.detach()
    if tensor.is_quantized:
        if tensor.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
            scales = (torch.tensor(tensor.q_scale()), torch.tensor(tensor.q_zero_point()))
        else:
            scales = (tensor.q_per_channel_scales(), tensor.q_per_channel_zero_points())
        return tensor.int_repr(), *scales
    if tensor.layout == torch.sparse_coo:
        tensor = tensor.coalesce()
        return tensor.indices(), tensor.values()
    if tensor.layout != torch.strided:
        return (tensor.to_dense(),)
    return (tensor,)
