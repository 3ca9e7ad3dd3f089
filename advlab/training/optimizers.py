"""Optimisers of torch that load no compiler.

The ones of torch guard their methods against ``torch.compile``, for which the first call imports
all of ``torch._dynamo``: a second and a half in every process. No step here is compiled.
"""

from __future__ import annotations

import inspect
from typing import TypeVar

import torch

Optimiser = TypeVar("Optimiser", bound=torch.optim.Optimizer)


def uncompiled(kind: type[Optimiser]) -> type[Optimiser]:
    """The same optimiser without these guards; its steps are the same to the bit.

    Args:
        kind: a class such as ``torch.optim.Adam``, whose parameters are not to be differentiable.
    """
    plain = {
        name: inspect.unwrap(getattr(kind, name))
        for name in ("step", "zero_grad", "add_param_group", "state_dict", "load_state_dict")
    }
    changed: type[Optimiser] = type(
        kind.__name__, (kind,), {**plain, "step": torch.no_grad()(plain["step"])}
    )
    return changed
