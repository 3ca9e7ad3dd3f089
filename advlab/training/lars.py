"""LARS: SGD with momentum and a learning rate for each layer.

You et al. 2017, arXiv:1708.03888.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor, nn


class Lars(torch.optim.Optimizer):
    """Layer-wise adaptive rate scaling, as SimCLR uses it (arXiv:2002.05709).

    For weights w with gradient g: g ← g + λ w; r = η ‖w‖ / ‖g‖, or 1 where either norm is 0; v ← m
    v + lr · r · g; w ← w - v. In groups with ``adapt`` false, r is 1.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust: float = 1e-3,
        adapt: bool = True,
    ) -> None:
        """Learning rate lr > 0, m in [0, 1), λ ≥ 0 and η > 0 (``trust``); any of them can differ
        between groups."""
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "weight_decay": weight_decay,
                "trust": trust,
                "adapt": adapt,
            },
        )

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step along the gradients that lie on the weights."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, weight.grad, group)
        return loss

    def _move(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        gradient = gradient.add(weight, alpha=group["weight_decay"])
        if group["adapt"]:
            length, slope = weight.norm(), gradient.norm()
            usable = (length > 0) & (slope > 0)
            gradient.mul_(
                torch.where(
                    usable,
                    group["trust"] * length / slope.clamp_min(1e-30),
                    torch.ones_like(length),
                )
            )
        state = self.state[weight]
        if "velocity" not in state:
            state["velocity"] = torch.zeros_like(weight)
        weight.sub_(state["velocity"].mul_(group["momentum"]).add_(gradient, alpha=group["lr"]))


def groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups: weights; and biases and normalisation, without decay and adaptation."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    large = [parameter for parameter in parameters if parameter.dim() > 1]
    rest = [parameter for parameter in parameters if parameter.dim() <= 1]
    return [
        {"params": large, "weight_decay": weight_decay},
        {"params": rest, "weight_decay": 0.0, "adapt": False},
    ]
