"""How many multiplications and additions a network takes: those of its convolutions and products of
matrices, counted while it runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten


class OperationCount(TorchDispatchMode):
    """Within it, the operations of what is called are counted.

    ``torch.utils.flop_counter`` counts the same, and loads torch's compiler, which takes as long as
    all else that a command loads.

    Attributes:
        total: multiplications and additions so far.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Not to be wrapped for the compiler, which would load it."""
        return False

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call ``func`` and count it; what is made of other functions is counted by these."""
        kwargs = kwargs or {}
        count = _COUNTS.get(func._overloadpacket)
        if count is None:
            with self:
                parts = func.decompose(*args, **kwargs)
            return func(*args, **kwargs) if parts is NotImplemented else parts
        result = func(*args, **kwargs)
        self.total += 2 * count(args, result)
        return result


def _product(args: Sequence[Any], result: Tensor) -> int:
    """Multiplications of a product of two matrices, or of a batch of them."""
    return result.numel() * int(args[0].shape[-1])


def _sum_and_product(args: Sequence[Any], result: Tensor) -> int:
    """The same of a product that is added to something."""
    return _product(args[1:], result)


def _convolution(args: Sequence[Any], result: Tensor) -> int:
    """Multiplications of a convolution, or of its transpose."""
    images, weight, transposed = args[0], args[1], args[6]
    places = images if transposed else result
    return math.prod(places.shape[2:]) * len(images) * int(weight.numel())


def _attention(args: Sequence[Any], result: Any) -> int:
    """Multiplications of queries with keys, and of what comes of it with values."""
    query, key, value = args[:3]
    pairs = math.prod(query.shape[:-1]) * int(key.shape[-2])
    return int(pairs * (query.shape[-1] + value.shape[-1]))


_COUNTS: dict[Any, Callable[[Sequence[Any], Any], int]] = {
    aten.mm: _product,
    aten.bmm: _product,
    aten.addmm: _sum_and_product,
    aten.baddbmm: _sum_and_product,
    aten.convolution: _convolution,
    aten._convolution: _convolution,
    aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    aten._scaled_dot_product_flash_attention: _attention,
    aten._scaled_dot_product_efficient_attention: _attention,
    aten._scaled_dot_product_cudnn_attention: _attention,
}
