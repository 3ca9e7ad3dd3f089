"""Torch's defaults: those of advlab's own code, and those that a network was made for.

A caller, or the file of a network, may have set another default type of numbers or another default
device, or may have switched on mixed precision. A network is called under the type that it was made
under; everything else computes in float32 on the processor where it says nothing else.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from weakref import WeakKeyDictionary

import torch
from torch import nn

_callers: ContextVar[torch.dtype | None] = ContextVar("_callers", default=None)
_of_networks: WeakKeyDictionary[nn.Module, torch.dtype] = WeakKeyDictionary()


def made_under(network: nn.Module) -> torch.dtype:
    """The default type of numbers that a network was made under, or else that of the caller."""
    return _of_networks.get(network) or _callers.get() or torch.get_default_dtype()


def remember(network: nn.Module, dtype: torch.dtype) -> None:
    """Note the default type of numbers that a network was made under."""
    if dtype != torch.float32:
        _of_networks[network] = dtype


@contextlib.contextmanager
def own_defaults() -> Iterator[None]:
    """Compute with advlab's own defaults meanwhile, and remember the caller's for networks."""
    before = torch.get_default_dtype()
    token = _callers.set(_callers.get() or before)
    torch.set_default_dtype(torch.float32)
    try:
        with contextlib.ExitStack() as stack:
            for device in ("cpu", "cuda"):
                if torch.is_autocast_enabled(device):
                    stack.enter_context(torch.autocast(device, enabled=False))
            if torch.get_default_device().type != "cpu":
                stack.enter_context(torch.device("cpu"))
            yield
    finally:
        torch.set_default_dtype(before)
        _callers.reset(token)


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Make it the default type of numbers meanwhile."""
    before = torch.get_default_dtype()
    if before == dtype:
        yield
        return
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
